"""Columns of numbers."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import quoted
from talweg.ingest.request import Column
from talweg.v1.stored_datasets_pb2 import DataColumn

# Whole numbers up to here are the same as floating-point numbers.
_EXACT = 2.0**53


def number_column(name: str, text: pa.ChunkedArray, *, is_whole: bool) -> tuple[Column, list[str]]:
    """Convert texts that are numbers.

    Args:
        name: The column's name.
        text: Its values, nulls where they are missing.
        is_whole: Whether all are written as whole numbers.
    """
    # Arrow reads no plus in front of whole numbers.
    text = pc.replace_substring_regex(text, r"^\+", "")
    if is_whole:
        try:
            return Column(name, DataColumn.INTEGER, text.cast(pa.int64())), []
        except pa.ArrowInvalid:
            largest = max(present_texts(text), key=lambda each: len(each.lstrip("-")))
            return Column(name, DataColumn.NUMBER, text.cast(pa.float64())), [
                f"column {quoted(name)} has whole numbers beyond 64 bits, such as {largest}: they "
                "are rounded to 15 digits; read them by texts if they are codes"
            ]
    return of_floats(name, text.cast(pa.float64())), []


def present_texts(text: pa.ChunkedArray) -> list[str]:
    """Return the texts that are there."""
    values: list[str] = text.drop_null().to_pylist()
    return values


def of_floats(name: str, values: pa.ChunkedArray) -> Column:
    """Make a column of floating-point numbers; of whole numbers where all are whole.

    Args:
        name: Its name.
        values: float64; a NaN counts as missing.
    """
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    numbers: Any = values.drop_null().to_numpy()
    if len(numbers) and bool(np.all(np.abs(numbers) < _EXACT) and np.all(numbers % 1 == 0)):
        return Column(name, DataColumn.INTEGER, values.cast(pa.int64()))
    return Column(name, DataColumn.NUMBER, values)
