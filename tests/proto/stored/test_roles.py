"""What stored data hold for a job: roles, shapes, classes, and what is refused."""

from typing import Any

import pytest

from talweg.spec.stored import Kind, facts_of, features_of, measured_in, roles_of, task_for
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import FileData, StoredData, UriData
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount

XY = ("x", "y")


def number(name: str, low: float = 0, high: float = 5, **more: Any) -> DataColumn:
    return DataColumn(
        name=name, type=DataColumn.NUMBER, dtype="float64", min=low, max=high,
        num_distinct=90, **more,
    )  # fmt: skip


def flag(name: str) -> DataColumn:
    return DataColumn(name=name, type=DataColumn.INTEGER, dtype="int64", max=1, num_distinct=2)


def category(name: str, **counts: int) -> DataColumn:
    values = [ValueCount(value=value, count=count) for value, count in counts.items()]
    return DataColumn(name=name, type=DataColumn.CATEGORY, values=values, num_distinct=len(values))


def array(name: str, *shape: int, dtype: str = "float32", low: float = 0, high: float = 1) -> Any:
    whole = dtype != "float32"
    kind = DataColumn.INTEGER if whole else DataColumn.NUMBER
    return DataColumn(name=name, type=kind, dtype=dtype, shape=shape, min=low, max=high)


SOLD = DataColumn(name="sold", type=DataColumn.DATE, dtype="int64", min=0, max=1e15)
WHO = DataColumn(name="who", type=DataColumn.TEXT, num_distinct=100)
HOUSES = [number("size", num_missing=3, missing_rows=[4, 7, 9]), category("town", a=60, b=40),
          SOLD, number("price", -1, 9)]  # fmt: skip


def info(*columns: DataColumn) -> StoredDataset:
    return StoredDataset(name="datasets/houses@1", num_samples=100, columns=columns)


def said(
    columns: list[DataColumn], task: str, arrays: tuple[str, ...] = XY, **roles: Any
) -> list[str]:
    kind = options_pb2.TaskKind.Value(task.upper())
    _, violations = facts_of(info(*columns), StoredData(**roles), kind, arrays)
    return [str(violation) for violation in violations]


def test_a_tables_columns_become_numbers_flags_and_parts_of_dates() -> None:
    facts, violations = facts_of(
        info(*HOUSES), StoredData(target="price"), options_pb2.REGRESSION, XY
    )
    assert violations == []
    # size and whether it is missing, two towns and any other, seven parts of the date.
    assert list(facts.shape) == [2 + 3 + 7]
    assert (facts.num_samples, facts.num_targets, facts.num_classes) == (100, 1, 0)
    assert facts.negative_targets
    assert not facts.in_unit_range
    features = features_of(HOUSES[:3])
    assert [feature.kind for feature in features] == [Kind.NUMBER, Kind.CATEGORY, Kind.DATE]
    assert features[0].names == ("size", "size.is_missing")
    assert features[1].names == ("town=a", "town=b", "town=other")
    assert [feature.num_scaled for feature in features] == [1, 0, 1]


def test_classes_are_the_values_of_the_target() -> None:
    facts, violations = facts_of(info(*HOUSES), StoredData(target="town"), options_pb2.BINARY, XY)
    assert (violations, facts.num_classes) == ([], 2)
    [message] = said([*HOUSES[:1], category("town", a=5, b=4, c=1)], "multiclass", target="town")
    assert 'class "c" of "town" with a single sample' in message
    [message] = said(HOUSES, "binary", target="price")
    assert "exactly 2 distinct values" in message
    [message] = said(HOUSES, "regression", target="town")
    assert "write task: multiclass or task: binary" in message


