"""Parts of data have the same names in columns, folders and files."""

import pytest

from talweg.spec.stored import part_named
from talweg.spec.stored.roles import split_column
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount


@pytest.mark.parametrize(
    ("text", "part"),
    [("Train", "train"), (" valid", "validation"), ("TESTING", "test"), ("holdout", ""), ("", "")],
)
def test_a_part_is_known_by_each_of_its_names(text: str, part: str) -> None:
    assert part_named(text) == part


@pytest.mark.parametrize(
    ("values", "is_split"),
    [(["training", "testing"], True), (["val", "test"], False), (["train", "rest"], False)],
)
def test_a_column_of_parts_is_found_by_them(values: list[str], is_split: bool) -> None:
    column = DataColumn(
        name="part",
        type=DataColumn.CATEGORY,
        values=[ValueCount(value=value, count=3) for value in values],
    )
    assert split_column(StoredDataset(columns=[column])) == ("part" if is_split else "")
