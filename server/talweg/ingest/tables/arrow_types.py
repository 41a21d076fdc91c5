"""Columns of Arrow types as the canonical ones."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.problems import quoted
from talweg.ingest.request import Column
from talweg.ingest.tables.categories import category_or_text
from talweg.ingest.tables.long_texts import refuse_long_text
from talweg.ingest.tables.numbers import of_floats
from talweg.ingest.tables.odd_texts import note_of
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

_is = pa.types


def unfit_type(kind: pa.DataType) -> str:
    """Return what a column holds that no column can hold here; empty where it can."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if _is.is_dictionary(kind) or _is.is_run_end_encoded(kind):
        return unfit_type(kind.value_type)
    if _is.is_nested(kind):
        return f"nested values ({kind})"
    if _is_text(kind) or _is_number(kind):
        return ""
    if _is.is_boolean(kind) or _is.is_null(kind) or _is.is_date(kind) or _is.is_timestamp(kind):
        return ""
    return f"values of the type {kind}"


def column_of_arrow(
    name: str, values: pa.ChunkedArray, options: ReadOptions
) -> tuple[Column, list[str]]:
    """Convert a column.

    Args:
        name: Its name.
        values: Its values, of a type that is fit.
        options: Which columns are categories, and which text.

    Raises:
        Refused: A text is too long, or there are too many categories.
    """
    order: Sequence[str] = ()
    if isinstance(values.type, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in values.chunks]
        values = pa.chunked_array(chunks, values.type.storage_type)
    if _is.is_dictionary(values.type):
        if values.type.ordered and _is_text(values.type.value_type) and values.num_chunks:
            order = values.unify_dictionaries().chunk(0).dictionary.cast(pa.string()).to_pylist()
        values = values.cast(values.type.value_type)
    elif _is.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if name in options.categories or name in options.texts:
        text = values.cast(pa.string())
        refuse_long_text(name, text)
        return category_or_text(name, text, force=name in options.categories, order=order), []
    return _typed(name, values, order)


def _typed(name: str, values: pa.ChunkedArray, order: Sequence[str]) -> tuple[Column, list[str]]:
    kind = values.type
    if _is_text(kind):
        text = values.cast(pa.string())
        refuse_long_text(name, text)
        note = "" if order else note_of(text.drop_null())
        notes = [f"column {quoted(name)}: {note}"] if note else []
        return category_or_text(name, text, order=order), notes
    if _is.is_boolean(kind):
        return Column(name, DataColumn.BOOLEAN, values), []
    if _is.is_date(kind) or _is.is_timestamp(kind):
        # Zones are for showing: the value is in UTC already. Nanoseconds are cut off.
        moments = values.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        return Column(name, DataColumn.DATE, moments.cast(pa.int64()).cast(pa.timestamp("us"))), []
    if _is.is_integer(kind):
        try:
            return Column(name, DataColumn.INTEGER, values.cast(pa.int64())), []
        except pa.ArrowInvalid:
            return Column(name, DataColumn.NUMBER, values.cast(pa.float64(), safe=False)), [
                f"column {quoted(name)} has whole numbers beyond 64 bits: they are rounded to 15 "
                "digits"
            ]
    if _is.is_null(kind):
        return Column(name, DataColumn.NUMBER, values.cast(pa.float64())), [
            f"column {quoted(name)} has no value at all"
        ]
    if _is.is_float16(kind):
        values = values.cast(pa.float32())
    return of_floats(name, values.cast(pa.float64(), safe=False)), []


def _is_text(kind: pa.DataType) -> bool:
    return bool(_is.is_string(kind) or _is.is_large_string(kind) or _is.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(_is.is_integer(kind) or _is.is_floating(kind) or _is.is_decimal(kind))
