"""What people are told of a job's stored data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.worker.data.bundle import StoredInfo
from talweg.worker.data.split import Division
from talweg.worker.data.stored.leakage import leakage_warnings
from talweg.worker.data.stored.source import StoredSource
from talweg.worker.data.stored.talweg_table import Column, Table

_MOST_NOTES = 20


def stored_info(
    stored: StoredSource,
    arrays: Mapping[str, NDArray[Any]],
    division: Division,
    table: Table | None,
    classes: Sequence[str] = (),
) -> StoredInfo:
    """Look at stored data that were divided and filled in.

    Args:
        stored: The data set.
        arrays: Inputs and targets of all samples.
        division: Which samples stand in which part.
        table: The columns that the inputs are made of, fitted to the training split.
        classes: Names of the classes that `y` counts.
    """
    notes = [] if table is None else list(_notes(stored, table))
    if "y" in arrays and arrays["y"].ndim == 1:
        notes += _absent_classes(arrays["y"], division, classes)
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"And so in {len(notes) - _MOST_NOTES} more columns."]
    return StoredInfo(
        stored.label,
        stored.opened.info.num_samples,
        stored.columns_text(),
        warnings=stored.worded(list(leakage_warnings(stored, arrays, division))),
        notes=tuple(notes),
    )


def _notes(stored: StoredSource, table: Table) -> Iterator[str]:
    described = {column.name: column for column in stored.opened.info.columns}
    for column in table.columns:
        missing = described[column.name].num_missing
        if missing:
            yield f"{column.name} lacks {missing:,} values: {_replacement(column)}."
        if column.unseen:
            names = ", ".join(column.unseen[:10]) + (" …" if len(column.unseen) > 10 else "")
            yield (
                f"{column.name}: the training split has no {names}, which count as one category "
                "with all that are unknown."
            )


def _absent_classes(y: NDArray[Any], division: Division, classes: Sequence[str]) -> Iterator[str]:
    for part, rows in division._asdict().items():
        present = set(np.unique(y[rows]).astype(int).tolist())
        absent = [name for index, name in enumerate(classes) if index not in present]
        if absent and len(rows):
            names = ", ".join(absent[:10]) + (" …" if len(absent) > 10 else "")
            yield f"The {part} split has no sample of class {names}."


def _replacement(column: Column) -> str:
    if column.kind == "category":
        return "they count as a category that training has not seen"
    median: object = f"{column.median:.6g}"
    if column.kind == "date":
        median = np.datetime64(round(column.median), "D")
    return f"the training split's median, {median}, stands for them, with an indicator beside it"
