"""How the raw columns of a table become the numbers that a model takes.

Training and prediction both go this way. The file is stored as source beside each model in
MLflow's format: it runs where Talweg is not installed, and imports nothing of it.
"""

import itertools
import numbers
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Kind = Literal["number", "boolean", "category", "date"]

_EPOCH = np.datetime64(0, "us")
_DAY = np.timedelta64(1, "D")
# 1970 began on a Thursday, and a week begins on Monday.
_DAYS_OF_FIRST_WEEK = 3
_NUM_DATE_PARTS = 7
_TRUTH = {"true": 1.0, "false": 0.0}
_ISO = "YYYY-MM-DD"
_NO_TIME = np.datetime64("NaT", "us")
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
_Y, _M, _D = "(?P<year>[0-9]{4})", "(?P<month>[0-9]{1,2})", "(?P<day>[0-9]{1,2})"
_NAME = rf"(?i:(?P<name>{'|'.join(_MONTHS)})[a-z]*)\.?"
_DAYS = {
    _ISO: f"{_Y}-{_M}-{_D}",
    "YYYY/MM/DD": f"{_Y}/{_M}/{_D}",
    "DD.MM.YYYY": rf"{_D}\.{_M}\.{_Y}",
    "MM/DD/YYYY": f"{_M}[/-]{_D}[/-]{_Y}",
    "DD/MM/YYYY": f"{_D}[/-]{_M}[/-]{_Y}",
    "Month DD YYYY": f"{_NAME} {_D},? {_Y}",
    "DD Month YYYY": f"{_D}[ -]{_NAME}[ -]{_Y}",
}
_TIME = (
    r"(?:[T ]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?)? ?(?P<zone>Z|z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?"
)
_MOST_NAMED = 5
_MOST_SHOWN = 40


class TableError(ValueError):
    """A table does not have the columns that a model takes, or not such values."""


class UnknownCategories(UserWarning):
    """A table has categories that training has not seen, which a model takes as unknown ones."""


@dataclass(frozen=True)
class Column:
    """A column that a model takes."""

    name: str
    """Its name."""
    kind: Kind
    """What it holds: numbers, true and false, categories or dates."""
    values: tuple[str, ...] = ()
    """The categories, in their order; empty for other kinds."""
    may_be_missing: bool = False
    """Whether a further number says that a value is missing. Of categories a missing one is taken
    as one that training has not seen."""
    unseen: tuple[str, ...] = ()
    """Those of the categories that training has not seen."""
    median: float = 0.0
    """Of the training data, in place of a missing number; of dates in days since 1970."""
    form: str = ""
    """How the file that the data came from wrote dates, such as DD.MM.YYYY; empty for other kinds,
    and where it had dates that are no text."""

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        if self.kind == "category":
            return len(self.values) + 1
        return (_NUM_DATE_PARTS if self.kind == "date" else 1) + self.may_be_missing

    @property
    def num_scaled(self) -> int:
        """How many of them, the first ones, are numbers to standardise; the others are not."""
        return 0 if self.kind == "category" else 1

    def spread(self, values: NDArray[Any]) -> Floats:
        """Return its numbers (N, width), NaN where a value is missing.

        Args:
            values: (N,). Numbers: float64, NaN where one is missing. Categories: int64, their
                indices, below 0 for a missing or unknown one. Dates: datetime64, NaT for a missing
                one.
        """
        if self.kind == "category":
            codes = np.where(values < 0, len(self.values), values)
            one_hot: Floats = (codes[:, None] == np.arange(self.width)).astype(np.float64)
            return one_hot
        parts = _date_parts(values) if self.kind == "date" else [values]
        if self.may_be_missing:
            parts = [*parts, np.isnan(parts[0])]
        return np.stack(parts, axis=1, dtype=np.float64)

    def fitted(self, train: Floats) -> "Column":
        """Return the column with what the training data tell.

        Args:
            train: What `spread` gave of them.
        """
        if self.kind == "category":
            was_seen = np.atleast_1d(train[:, :-1].any(axis=0))
            names = zip(self.values, was_seen, strict=True)
            return replace(self, unseen=tuple(name for name, seen in names if not seen))
        present = train[~np.isnan(train[:, 0]), 0]
        return replace(self, median=float(np.median(present)) if len(present) else 0.0)

    def fill(self, block: Floats) -> None:
        """Put what stands for missing values and unseen categories, in place, into `spread`'s."""
        if self.kind == "category":
            for index in (self.values.index(name) for name in self.unseen):
                block[:, -1] += block[:, index]
                block[:, index] = 0
            return
        missing = np.isnan(block[:, 0])
        block[missing, 0] = self.median
        if self.kind == "date":
            # No direction on the circle.
            block[missing, 1:_NUM_DATE_PARTS] = 0


