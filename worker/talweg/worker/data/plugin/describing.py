"""From what a plug-in returns to columns with their descriptions, as stored data have them."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset, ValueCount
from talweg.worker.data.stored.columns import Columns, Keys
from talweg.worker.errors import UserSpecError

_MOST_CATEGORIES = 1000
# Of more distinct texts than these, half of the rows must have others to be categories.
_ALWAYS_CATEGORIES = 100
_MOST_ROWS = 10
_MOST_COLUMNS = 10_000
_KINDS = {"f": DataColumn.NUMBER, "i": DataColumn.INTEGER, "u": DataColumn.INTEGER,
          "b": DataColumn.BOOLEAN}  # fmt: skip

_Row = NDArray[np.bool_]


@dataclass(frozen=True)
class Described:
    """A column with its values."""

    column: DataColumn
    """The description."""
    values: NDArray[Any]
    """Arrays (N, …) as they were returned. Of single values: numbers, float64, NaN where one is
    missing; points in time, datetime64; of texts their index in `texts`, below 0 where missing."""
    texts: Sequence[str] = ()
    """The distinct texts, in their order."""


class MemoryColumns(Columns):
    """Columns that stand in memory."""

    def __init__(self, columns: Sequence[Described]) -> None:
        """Take the columns."""
        super().__init__([each.column for each in columns])
        self._columns = {each.column.name: each for each in columns}

    def array(self, name: str) -> NDArray[Any]:
        """Return an array (N, …) as it was returned."""
        return self._columns[name].values

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return numbers, NaN where one is missing (N,)."""
        return self._columns[name].values.astype(np.float64)

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return each category's index, below 0 where it is missing (N,)."""
        return self._columns[name].values.astype(np.int64)

    def dates(self, name: str) -> NDArray[Any]:
        """Return points in time; NaT where one is missing (N,)."""
        return self._columns[name].values

    def alike(self, name: str) -> NDArray[np.int64]:
        """Return a number that is the same where values are, below 0 where one is missing (N,)."""
        return self.keys(name).codes

    def keys(self, name: str) -> Keys:
        """Return the distinct values, each once."""
        described = self._columns[name]
        if described.column.type in (DataColumn.CATEGORY, DataColumn.TEXT):
            return Keys(self.codes(name), described.texts)
        missing = np.isnat if described.column.type == DataColumn.DATE else np.isnan
        values, codes = np.unique(described.values, return_inverse=True)
        codes = np.where(missing(described.values), -1, codes.reshape(-1))
        return Keys(codes.astype(np.int64), [str(value) for value in values])


def describe(columns: Any, *, class_names: Mapping[str, Sequence[str]]) -> list[Described]:
    """Describe what a plug-in has returned.

    Args:
        columns: A data frame, or arrays, lists and series by name.
        class_names: Names of the classes that a column counts from 0, by the column's name.

    Raises:
        UserSpecError: It is neither, the lengths differ, or a column holds what none can.
    """
    import pandas as pd  # noqa: PLC0415 - takes half a second, and most jobs do without

    if not isinstance(columns, (pd.DataFrame, Mapping)):
        raise UserSpecError(
            "must return a pandas.DataFrame, or arrays by name, but returned "
            f"{type(columns).__name__}"
        )
    if not 1 <= len(columns.keys()) <= _MOST_COLUMNS:
        raise UserSpecError(
            f"must return 1 to {_MOST_COLUMNS:,} columns, but returned {len(columns.keys())}"
        )
    names = [str(name) for name in columns.keys()]  # noqa: SIM118 - of a frame, and of a mapping
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        raise UserSpecError(f"must return columns of different names, but has {doubles[0]} twice")
    described = []
    for name, values in zip(names, columns.values() if isinstance(columns, Mapping) else
                            (columns[key] for key in columns), strict=True):  # fmt: skip
        classes = class_names.get(name, ())
        described.append(_with_classes(_of_values(name, values), classes))
    lengths = {each.column.name: len(each.values) for each in described}
    if len(set(lengths.values())) > 1 or not min(lengths.values()):
        raise UserSpecError(
            "must return columns of one length, at least 1, but returned "
            + ", ".join(f"{name} of {length}" for name, length in list(lengths.items())[:20])
        )
    return described


def information(columns: Sequence[Described]) -> StoredDataset:
    """Return the description of all columns."""
    num_bytes = sum(each.values.nbytes for each in columns)
    return StoredDataset(
        num_samples=len(columns[0].values),
        num_bytes=num_bytes,
        columns=[each.column for each in columns],
    )


def digest(columns: Sequence[Described], *roles: object) -> str:
    """Return the sha256, in hexadecimal, of the columns and the roles that they play."""
    sha = hashlib.sha256(json.dumps([str(role) for role in roles]).encode())
    for each in columns:
        values = np.ascontiguousarray(each.values)
        head = [each.column.name, each.column.type, values.dtype.str, values.shape, *each.texts]
        sha.update(json.dumps(head).encode())
        if values.size:
            sha.update(values.view(np.uint8).data)
    return sha.hexdigest()


def _of_values(name: str, values: Any) -> Described:
    import pandas as pd  # noqa: PLC0415 - as above

    if not isinstance(values, pd.Series):
        try:
            array = np.asarray(values)
        except ValueError as exc:
            raise UserSpecError(f"has values of different shapes in {name}: {exc}") from exc
        if array.ndim > 1:
            return _of_array(name, array)
        if array.ndim == 0:
            raise UserSpecError(f"must return one value per sample, but {name} is a single value")
        values = pd.Series(array)
    return _of_series(name, values)


