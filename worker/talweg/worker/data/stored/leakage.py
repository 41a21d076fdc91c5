"""Leakage: what makes a result on the test data better than it will be on new data.

Rows that stand in two parts of the split, groups on both sides of it, and inputs that tell the
target. All of it is allowed, and warned of.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from talweg.v1.jobs_pb2 import Warning
from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.worker.data.split import Division

if TYPE_CHECKING:
    from talweg.worker.data.stored.source import StoredSource

_PARTS = {"train": "training", "validation": "validation", "test": "test"}
_NUMBERS = (DataColumn.NUMBER, DataColumn.INTEGER, DataColumn.BOOLEAN)
_MOST_ROWS_NAMED = 5
# Of so few rows nothing can be said.
_FEWEST = 10
# Rounding of numbers that are the target's in other units.
_ROUNDING = 1e-12
_LIKE_AN_ID = re.compile(r"(?:^|[_\W])id$|[a-z]I[dD]$", re.ASCII)


def leakage_warnings(
    stored: "StoredSource", arrays: Mapping[str, NDArray[Any]], division: Division
) -> Iterator[Warning]:
    """Warn of what is known of a part of the data from another.

    Args:
        stored: The data set.
        arrays: Inputs and targets of all samples.
        division: Which samples stand in which part.
    """
    yield from _rows_in_two_parts(arrays, division)
    yield from _groups_in_two_parts(stored, division)
    yield from _inputs_that_tell(stored)


def _rows_in_two_parts(
    arrays: Mapping[str, NDArray[Any]], division: Division
) -> Iterator[Warning]:
    digests = _digests(list(arrays.values()))
    parts = {name: digests[rows] for name, rows in division._asdict().items()}
    for one, other in combinations(parts, 2):
        twice = np.isin(parts[other], parts[one])
        count = int(twice.sum())
        if count:
            rows = np.sort(getattr(division, other)[twice])[:_MOST_ROWS_NAMED] + 1
            more = " …" if count > _MOST_ROWS_NAMED else ""
            yield _warning(
                "split",
                f"{count:,} of the {len(twice):,} rows of the {_PARTS[other]} data occur in "
                f"the {_PARTS[one]} data too, with the same inputs and target "
                f"({'rows' if count > 1 else 'row'} {', '.join(map(str, rows))}{more}): the "
                "result there is better than it will be on new data. Remove doubled rows from the "
                "file, or keep them together with dataset.stored.group.",
            )


def _digests(arrays: Sequence[NDArray[Any]]) -> NDArray[np.uint64]:
    """Return a number for the content of each sample (N,)."""
    rows = [np.ascontiguousarray(array).reshape(len(array), -1) for array in arrays]
    digests = np.empty(len(rows[0]), dtype=np.uint64)
    for index in range(len(digests)):
        sha = hashlib.blake2b(digest_size=8)
        for array in rows:
            sha.update(array[index].data)
        digests[index] = int.from_bytes(sha.digest(), "little")
    return digests


def _groups_in_two_parts(stored: "StoredSource", division: Division) -> Iterator[Warning]:
    for column, named in _groupings(stored):
        codes = stored.opened.columns.alike(column.name)
        parts = {name: codes[rows] for name, rows in division._asdict().items()}
        for other in ("validation", "test"):
            shared = np.intersect1d(parts["train"], parts[other])
            count = int((shared >= 0).sum())
            if count:
                advice = (
                    "change the column dataset.stored.split"
                    if named
                    else f"keep them together with dataset.stored.group: {column.name}"
                )
                yield _warning(
                    "dataset.stored.group",
                    f"{count:,} of the {len(np.unique(parts[other])):,} values of {column.name} "
                    f"in the {_PARTS[other]} data occur in the training data too: if its rows "
                    "belong together, the result there is better than it will be on new ones; "
                    f"{advice}.",
                )


def _groupings(stored: "StoredSource") -> Iterator[tuple[DataColumn, bool]]:
    """Return columns by which rows may belong together, and whether the job says so."""
    by = stored.roles.columns
    if "group" in by:
        yield by["group"], True
        return
    targets = {column.name for column in stored.roles.targets}
    num_samples = stored.opened.info.num_samples
    for column in stored.opened.info.columns:
        may_group = not column.shape and column.type in (
            DataColumn.INTEGER, DataColumn.CATEGORY, DataColumn.TEXT,
        )  # fmt: skip
        is_id = column.name == stored.source.id or _LIKE_AN_ID.search(column.name)
        repeats = 0 < column.num_distinct < num_samples
        if may_group and is_id and repeats and column.name not in targets:
            yield column, False


def _inputs_that_tell(stored: "StoredSource") -> Iterator[Warning]:
    if not stored.roles.is_table or stored.opened.info.num_samples < _FEWEST:
        return
    for target in stored.roles.targets:
        if target.shape:
            continue
        for column in stored.roles.inputs:
            relation = _relation(stored, column, target)
            if relation:
                yield _warning(
                    "dataset.stored.inputs",
                    f"{column.name} {relation} the target {target.name}, so that the model need "
                    "only copy it. If it is not known where the model will be used, leave it out: "
                    f"ignore: [{column.name}].",
                )


def _relation(stored: "StoredSource", column: DataColumn, target: DataColumn) -> str:
    """Say how a column tells the target; empty where it does not."""
    columns = stored.opened.columns
    if column.type in _NUMBERS and target.type in _NUMBERS:
        values, wanted = columns.numbers(column.name), columns.numbers(target.name)
        if np.array_equal(values, wanted, equal_nan=True):
            return "equals"
        if _is_linear(values, wanted):
            return "is, in other units,"
    if column.num_distinct != target.num_distinct:
        return ""
    # Where hardly a value occurs twice, any column stands for any other.
    if 2 * column.num_distinct > stored.opened.info.num_samples:
        return ""
    codes, wanted_codes = (columns.alike(each.name) for each in (column, target))
    num_values, num_wanted = len(np.unique(codes)), len(np.unique(wanted_codes))
    if num_values < 2:
        return ""
    # A number for each pair; both count from -1.
    pairs = len(np.unique((codes + 1) * (wanted_codes.max() + 2) + wanted_codes + 1))
    is_one_to_one = pairs == num_values == num_wanted
    return "maps one-to-one to" if is_one_to_one else ""


def _is_linear(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> bool:
    present = np.isfinite(values) & np.isfinite(wanted)
    if present.sum() < _FEWEST:
        return False
    a, b = (each[present] - each[present].mean() for each in (values, wanted))
    size = float((a @ a) * (b @ b))
    # Of few distinct values, as of flags, a line says nothing that one-to-one does not.
    is_continuous = len(np.unique(b)) > _FEWEST
    return is_continuous and size > 0 and 1 - float(a @ b) ** 2 / size < _ROUNDING


def _warning(field: str, message: str) -> Warning:
    return Warning(kind=Warning.DATA_LEAKAGE, field=field, message=message)