class Table:
    """The columns that a model takes, and how they become a matrix."""

    def __init__(
        self,
        columns: Iterable[Column],
        *,
        others: Iterable[str] = (),
        missing: Iterable[str] = (),
        mean: Iterable[float] = (),
        sd: Iterable[float] = (),
        id_column: str = "",
    ) -> None:
        """Take the columns.

        Args:
            columns: In the order of their numbers.
            others: Names of further columns that the data had, such as the target. They are passed
                over.
            missing: Texts that meant a missing value in the file that the data came from.
            mean: What is taken off each number at last; empty where nothing is standardised.
            sd: What it is divided by then.
            id_column: The column that names the rows; empty where none does.
        """
        self.id_column = id_column
        self.columns = tuple(columns)
        self.others = tuple(others)
        self.missing = tuple(missing)
        self.mean, self.sd = tuple(mean), tuple(sd)

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Self:
        """Make one of what `described` gave."""
        columns = [
            Column(**{name: _tuples(value) for name, value in each.items()})
            for each in description["columns"]
        ]
        more = {name: description.get(name, ()) for name in ("missing", "mean", "sd")}
        return cls(
            columns,
            others=description["others"],
            id_column=description.get("id_column", ""),
            **more,
        )

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it; what is at its default is left out."""
        blank = asdict(Column("", "number"))
        columns = [
            {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(column).items()
                if name == "kind" or value != blank[name]
            }
            for column in self.columns
        ]
        units = {"mean": list(self.mean), "sd": list(self.sd)} if self.mean else {}
        missing = {"missing": list(self.missing)} if self.missing else {}
        ids = {"id_column": self.id_column} if self.id_column else {}
        return {"columns": columns, "others": list(self.others), **missing, **units, **ids}

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        return sum(column.width for column in self.columns)

    @property
    def categories(self) -> tuple[tuple[int, int], ...]:
        """First number and width of each column of categories; the last of them is for unseen."""
        ends = list(itertools.accumulate(column.width for column in self.columns))
        return tuple(
            (end - column.width, column.width)
            for column, end in zip(self.columns, ends, strict=True)
            if column.kind == "category"
        )

    @property
    def is_scaled(self) -> NDArray[np.bool_]:
        """Which of them are to be standardised (width,); the others stay as they are."""
        flags = [index < c.num_scaled for c in self.columns for index in range(c.width)]
        return np.array(flags, dtype=np.bool_)

    def spread(self, values: Callable[[Column], NDArray[Any]], matrix: Floats) -> None:
        """Fill a matrix (N, width), with NaN where values are missing.

        Args:
            values: Gives the values of a column; see `Column.spread`.
            matrix: Written to.
        """
        for column, block in self._blocks(matrix):
            block[:] = column.spread(values(column))

    def fitted(self, train: Floats) -> "Table":
        """Return the table with what the training data tell.

        Args:
            train: Their rows of the matrix that `spread` gave.
        """
        columns = [column.fitted(block) for column, block in self._blocks(train)]
        return self._with(columns)

    def standardised(self, mean: Floats, sd: Floats) -> "Table":
        """Return the table with what takes its numbers to standardised ones."""
        return self._with(self.columns, mean=mean.tolist(), sd=sd.tolist())

    def _with(self, columns: Iterable[Column], **units: Iterable[float]) -> "Table":
        return Table(
            columns,
            others=self.others,
            missing=self.missing,
            id_column=self.id_column,
            **units,
        )

    def fill(self, matrix: Floats) -> None:
        """Put, in place, what stands for missing values and unseen categories."""
        for column, block in self._blocks(matrix):
            column.fill(block)

    def encode(self, data: Any) -> Floats:
        """Return the matrix (N, width) of raw columns as the network takes it.

        It is standardised in float64: in float32, numbers that are large beside their differences,
        such as dates, would lose them.

        Args:
            data: A data frame, or lists of values by the column's name, in any order; or rows of
                values without names, in the order of the model's columns.

        Raises:
            TableError: Columns are missing or unknown, or hold what they cannot: all that is so.

        Warns:
            UnknownCategories: Columns have categories that training has not seen.
        """
        import pandas as pd  # noqa: PLC0415 - takes half a second, and training does without

        frame: Any = data if isinstance(data, pd.DataFrame) else _frame(data)
        if isinstance(frame.columns, pd.RangeIndex):
            frame = self._by_position(frame)
        elif not all(isinstance(name, str) for name in frame.columns):
            # Numbers, and the pairs of several levels, are texts in files.
            frame = frame.set_axis(list(map(str, frame.columns)), axis=1)
        problems = self._problems_of_names([str(name) for name in frame.columns])
        if problems:
            raise TableError("; ".join(problems))
        values: dict[str, NDArray[Any]] = {}
        for column in self.columns:
            try:
                values[column.name] = _READERS[column.kind](column, frame[column.name])
            except TableError as exc:
                problems.append(str(exc))
        if problems:
            raise TableError("; ".join(problems))
        for column in self.columns:
            if column.kind == "category":
                _warn_of_unknown(column, frame[column.name], values[column.name])
        matrix = np.empty((len(frame), self.width))
        self.spread(lambda column: values[column.name], matrix)
        self.fill(matrix)
        return (matrix - np.array(self.mean)) / np.array(self.sd) if self.mean else matrix

    def _by_position(self, frame: Any) -> Any:
        names = [column.name for column in self.columns]
        if len(frame.columns) != len(names):
            raise TableError(
                f"rows without names must have {len(names)} values, {', '.join(names)}, but have "
                f"{len(frame.columns)}"
            )
        return frame.set_axis(names, axis=1)

    def _problems_of_names(self, names: list[str]) -> list[str]:
        wanted = [column.name for column in self.columns]
        missing = [name for name in wanted if name not in names]
        unknown = [name for name in names if name not in (*wanted, *self.others)]
        doubled = [name for name in wanted if names.count(name) > 1]
        problems = []
        if missing:
            problems.append(f"the table lacks the columns {', '.join(missing)}")
        if unknown:
            problems.append(
                f"the table has columns that the training data did not have: {', '.join(unknown)}"
            )
        if missing or unknown:
            problems.append(f"this model takes {', '.join(wanted)}")
        if doubled:
            problems.append(f"the table has more than one column {', '.join(doubled)}")
        return problems

    def _blocks(self, matrix: Floats) -> Iterable[tuple[Column, Floats]]:
        start = 0
        for column in self.columns:
            yield column, matrix[:, start : start + column.width]
            start += column.width


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _frame(data: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - see above

    try:
        return pd.DataFrame(dict(data) if isinstance(data, Mapping) else data)
    except (TypeError, ValueError) as exc:
        raise TableError(f"the columns make no table: {exc}") from exc


def _date_parts(moments: NDArray[Any]) -> list[NDArray[Any]]:
    """Return days since 1970, and sine and cosine of the time of the year, the week, the day."""
    moments = moments.astype("datetime64[us]")
    years = moments.astype("datetime64[Y]")
    begin, end = (each.astype("datetime64[us]") for each in (years, years + 1))
    days = (moments - _EPOCH) / _DAY
    turns = ((moments - begin) / (end - begin), (days + _DAYS_OF_FIRST_WEEK) % 7 / 7, days % 1)
    circles = [of(2 * np.pi * turn) for turn in turns for of in (np.sin, np.cos)]
    return [days, *circles]


# From what people have to values: one reader a kind.


def _numbers(column: Column, series: Any) -> NDArray[Any]:
    return _finite(column, _floats(column, series, {}))


def _booleans(column: Column, series: Any) -> NDArray[Any]:
    values = _floats(column, series, _TRUTH)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        raise _refused(column, series, np.flatnonzero(wrong), "true or false")
    return values


def _categories(column: Column, series: Any) -> NDArray[Any]:
    codes = {value: index for index, value in enumerate(column.values)}
    texts = (_text(value, codes) for value in series)
    return np.array([codes.get(text, -1) for text in texts], dtype=np.int64)


def _warn_of_unknown(column: Column, series: Any, codes: NDArray[Any]) -> None:
    """Say which values are none of the categories that the model has learnt from."""
    absent = [column.values.index(name) for name in column.unseen]
    rows = np.flatnonzero((codes < 0) | np.isin(codes, absent))
    values = series.to_numpy(dtype=object)[rows]
    unknown = [str(value) for value in values if not _is_missing(value)]
    if not unknown:
        return
    names = list(dict.fromkeys(unknown))
    shown = ", ".join(repr(name[:_MOST_SHOWN]) for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    warnings.warn(
        f"column {column.name}: {len(unknown):,} of {len(series):,} rows have categories that "
        f"training has not seen, {shown}{more}: the model takes them as unknown, all alike",
        UnknownCategories,
        stacklevel=3,
    )


def _dates(column: Column, series: Any) -> NDArray[Any]:
    import pandas as pd  # noqa: PLC0415 - see above

    allowed = "dates such as 2024-05-31 or 2024-05-31T12:30:00Z"
    if column.form not in ("", _ISO):
        allowed += f", or {column.form} as in the training data"
    present = np.array([not _is_missing(value) for value in series], dtype=bool)
    if pd.api.types.is_numeric_dtype(series.dtype) and present.any():
        raise _refused(column, series, np.flatnonzero(present), allowed)
    if not pd.api.types.is_datetime64_any_dtype(series.dtype):
        series = series.where(present, None)
    moments = pd.to_datetime(series, utc=True, format="ISO8601", errors="coerce")
    naive: NDArray[Any] = moments.dt.tz_localize(None).to_numpy("datetime64[us]").copy()
    wrong = moments.isna().to_numpy() & present
    if wrong.any() and column.form:
        texts = series.to_numpy(dtype=object)[wrong]
        read = {text: _moment(text, column.form) for text in set(texts) if isinstance(text, str)}
        naive[wrong] = [read.get(text, _NO_TIME) for text in texts]
        wrong &= np.isnat(naive)
    if wrong.any():
        raise _refused(column, series, np.flatnonzero(wrong), allowed)
    return naive


def _moment(text: str, form: str) -> np.datetime64:
    """Read a date in the form of the file that the data came from; NaT where it is none.

    Such files are read elsewhere, a column at a time; what is a date there is the same date here.
    """
    match = re.fullmatch(_DAYS.get(form, "(?!)") + _TIME, text.strip())
    if match is None:
        return _NO_TIME
    parts = match.groupdict()
    name = (parts.get("name") or "")[:3].lower()
    month = _MONTHS.index(name) + 1 if name else int(parts["month"])
    micros = int((parts["fraction"] or "")[:6].ljust(6, "0"))
    hour, minute, second = (int(parts[key] or 0) for key in ("hour", "minute", "second"))
    zone = re.sub("[^0-9]", "", parts["zone"] or "").ljust(4, "0")
    ahead = timedelta(hours=int(zone[:2]), minutes=int(zone[2:]))
    try:
        day = datetime(int(parts["year"]), month, int(parts["day"]))
        moment = day.replace(hour=hour, minute=minute, second=second, microsecond=micros)
        moment += ahead if (parts["zone"] or "").startswith("-") else -ahead
    except (ValueError, OverflowError):
        return _NO_TIME
    return np.datetime64(moment, "us")


_READERS: dict[Kind, Callable[[Column, Any], NDArray[Any]]] = {
    "number": _numbers,
    "boolean": _booleans,
    "category": _categories,
    "date": _dates,
}


def _floats(column: Column, series: Any, words: Mapping[str, float]) -> Floats:
    """Return numbers, NaN where one is missing."""
    values = np.full(len(series), np.nan)
    wrong = []
    for row, value in enumerate(series):
        if _is_missing(value):
            continue
        if isinstance(value, str) and value.strip().lower() in words:
            values[row] = words[value.strip().lower()]
        elif isinstance(value, (numbers.Real, Decimal, np.bool_)):
            values[row] = float(value)
        else:
            wrong.append(row)
    if wrong:
        raise _refused(column, series, wrong, "true or false" if words else "numbers")
    return values


def _finite(column: Column, values: Floats) -> Floats:
    if np.isinf(values).any():
        raise _refused(column, values, np.flatnonzero(np.isinf(values)), "finite numbers")
    return values


def _text(value: Any, codes: Mapping[str, int]) -> str:
    """Return a category as text: 12 and 12.0 are the category "12" where there is such a one."""
    if _is_missing(value):
        return ""
    text = str(value)
    if text in codes or isinstance(value, str):
        return text
    if isinstance(value, (bool, np.bool_)):
        return text.lower()
    is_whole = isinstance(value, numbers.Real) and float(value).is_integer()
    return str(int(value)) if is_whole else text


def _is_missing(value: Any) -> bool:
    """Return whether nothing is there: None, NaN, NaT, pandas' NA, or an empty text."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    # Of NA the comparison is NA, which is neither true nor false.
    return type(value).__name__ in ("NAType", "NaTType") or bool(value != value)


def _refused(column: Column, values: Any, rows: Iterable[int], allowed: str) -> TableError:
    rows = list(rows)
    # NumPy's own numbers show their type.
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    examples = ", ".join(f"{values[row]!r} in row {row + 1}" for row in rows[:_MOST_NAMED])
    more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
    return TableError(f"column {column.name} must hold {allowed}, but has {examples}{more}")