def _of_array(name: str, array: NDArray[Any]) -> Described:
    if array.dtype.kind not in _KINDS:
        raise UserSpecError(f"must return arrays of numbers, but {name} is of {array.dtype}")
    column = DataColumn(
        name=name,
        type=_KINDS[array.dtype.kind],
        shape=array.shape[1:],
        dtype=array.dtype.name,
    )
    finite = np.isfinite(array)
    if not finite.all():
        column.num_non_finite = int((~finite).sum())
        _name_rows(column.non_finite_rows, ~finite.reshape(len(array), -1).all(axis=1))
    _measure(column, array[finite] if column.num_non_finite else array)
    return Described(column, array)


def _of_series(name: str, series: Any) -> Described:
    import pandas as pd  # noqa: PLC0415 - as above

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        texts = [str(value) for value in series.cat.categories]
        return _of_texts(name, series.cat.codes.to_numpy(np.int64), texts, is_category=True)
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return _of_dates(name, series)
    if pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_numeric_dtype(dtype):
        if pd.api.types.is_complex_dtype(dtype):
            raise UserSpecError(f"must return real numbers, but {name} is of {dtype}")
        return _of_numbers(name, series)
    texts = series.dropna()
    if not all(isinstance(value, str) for value in texts):
        other = next(value for value in texts if not isinstance(value, str))
        raise UserSpecError(
            "must return numbers, texts, dates, and true or false, but "
            f"{name} has a value of type {type(other).__name__}"
        )
    codes, distinct = pd.factorize(series, sort=True)
    number = len(distinct)
    is_category = number <= _ALWAYS_CATEGORIES or (
        number <= _MOST_CATEGORIES and number <= len(texts) / 2
    )
    return _of_texts(name, codes.astype(np.int64), list(distinct), is_category=is_category)


def _of_numbers(name: str, series: Any) -> Described:
    import pandas as pd  # noqa: PLC0415 - as above

    kind = DataColumn.NUMBER
    if pd.api.types.is_bool_dtype(series.dtype):
        kind = DataColumn.BOOLEAN
    elif pd.api.types.is_integer_dtype(series.dtype):
        kind = DataColumn.INTEGER
    values = series.to_numpy(np.float64, na_value=np.nan)
    missing, infinite = np.isnan(values), np.isinf(values)
    present = values[~missing & ~infinite]
    column = DataColumn(name=name, type=kind, dtype="float64")
    _note_missing(column, missing)
    if infinite.any():
        column.num_non_finite = int(infinite.sum())
        _name_rows(column.non_finite_rows, infinite)
    _measure(column, present)
    distinct, counts = np.unique(present, return_counts=True)
    column.num_distinct = len(distinct)
    if kind == DataColumn.BOOLEAN:
        words = [("false", "true")[int(value)] for value in distinct]
        column.values.extend(_counted(words, counts))
    elif kind == DataColumn.INTEGER and len(distinct) <= _MOST_CATEGORIES:
        column.values.extend(_counted([str(int(value)) for value in distinct], counts))
    return Described(column, values)


def _of_dates(name: str, series: Any) -> Described:
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = series.to_numpy("datetime64[us]")
    missing = np.isnat(moments)
    column = DataColumn(name=name, type=DataColumn.DATE, dtype="int64")
    _note_missing(column, missing)
    present = moments[~missing].astype(np.int64)
    _measure(column, present)
    column.num_distinct = len(np.unique(present))
    return Described(column, moments)


def _of_texts(
    name: str, codes: NDArray[np.int64], texts: Sequence[str], *, is_category: bool
) -> Described:
    kind = DataColumn.CATEGORY if is_category else DataColumn.TEXT
    column = DataColumn(name=name, type=kind)
    _note_missing(column, codes < 0)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    column.num_distinct = int((counts > 0).sum())
    if is_category:
        column.values.extend(_counted(texts, counts))
    return Described(column, codes, texts)


def _with_classes(described: Described, classes: Sequence[str]) -> Described:
    """Give the whole numbers of a column the names of classes."""
    if not classes:
        return described
    name, values = described.column.name, described.values
    whole = (DataColumn.INTEGER, DataColumn.BOOLEAN)
    if described.column.type not in whole or not (values >= 0).all():
        raise UserSpecError(f"has class_names, but {name} does not hold whole numbers from 0")
    if values.max() >= len(classes):
        raise UserSpecError(
            f"has {len(classes)} class_names, but {name} counts up to class {values.max():.0f}"
        )
    return _of_texts(name, values.astype(np.int64), list(classes), is_category=True)


def _measure(column: DataColumn, values: NDArray[Any]) -> None:
    if values.size:
        column.min, column.max = float(values.min()), float(values.max())


def _note_missing(column: DataColumn, missing: _Row) -> None:
    if missing.any():
        column.num_missing = int(missing.sum())
        _name_rows(column.missing_rows, missing)


def _name_rows(rows: Any, chosen: _Row) -> None:
    rows.extend(np.flatnonzero(chosen)[:_MOST_ROWS].tolist())


def _counted(values: Sequence[str], counts: NDArray[Any]) -> Iterator[ValueCount]:
    for value, count in zip(values, counts, strict=True):
        yield ValueCount(value=str(value), count=int(count))
