"""The description of one column: counts, quantiles, a histogram, its values."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from talweg.ingest.request import Column
from talweg.v1.stored_datasets_pb2 import DataColumn, ValueCount

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NUM_BINS = 20
MOST_VALUES = 1000
_MOST_ROWS = 10
_LARGE = 2.0**500
_AT_ONCE = 1 << 24
_DTYPES = {
    DataColumn.NUMBER: "float64",
    DataColumn.INTEGER: "int64",
    DataColumn.BOOLEAN: "bool",
    DataColumn.CATEGORY: "int32",
    DataColumn.DATE: "int64",
    DataColumn.TEXT: "string",
}


def describe_column(column: Column) -> DataColumn:
    """Describe a column of a table, or an array."""
    if isinstance(column.values, np.ndarray):
        return _array(column)
    return _of_table(column)


def _of_table(column: Column) -> DataColumn:
    values: pa.ChunkedArray = column.values
    about = DataColumn(name=column.name, type=column.type, dtype=_DTYPES[column.type])
    about.date_form = column.date_form
    about.num_missing = values.null_count
    about.missing_rows.extend(_first_rows(pc.is_null(values)))
    about.num_distinct = _num_distinct(values)
    if column.type in (DataColumn.TEXT, DataColumn.CATEGORY):
        if column.type == DataColumn.CATEGORY:
            codes = np.concatenate(
                [np.zeros(0, np.int64)]
                + [chunk.indices.drop_null().to_numpy(False) for chunk in values.chunks]
            )
            counts = np.bincount(codes, minlength=len(column.categories))
            about.values.extend(
                ValueCount(value=value, count=int(count))
                for value, count in zip(column.categories, counts, strict=True)
            )
        return about
    present = values.drop_null()
    if column.type == DataColumn.DATE:
        present = present.cast(pa.int64())
    numbers = present.cast(pa.uint8() if column.type == DataColumn.BOOLEAN else present.type)
    array = numbers.to_numpy()
    is_finite = np.isfinite(array)
    about.num_non_finite = int((~is_finite).sum())
    if about.num_non_finite:
        about.non_finite_rows.extend(_first_rows(pc.is_inf(values)))
        array = array[is_finite]
    _measure(about, array)
    _count_values(about, array)
    return about


def _array(column: Column) -> DataColumn:
    values: np.ndarray[Any, Any] = column.values
    about = DataColumn(
        name=column.name, type=column.type, shape=values.shape[1:], dtype=str(values.dtype)
    )
    array = values.reshape(-1)
    if array.dtype.kind == "f":
        is_finite = np.isfinite(array)
        about.num_non_finite = int(array.size - is_finite.sum())
        if about.num_non_finite:
            rows = np.flatnonzero(~is_finite.reshape(len(values), -1).all(1))
            about.non_finite_rows.extend(int(row) for row in rows[:_MOST_ROWS])
            array = array[is_finite]
    if column.type == DataColumn.CATEGORY:
        counts = _counts(array, len(column.categories))
        if column.padding is not None:
            counts[column.padding] = 0
        if column.ignored is not None:
            about.ignore_index = column.ignored
            if column.ignored < len(counts):
                counts[column.ignored] = 0
        about.num_distinct = len(column.categories)
        about.values.extend(
            ValueCount(value=value, count=int(count))
            for value, count in zip(column.categories, counts, strict=True)
        )
        return about
    _measure(about, array.astype(np.uint8) if array.dtype == bool else array)
    if values.ndim == 1:
        about.num_distinct = len(np.unique(array))
        _count_values(about, array)
    return about


def _counts(codes: np.ndarray[Any, Any], number: int) -> np.ndarray[Any, Any]:
    """Count codes below a number, without a copy of all of them in 64 bits."""
    counts = np.zeros(number, np.int64)
    for start in range(0, codes.size, _AT_ONCE):
        counts += np.bincount(codes[start : start + _AT_ONCE], minlength=number)[:number]
    return counts


def _measure(about: DataColumn, numbers: np.ndarray[Any, Any]) -> None:
    """Tell range, mean, spread, quantiles and the histogram of finite numbers."""
    if not numbers.size:
        return
    low, high = float(numbers.min()), float(numbers.max())
    about.min, about.max = low, high
    if numbers.dtype == np.uint8:
        _measure_bytes(about, numbers)
        return
    # Squares of very large numbers are beyond all numbers. A power of two changes no digit.
    scale = _LARGE**2 if max(abs(low), abs(high)) > _LARGE else 1.0
    scaled = numbers.astype(np.float64) / scale
    mean = float(scaled.mean())
    about.mean = scale * mean
    about.sd = scale * float(np.sqrt(np.square(scaled - mean).mean())) if low < high else 0.0
    about.quantiles.extend(scale * float(each) for each in np.quantile(scaled, QUANTILES))
    about.histogram.extend(_histogram(scaled, low / scale, high / scale))


def _measure_bytes(about: DataColumn, numbers: np.ndarray[Any, Any]) -> None:
    """Do the same by counts, as images have very many bytes of few values."""
    counts = np.zeros(256, np.int64)
    for start in range(0, numbers.size, _AT_ONCE):
        counts += np.bincount(numbers[start : start + _AT_ONCE], minlength=256)
    values = np.arange(256.0)
    total = counts.sum()
    mean = float((values * counts).sum() / total)
    about.mean = mean
    about.sd = float(np.sqrt((np.square(values - mean) * counts).sum() / total))
    ends = np.cumsum(counts)
    for share in QUANTILES:
        place = share * (total - 1)
        below, above = (
            float(np.searchsorted(ends, index, side="right"))
            for index in (np.floor(place), np.ceil(place))
        )
        about.quantiles.append(below + (above - below) * (place - np.floor(place)))
    low, high = about.min, about.max
    if low == high:
        about.histogram.extend([int(total)] + [0] * (NUM_BINS - 1))
        return
    bins, _ = np.histogram(values, NUM_BINS, (low, high), weights=counts)
    about.histogram.extend(int(count) for count in bins)


def _histogram(numbers: np.ndarray[Any, Any], low: float, high: float) -> list[int]:
    if low == high:
        return [numbers.size] + [0] * (NUM_BINS - 1)
    try:
        counts, _ = np.histogram(numbers, NUM_BINS, (low, high))
    except ValueError:
        # Numbers so close to each other that there are none between them.
        return [numbers.size] + [0] * (NUM_BINS - 1)
    return [int(count) for count in counts]


def _count_values(about: DataColumn, numbers: np.ndarray[Any, Any]) -> None:
    is_boolean = about.type == DataColumn.BOOLEAN
    if not is_boolean and about.type != DataColumn.INTEGER:
        return
    if about.num_distinct > MOST_VALUES:
        return
    values, counts = np.unique(numbers, return_counts=True)
    for value, count in zip(values, counts, strict=True):
        text = ("true" if value else "false") if is_boolean else str(int(value))
        about.values.add(value=text, count=int(count))


def _num_distinct(values: pa.ChunkedArray) -> int:
    if pa.types.is_dictionary(values.type):
        indices = pa.chunked_array([chunk.indices for chunk in values.chunks], pa.int32())
        return int(pc.count_distinct(indices).as_py())
    return int(pc.count_distinct(values).as_py())


def _first_rows(mask: pa.ChunkedArray) -> list[int]:
    rows: list[int] = []
    start = 0
    for chunk in mask.chunks:
        if len(rows) >= _MOST_ROWS:
            break
        places = pc.indices_nonzero(pc.fill_null(chunk, False))
        rows += [start + int(place.as_py()) for place in places[:_MOST_ROWS]]
        start += len(chunk)
    return rows[:_MOST_ROWS]