@pytest.mark.parametrize(
    ("roles", "text"),
    [
        ({"target": "prize"}, "did you mean 'price'?"),
        ({}, "dataset.stored.target: found nothing"),
        ({"target": "price", "inputs": ["size", "price"]}, "one role per column"),
        ({"target": "price", "targets": ["rent"]}, "found target and targets"),
        ({"target": "size"}, "3 missing values in \"size\", in rows 5, 8, 10"),
        ({"target": "price", "ignore": ["size", "town", "sold", "rent"]}, "no column left"),
        ({"target": "price", "group": "family"}, "dataset.stored.group"),
    ],
)  # fmt: skip
def test_roles_that_cannot_be(roles: dict[str, Any], text: str) -> None:
    messages = said([*HOUSES, number("rent")], "regression", **roles)
    assert len(messages) == 1
    assert text in messages[0]


@pytest.mark.parametrize("role", ["group", "time", "split", "difficulty", "weight", "id"])
def test_an_array_is_no_column_of_single_values(role: str) -> None:
    columns = [array("x", 3), array("boxes", 2, 4)]
    (message,) = said(columns, "self_supervised", arrays=("x",), **{role: "boxes"})
    assert f"dataset.stored.{role}: " in message
    assert '"boxes"' in message


def test_text_and_infinite_values_are_no_inputs_and_all_is_said_at_once() -> None:
    far = number("far", num_non_finite=2, non_finite_rows=[0, 6])
    messages = said([*HOUSES, WHO, far], "regression", target="price")
    assert len(messages) == 2
    assert "ignore: [who]" in messages[0]
    assert '2 NaN or infinite values in "far", in rows 1, 7' in messages[1]
    assert said([*HOUSES, WHO, far], "regression", target="price", ignore=["who", "far"]) == []
    assert said([*HOUSES, WHO], "regression", target="price", id="who") == []


def test_arrays_of_their_roles_names_need_no_mention() -> None:
    x, mask = array("x", 1, 8, 8), array("mask", 8, 8, dtype="int64", high=3)
    scene = info(x, mask)
    facts, violations = facts_of(scene, StoredData(), options_pb2.SEGMENTATION, ("x", "mask"))
    assert violations == []
    assert (list(facts.shape), facts.num_classes) == ([1, 8, 8], 4)
    assert list(facts.arrays) == ["x", "mask"]
    renamed = info(array("scan", 1, 8, 8), array("tumour", 8, 8, dtype="uint8", high=1))
    source = StoredData(inputs=["scan"], mask="tumour")
    facts, violations = facts_of(renamed, source, options_pb2.SEGMENTATION, ("x", "mask"))
    assert (violations, facts.num_classes) == ([], 2)
    [message] = said([x], "segmentation", ("x", "mask"))
    assert "dataset.stored.mask: found nothing" in message
    [message] = said([x, array("mask", 4, 4, dtype="int64")], "segmentation", ("x", "mask"))
    assert "masks of shape (4, 4)" in message


def test_boxes_outside_their_image() -> None:
    columns = [
        array("x", 1, 8, 8),
        array("boxes", 3, 4, high=20),
        array("classes", 3, dtype="int64", high=2),
        array("count", dtype="int64", high=3),
    ]
    [message] = said(columns, "detection", ("x", "boxes", "classes", "count"))
    assert "corners from 0 to 20" in message


def test_labels_are_columns_of_0_and_1() -> None:
    columns = [number("size"), flag("a"), flag("b"), number("c", 0, 2)]
    facts, violations = facts_of(
        info(*columns), StoredData(targets=["a", "b"], ignore=["c"]), options_pb2.MULTILABEL, XY
    )
    assert (violations, facts.num_classes) == ([], 2)
    [message] = said(columns, "multilabel", targets=["a", "c"])
    assert "columns of 0 and 1" in message
    [message] = said(columns, "multilabel", target="a")
    assert "write task: binary" in message


def test_inputs_of_all_tasks_that_need_no_target() -> None:
    for task in ("vae", "gan", "self_supervised"):
        assert said([number("a", 0, 1), category("b", p=3, q=3)], task, ("x",)) == []
    # What is named as a target all the same must be one.
    assert said([number("a", 0, 1)], "self_supervised", target="b") != []
    assert said([number("a"), number("c", 0.5, 2)], "self_supervised", target="c") != []
    roles, _ = roles_of(info(number("a")), StoredData())
    assert roles.array_names == ("x",)


