"""Stored data in a spec: what they are called, and roles that contradict each other."""

from typing import Any

import pytest

from talweg.spec.stored import dataset_label, facts_of, roles_of
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import Dataset, Diabetes, StoredData
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount

INFO = StoredDataset(
    num_samples=10,
    columns=[
        DataColumn(name="x", type=DataColumn.NUMBER),
        DataColumn(name="day", type=DataColumn.DATE),
        DataColumn(name="patient", type=DataColumn.INTEGER),
        DataColumn(
            name="kind",
            type=DataColumn.CATEGORY,
            values=[ValueCount(value="a", count=5), ValueCount(value="b", count=5)],
        ),
    ],
)


@pytest.mark.parametrize(
    ("data", "label"),
    [
        (Dataset(diabetes=Diabetes()), "diabetes"),
        (Dataset(stored=StoredData(name="houses")), "houses"),
        (Dataset(stored=StoredData(name="houses", digest="1a2b3c4d" * 8)), "houses@1a2b3c4d"),
        (StoredData(name="datasets/houses@1a2b3c4d5e"), "houses@1a2b3c4d"),
        (Dataset(), ""),
    ],
)
def test_data_have_a_name_for_people(data: Dataset | StoredData, label: str) -> None:
    assert dataset_label(data) == label


@pytest.mark.parametrize(
    ("roles", "fields"),
    [
        ({"time": "day", "group": "patient"}, ["dataset.stored.time"]),
        ({"time": "day", "split": "kind"}, ["dataset.stored.time"]),
        ({"group": "patient", "split": "kind"}, []),
        ({"time": "day"}, []),
    ],
)
def test_rows_are_divided_by_one_column(roles: dict[str, Any], fields: list[str]) -> None:
    _, violations = roles_of(INFO, StoredData(name="houses", target="x", **roles))
    assert [violation.field for violation in violations] == fields


def test_targets_are_checked_by_what_reads_them() -> None:
    """Probes read classes, and the number of a multitask job reads numbers."""
    arrays = ("x", "y")
    by_kind = StoredData(name="houses", target="kind")
    facts, violations = facts_of(INFO, by_kind, options_pb2.SELF_SUPERVISED, arrays)
    assert (facts.num_classes, violations) == (2, [])
    _, violations = facts_of(INFO, by_kind, options_pb2.MULTITASK, arrays)
    assert [violation.field for violation in violations] == ["dataset.stored.target"]
    by_x = StoredData(name="houses", target="x")
    facts, violations = facts_of(INFO, by_x, options_pb2.MULTITASK, arrays)
    assert (facts.num_targets, violations) == (1, [])
