"""What a job can know of stored data, and what keeps it from training."""

from typing import Any

import pytest
from tests.proto.stored.columns import array, category, dataset, number

from talweg.spec.stored import facts_of
from talweg.v1 import options_pb2 as kinds
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.stored_datasets_pb2 import DataColumn, ValueCount

XY = ("x", "y")
TEXT = DataColumn(name="note", type=DataColumn.TEXT, num_distinct=40)


def test_a_table_for_regression() -> None:
    data = dataset(number("area", 0, 1), category("kind", 20, 20), number("price", -5, 5))
    facts, violations = facts_of(data, StoredData(target="price"), kinds.REGRESSION, XY)
    assert not violations
    assert list(facts.shape) == [4]
    assert (facts.num_samples, facts.num_targets, facts.num_classes) == (40, 1, 0)
    assert facts.negative_targets
    assert facts.in_unit_range
    assert list(facts.arrays) == ["x", "y"]


def test_images_with_classes() -> None:
    data = dataset(array("x", 3, 8, 8, dtype="uint8", max=255), category("y", 10, 20, 10))
    facts, violations = facts_of(data, StoredData(), kinds.MULTICLASS, XY)
    assert not violations
    assert (list(facts.shape), facts.num_classes) == ([3, 8, 8], 3)
    assert facts.in_unit_range


@pytest.mark.parametrize(
    ("values", "source", "unused"),
    [
        (("train", "val", "test"), {}, "part"),
        (("train", "test"), {"group": "a"}, "part"),
        (("train", "test"), {"split": "part"}, ""),
        (("train", "test"), {"ignore": ["part"]}, ""),
        (("train", "test"), {"inputs": ["a", "part"]}, ""),
        (("train", "bus"), {}, ""),
        (("validation", "test"), {}, ""),
        (("train",), {}, ""),
    ],
)
def test_a_column_of_parts_that_a_job_leaves_alone(
    values: tuple[str, ...], source: dict[str, Any], unused: str
) -> None:
    parts = category("part", values=[ValueCount(value=value, count=20) for value in values])
    data = dataset(number("a"), parts, number("y"))
    facts, violations = facts_of(data, StoredData(target="y", **source), kinds.REGRESSION, XY)
    assert not violations
    assert facts.unused_split == unused


def test_masks_tell_the_number_of_classes() -> None:
    mask = array("mask", 8, 8, type=DataColumn.INTEGER, dtype="uint8", max=4)
    data = dataset(array("x", 1, 8, 8), mask)
    facts, violations = facts_of(data, StoredData(), kinds.SEGMENTATION, ("x", "mask"))
    assert not violations
    assert facts.num_classes == 5


@pytest.mark.parametrize(
    ("columns", "source", "task", "field", "found"),
    [
        (
            [number("a"), TEXT, number("y")],
            {},
            kinds.REGRESSION,
            "inputs",
            '"note", which is text',
        ),
        ([number("y")], {}, kinds.REGRESSION, "inputs", "no column left"),
        ([number("a")], {}, kinds.REGRESSION, "target", "nothing"),
        ([number("a"), category("y", 3, 4)], {}, kinds.REGRESSION, "target", "holds categories"),
        (
            [number("a"), number("y", num_missing=2, missing_rows=[0, 6])],
            {},
            kinds.REGRESSION,
            "target",
            'missing values in "y", in rows 1, 7',
        ),
        (
            [number("a", num_non_finite=1, non_finite_rows=[4]), number("y")],
            {},
            kinds.REGRESSION,
            "inputs",
            'NaN or infinite values in "a", in row 5',
        ),
        ([number("a"), category("y", 3, 4, 5)], {}, kinds.BINARY, "target", "3 distinct values"),
        ([number("a"), category("y", 3, 1)], {}, kinds.MULTICLASS, "target", "a single sample"),
        ([number("a"), category("y", 3)], {}, kinds.MULTICLASS, "target", "1 distinct values"),
        ([number("a"), number("y", 0, 5)], {}, kinds.MULTILABEL, "targets", "numbers from 0 to 5"),
        ([array("x", 2, 3), number("y")], {}, kinds.REGRESSION, "inputs", "shape (2, 3)"),
        (
            [array("a", 2), array("b", 2), number("y")],
            {},
            kinds.REGRESSION,
            "inputs",
            "a, b",
        ),
    ],
)
def test_what_keeps_data_from_training(
    columns: list[DataColumn],
    source: dict[str, Any],
    task: kinds.TaskKind.ValueType,
    field: str,
    found: str,
) -> None:
    _, violations = facts_of(dataset(*columns), StoredData(**source), task, XY)
    fitting = [each for each in violations if each.field == f"dataset.stored.{field}"]
    assert any(found in each.found for each in fitting), violations


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (array("mask", 7, 8, type=DataColumn.INTEGER), "masks of shape (7, 8)"),
        (array("mask", 8, 8), "numbers from 0 to 1"),
        (array("mask", 8, 8, type=DataColumn.INTEGER, min=-1), "numbers from -1 to 1"),
    ],
)
def test_masks_that_do_not_fit(column: DataColumn, found: str) -> None:
    data = dataset(array("x", 1, 8, 8), column)
    _, violations = facts_of(data, StoredData(), kinds.SEGMENTATION, ("x", "mask"))
    assert [each.field for each in violations] == ["dataset.stored.mask"]
    assert found in violations[0].found


def test_an_array_that_a_task_reads_and_that_is_not_there() -> None:
    data = dataset(array("x", 1, 8, 8))
    _, violations = facts_of(data, StoredData(), kinds.SEGMENTATION, ("x", "mask"))
    assert [(each.field, each.found) for each in violations] == [
        ("dataset.stored.mask", "nothing")
    ]


def test_boxes_outside_the_image() -> None:
    data = dataset(
        array("x", 1, 8, 8),
        array("boxes", 3, 4, min=-2, max=8),
        array("classes", 3, type=DataColumn.INTEGER, max=2),
        DataColumn(name="count", type=DataColumn.INTEGER, dtype="int64", max=3),
    )
    arrays = ("x", "boxes", "classes", "count")
    facts, violations = facts_of(data, StoredData(), kinds.DETECTION, arrays)
    assert [each.found for each in violations] == ["corners from -2 to 8"]
    assert facts.num_classes == 3


def test_a_table_that_becomes_too_wide() -> None:
    column = category("k")
    column.values.extend(ValueCount(value=str(index), count=2) for index in range(100_001))
    data = dataset(column, number("y"))
    _, violations = facts_of(data, StoredData(), kinds.REGRESSION, XY)
    assert "100,002 numbers per row" in violations[0].found
