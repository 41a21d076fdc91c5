"""Tables that fit their width: some columns shrink, ids and states never do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

GAP = 2


class Column(NamedTuple):
    """A column of a table."""

    title: str
    """Its heading."""

    min_width: int = 0
    """It may shrink to so many characters, its end replaced by an ellipsis; 0 if it never does."""

    max_width: int = 0
    """It never takes more; 0 without a limit."""

    optional: bool = False
    """It is left out where the table does not fit even with all columns shrunk."""

    right: bool = False
    """Whether it stands to the right, as numbers do."""


def fitted(
    columns: Sequence[Column], rows: Sequence[Sequence["Text"]], width: int, *, header: bool = True
) -> "Table":
    """Return a table of one line per row. Empty columns are left out.

    Args:
        columns: The columns.
        rows: A cell for each column.
        width: The width of the terminal.
        header: Whether to show the titles.
    """
    from rich.table import Table

    filled = [index for index, _ in enumerate(columns) if any(row[index].cell_len for row in rows)]
    widths = _widths([columns[index] for index in filled], [
        max(
            len(columns[index].title) if header else 0,
            *(row[index].cell_len for row in rows),
        )
        for index in filled
    ], width)  # fmt: skip
    shown = [(index, fit) for index, fit in zip(filled, widths, strict=True) if fit]
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", show_header=header)
    table.pad_edge = False
    for index, fit in shown:
        column = columns[index]
        table.add_column(
            column.title,
            no_wrap=True,
            overflow="ellipsis",
            width=fit,
            justify="right" if column.right else "left",
        )
    for row in rows:
        table.add_row(*(row[index] for index, _ in shown))
    return table


def _widths(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """Return the width of each column; 0 for those that are left out."""
    widths = [
        min(size, column.max_width or size) for column, size in zip(columns, natural, strict=True)
    ]

    def excess() -> int:
        shown = [each for each in widths if each]
        return sum(shown) + GAP * (len(shown) - 1) - width

    def minimum(index: int) -> int:
        return min(widths[index], columns[index].min_width or widths[index])

    # From the right: the more important columns come first.
    for index in reversed(range(len(columns))):
        if excess() - sum(each - minimum(i) for i, each in enumerate(widths)) <= 0:
            break
        if columns[index].optional:
            widths[index] = 0
    while excess() > 0:
        index = max(range(len(widths)), key=lambda index: widths[index] - minimum(index))
        if widths[index] <= minimum(index):
            break
        widths[index] -= 1
    return widths
