"""What is said of the columns of stored data, and held against all of them alike."""

from collections.abc import Iterator, Sequence

from talweg.spec.errors import Violation, shown
from talweg.v1.stored_datasets_pb2 import DataColumn

AT = "dataset.stored"
"""Where the roles stand in a spec."""
MOST_CLASSES = 1000
"""So many classes a job may have."""
NUMBERS = (DataColumn.NUMBER, DataColumn.INTEGER, DataColumn.BOOLEAN)
"""Types whose values are numbers; true and false are 1 and 0."""


def rows_text(rows: Sequence[int], number: int) -> str:
    """Name rows as people count them: the first is 1."""
    if not rows:
        return ""
    names = ", ".join(str(row + 1) for row in rows)
    return f", in {'rows' if number > 1 else 'row'} {names}{' …' if number > len(rows) else ''}"


def complete(at: str, column: DataColumn) -> Iterator[Violation]:
    """Refuse missing and non-finite values.

    Args:
        at: The field that names the column.
        column: The column.
    """
    if column.num_missing or column.num_non_finite:
        missing = column.num_missing > 0
        rows = column.missing_rows if missing else column.non_finite_rows
        number = column.num_missing or column.num_non_finite
        yield Violation(
            at,
            f"{number:,} {'missing' if missing else 'non-finite'} values in "
            f"{shown(column.name)}{rows_text(rows, number)}",
            "a value in every row",
            "remove these rows from the file",
        )


def type_text(column: DataColumn) -> str:
    """Say in words what a column holds."""
    words = {
        DataColumn.CATEGORY: "categories",
        DataColumn.TEXT: "text",
        DataColumn.DATE: "dates",
        DataColumn.BOOLEAN: "true and false",
    }
    if column.type in words:
        return words[column.type]
    return f"numbers from {column.min:g} to {column.max:g}"


def values_text(column: DataColumn) -> str:
    """Say how many distinct values a column has."""
    if column.values:
        return f"{len(column.values):,} distinct values"
    return f"{column.num_distinct:,} distinct values" if column.num_distinct else type_text(column)