@pytest.mark.parametrize(("message", "place"), [(FileData, "path"), (UriData, "uri")])
def test_roles_have_the_same_numbers_wherever_data_are(
    message: type[FileData | UriData], place: str
) -> None:
    stored, file = StoredData.DESCRIPTOR.fields_by_name, message.DESCRIPTOR.fields_by_name
    shared = (set(stored.keys()) & set(file.keys())) - {"name"}
    assert len(shared) > 15
    for name in shared:
        assert stored[name].number == file[name].number
        assert stored[name].type == file[name].type
        assert stored[name].is_repeated == file[name].is_repeated
    assert set(stored.keys()) - shared == {"name", "digest", "facts"}
    assert set(file.keys()) - shared == {place, "name", "read"}


def test_a_target_suggests_its_task_and_its_loss() -> None:
    assert task_for(category("town", a=60, b=40)) == "binary"
    assert task_for(category("town", a=60, b=40, c=3)) == "multiclass"
    assert task_for(number("price")) == "regression"
    grades = DataColumn(
        name="grade", type=DataColumn.INTEGER, min=1, max=3,
        values=[ValueCount(value=str(each), count=5) for each in (1, 2, 3)],
    )  # fmt: skip
    assert task_for(grades) == "multiclass"
    found = measured_in(category("town", a=60, b=3), options_pb2.BINARY, 63)
    assert {each.fact: each.value for each in found if each.fact} == {
        "num_classes": 2,
        "imbalance": 20.0,
    }


def test_outliers_are_counted_by_the_distribution() -> None:
    tame = number("price", 0, 20, quantiles=[1, 5, 10, 15, 19], histogram=[5] * 20)
    assert not [m for m in measured_in(tame, options_pb2.REGRESSION, 100) if m.fact]
    wild = number("price", 0, 200, quantiles=[1, 5, 10, 15, 19], histogram=[95, *[0] * 18, 5])
    [outliers] = [m for m in measured_in(wild, options_pb2.REGRESSION, 100) if m.fact]
    assert (outliers.fact, outliers.value) == ("outliers", 0.05)


@pytest.mark.parametrize(
    ("task", "arrays", "columns", "text"),
    [
        ("metric_learning", ("left", "right", "same"),
         [array("left", 10), array("right", 12), array("same", dtype="int64")],
         "right: found samples of shape (12,); allowed (10,), as the first one"),
        ("metric_learning", ("left", "right", "same"),
         [array("left", 10), array("right", 10), array("same", dtype="int64", high=7)],
         "same: found numbers from 0 to 7"),
        ("detection", ("x", "boxes", "classes", "count"),
         [array("x", 1, 8, 8), array("boxes", 3, 4, high=8), array("classes", 2, dtype="int64"),
          array("count", dtype="int64", high=3)],
         "classes: found samples of shape (2,); allowed (3,), as the boxes"),
        ("detection", ("x", "boxes", "classes", "count"),
         [array("x", 1, 8, 8), array("boxes", 3, 4, high=8), array("classes", 3, dtype="int64"),
          array("count", dtype="int64", high=9)],
         "the number of boxes of each image, 0 to 3"),
        ("image_translation", ("x", "image"), [array("x", 1, 8, 8), array("image", 1, 8, 9)],
         "image: found numbers from 0 to 1 of shape (1, 8, 9)"),
        ("segmentation", ("x", "mask"),
         [array("x", 1, 8, 8), array("mask", 8, 8, dtype="int64", high=2e9)],
         "class indices up to 2,000,000,000"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_each_other(
    task: str, arrays: tuple[str, ...], columns: list[DataColumn], text: str
) -> None:
    [message] = said(columns, task, arrays)
    assert text in message


def test_soft_labels_are_no_labels() -> None:
    columns = [number("size"), number("a", 0, 1), flag("b")]
    [message] = said(columns, "multilabel", targets=["a", "b"])
    assert '"a", numbers from 0 to 1' in message
