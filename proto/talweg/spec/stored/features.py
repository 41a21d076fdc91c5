"""How the columns of a table become the numbers that a model takes."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from talweg.v1.stored_datasets_pb2 import DataColumn

MISSING_TEXTS = (
    "NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "<NA>", "#N/A", "#NA",
)  # fmt: skip
"""Texts of CSV that mean a missing value where no option names others; "" always does."""
_LEAST_IDS = 20


class Kind(enum.Enum):
    """What a column's values become."""

    NUMBER = "number"
    """The number itself; a flag is 0 or 1."""
    CATEGORY = "category"
    """One-hot: a number for each value, and one for values that training has not seen."""
    DATE = "date"
    """Days since 1970, and sine and cosine of the time of the year, of the week and of the day."""


_DATE_PARTS = ("days", "year_sin", "year_cos", "week_sin", "week_cos", "day_sin", "day_cos")
_OTHER = "other"
_IS_MISSING = "is_missing"
_KINDS = {
    DataColumn.NUMBER: Kind.NUMBER,
    DataColumn.INTEGER: Kind.NUMBER,
    DataColumn.BOOLEAN: Kind.NUMBER,
    DataColumn.CATEGORY: Kind.CATEGORY,
    DataColumn.DATE: Kind.DATE,
}


@dataclass(frozen=True)
class Feature:
    """A column that the model takes, and what it becomes."""

    column: str
    """The column's name."""
    kind: Kind
    """What its values become."""
    values: tuple[str, ...] = ()
    """The categories, in their order; empty for other kinds."""
    may_be_missing: bool = False
    """Whether samples lack a value. A missing number is the training data's median, and a further
    number says that it was missing; a missing category is one that training has not seen."""

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each of its numbers, in their order."""
        if self.kind is Kind.CATEGORY:
            return tuple(f"{self.column}={value}" for value in (*self.values, _OTHER))
        if self.kind is Kind.DATE:
            numbers = tuple(f"{self.column}.{part}" for part in _DATE_PARTS)
        else:
            numbers = (self.column,)
        return (*numbers, f"{self.column}.{_IS_MISSING}") if self.may_be_missing else numbers

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return len(self.names)

    @property
    def num_scaled(self) -> int:
        """How many of them, the first ones, are numbers to standardise; the others are 0 or 1."""
        return 0 if self.kind is Kind.CATEGORY else 1


def features_of(columns: Iterable[DataColumn]) -> tuple[Feature, ...]:
    """Give what the columns of a table become.

    Args:
        columns: Of single values, none of them text.

    Raises:
        KeyError: A column is text.
    """
    return tuple(
        Feature(
            column.name,
            _KINDS[column.type],
            tuple(each.value for each in column.values)
            if column.type == DataColumn.CATEGORY
            else (),
            column.num_missing > 0 and column.type != DataColumn.CATEGORY,
        )
        for column in columns
    )


def is_like_id(column: DataColumn, num_samples: int) -> bool:
    """Return whether a column seems to number or to name the rows: each has another value."""
    if column.shape or column.num_distinct != num_samples or num_samples < _LEAST_IDS:
        return False
    if column.type in (DataColumn.CATEGORY, DataColumn.TEXT):
        return True
    return column.type == DataColumn.INTEGER and column.max - column.min == num_samples - 1
