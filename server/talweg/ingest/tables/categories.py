"""Columns of texts: categories where few are distinct, else text."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import Problem, Refused, quoted
from talweg.ingest.request import Column
from talweg.v1.stored_datasets_pb2 import DataColumn

MOST_CATEGORIES = 1000
"""So many distinct texts are categories."""
_MOST_FORCED = 10_000
_ALWAYS = 100
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def category_or_text(
    name: str, text: pa.ChunkedArray, *, force: bool = False, order: Sequence[str] = ()
) -> Column:
    """Make a column of categories or of text.

    Args:
        name: Its name.
        text: Its values, nulls where they are missing.
        force: Whether it is of categories, however many are distinct.
        order: The categories in an order that the file gives.

    Raises:
        Refused: There are too many categories.
    """
    distinct = pc.unique(text.drop_null())
    number = len(distinct)
    if force and number > _MOST_FORCED:
        raise Refused(
            Problem(
                f"column {quoted(name)}",
                f"{number:,} distinct values",
                f"at most {_MOST_FORCED:,} categories",
                "leave it out of categories",
            )
        )
    num_values = len(text) - text.null_count
    if not force and (number > MOST_CATEGORIES or (number > _ALWAYS and number > num_values / 2)):
        return Column(name, DataColumn.TEXT, text)
    values = _ordered(distinct.to_pylist()) if not order else list(order)
    codes = pc.index_in(text, value_set=pa.array(values, pa.string()))
    dictionary = pa.array(values, pa.string())
    chunks = [pa.DictionaryArray.from_arrays(chunk, dictionary) for chunk in codes.chunks]
    type_ = pa.dictionary(pa.int32(), pa.string())
    return Column(name, DataColumn.CATEGORY, pa.chunked_array(chunks, type_), values)


def _ordered(values: list[str]) -> list[str]:
    """Order texts by their characters; numbers by their values."""
    if values and all(_NUMBER.fullmatch(value) for value in values):
        return sorted(values, key=lambda value: (float(value), value))
    return sorted(values)
