"""Named arrays as they are stored: of one first dimension, of few types."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.ingest.request import Column, Content
from talweg.ingest.tables.categories import MOST_CATEGORIES
from talweg.ingest.tables.header import header_problems
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

Array = np.ndarray[Any, Any]

_MOST_DIMENSIONS = 8
_EXACT = 2.0**53
# What is stored as it is, and what other types become.
_KEPT = {"float64", "float32", "int64", "int32", "int16", "int8", "uint8", "bool"}
_WIDENED = {"float16": "float32", "uint16": "int32", "uint32": "int64"}


def content_of(arrays: Mapping[str, Array], options: ReadOptions, file_name: str) -> Content:
    """Check arrays against each other, and convert them.

    Args:
        arrays: By their names.
        options: How they were read.
        file_name: As its owner calls the file.

    Raises:
        Refused: They cannot be stored; names arrays.
    """
    if not arrays:
        raise Refused(Problem(file_name, "no array", "at least one array"))
    problems = header_problems(list(arrays)) + _shape_problems(arrays)
    if problems:
        raise Refused(*problems)
    columns = []
    notes: list[str] = []
    for name, array in arrays.items():
        try:
            columns.append(_column(name, array, notes))
        except Refused as exc:
            problems += exc.problems
    if problems:
        raise Refused(*problems)
    return Content(columns, len(columns[0].values), options, is_table=False, notes=notes)


def refuse_dtype(name: str, dtype: Any) -> None:
    """Refuse arrays of Python objects, of records and of complex numbers, before they are read.

    Raises:
        Refused: The type is one of these.
    """
    if dtype.hasobject:
        found, hint = (
            "Python objects",
            "they would be unpickled: store numbers, or texts as dtype U",
        )
    elif dtype.names is not None:
        found, hint = f"records with the fields {names_text(dtype.names)}", "store a table instead"
    elif dtype.kind not in "fiubUMS" or dtype.itemsize == 0:
        found, hint = f"values of the type {dtype}", ""
    else:
        return
    allowed = "numbers, true or false, dates and texts"
    raise Refused(Problem(f"array {quoted(name)}", found, allowed, hint))


def _shape_problems(arrays: Mapping[str, Array]) -> list[Problem]:
    problems = [
        Problem(f"array {quoted(name)}", "a single value", "an array with a row for each sample")
        for name, array in arrays.items()
        if array.ndim == 0
    ]
    problems += [
        Problem(
            f"array {quoted(name)}",
            f"{array.ndim} dimensions",
            f"at most {_MOST_DIMENSIONS}",
        )
        for name, array in arrays.items()
        if array.ndim > _MOST_DIMENSIONS
    ]
    lengths = {name: len(array) for name, array in arrays.items() if array.ndim}
    if len(set(lengths.values())) > 1:
        usual = Counter(lengths.values()).most_common(1)[0][0]
        listed = [f"{quoted(name)} {tuple(arrays[name].shape)}" for name in list(lengths)[:20]]
        others = names_text(name for name, length in lengths.items() if length != usual)
        problems.append(
            Problem(
                f"array {others}",
                f"shapes that disagree: {', '.join(listed)}",
                f"one first dimension, the samples: {usual} of most",
            )
        )
    for name, array in arrays.items():
        if array.ndim and not array.size:
            problems.append(
                Problem(f"array {quoted(name)}", f"no values: {array.shape}", "at least one value")
            )
    return problems


def _column(name: str, array: Array, notes: list[str]) -> Column:
    refuse_dtype(name, array.dtype)
    if array.dtype.kind in "US":
        return _categories(name, array)
    if array.dtype.kind == "M":
        return _dates(name, array)
    array = _stored(name, array)
    kind = array.dtype.kind
    if array.ndim == 1 and kind == "f":
        is_whole = bool(np.all(np.isfinite(array) & (np.abs(array) < _EXACT)))
        if is_whole and bool(np.all(array % 1 == 0)):
            return Column(name, DataColumn.INTEGER, array.astype(np.int64))
    if array.ndim == 1 and kind in "iu":
        array = array.astype(np.int64)
    if kind == "b":
        return Column(name, DataColumn.BOOLEAN, array)
    return Column(name, DataColumn.NUMBER if kind == "f" else DataColumn.INTEGER, array)


def _stored(name: str, array: Array) -> Array:
    """Return an array in a type and byte order that is stored."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    dtype = str(array.dtype)
    if dtype in _KEPT:
        return array
    if dtype in _WIDENED:
        return array.astype(_WIDENED[dtype])
    if dtype == "uint64":
        largest = int(array.max())
        if largest > np.iinfo(np.int64).max:
            raise Refused(
                Problem(
                    f"array {quoted(name)}",
                    f"whole numbers beyond 64 bits with a sign: {largest}",
                    f"at most {np.iinfo(np.int64).max}",
                    "store them as float64, or as texts if they are codes",
                )
            )
        return array.astype(np.int64)
    return array.astype(np.float64)


def _categories(name: str, array: Array) -> Column:
    if array.ndim != 1:
        raise Refused(
            Problem(
                f"array {quoted(name)}",
                f"texts of shape {array.shape}",
                "one text per sample",
            )
        )
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as exc:
            raise Refused(
                Problem(f"array {quoted(name)}", "bytes that are no utf-8", "texts as dtype U")
            ) from exc
    values, codes = np.unique(array, return_inverse=True)
    if len(values) > MOST_CATEGORIES:
        raise Refused(
            Problem(
                f"array {quoted(name)}",
                f"{len(values):,} distinct texts",
                f"at most {MOST_CATEGORIES:,}, as categories",
                "leave the array out",
            )
        )
    categories = [str(value) for value in values]
    return Column(name, DataColumn.CATEGORY, codes.astype(np.int64), categories)


def _dates(name: str, array: Array) -> Column:
    missing = np.flatnonzero(np.isnat(array.reshape(len(array), -1)).any(1))
    if missing.size:
        rows = ", ".join(str(row + 1) for row in missing[:10])
        raise Refused(
            Problem(f"array {quoted(name)}", f"no time (NaT) in rows {rows}", "a time in each row")
        )
    return Column(name, DataColumn.DATE, array.astype("datetime64[us]").astype(np.int64))
