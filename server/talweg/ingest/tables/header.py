"""Names of columns: each one there, none twice."""

import re
from collections.abc import Sequence

from talweg.ingest.problems import Problem, names_text, quoted

MOST_COLUMNS = 5000
"""So many columns a table may have."""
MOST_NAME_CHARS = 200
"""So long a column's name may be, as roles name it."""
ABOVE_NAMES = "remove the lines that stand above the names"
"""What to do where the first line is no header."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def header_problems(names: Sequence[str], *, delimiter: str = "") -> list[Problem]:
    """Return what is wrong with the names of a table's columns.

    Args:
        names: The names, in their order.
        delimiter: What stands between them in the first line of a text file; empty where they
            come from a file of another kind.
    """
    if len(names) > MOST_COLUMNS:
        return [
            Problem(
                "header",
                f"{len(names):,} columns",
                f"at most {MOST_COLUMNS:,}",
                "store one array of shape (rows, features) as .npz instead",
            )
        ]
    problems = []
    if delimiter and names and all(_NUMBER.fullmatch(name) for name in names):
        problems.append(
            Problem(
                "header",
                f"numbers in the first line: {names_text(names, 5)}",
                "names of the columns",
                "add a line with names, separated as the values are",
            )
        )
    elif "" in names:
        problems.append(_without_name(names, delimiter))
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        places.setdefault(name, []).append(index + 1)
    for name, columns_of in places.items():
        if name and len(columns_of) > 1:
            problems.append(_twice(name, columns_of))
        if len(name) > MOST_NAME_CHARS:
            problems.append(
                Problem(
                    f"header, column {columns_of[0]}",
                    f"a name of {len(name):,} characters: {quoted(name)}",
                    f"at most {MOST_NAME_CHARS}",
                )
            )
        elif any(not c.isprintable() for c in name):
            problems.append(
                Problem(
                    f"header, column {columns_of[0]}",
                    f"a name with control characters: {quoted(name)}",
                    "printable characters",
                )
            )
    return problems


def _without_name(names: Sequence[str], delimiter: str) -> Problem:
    empty = [index + 1 for index, name in enumerate(names) if not name]
    columns = ", ".join(map(str, empty[:10])) + (" …" if len(empty) > 10 else "")
    hint = "give it a name"
    if delimiter and len(empty) > len(names) / 2:
        hint = ABOVE_NAMES
    elif delimiter and empty == [len(names)]:
        hint += f"; if nothing is in it, remove the {quoted(delimiter)} at the ends of the lines"
    elif empty == [1]:
        hint += "; if it numbers the rows, write the file without it: to_csv(index=False)"
    return Problem("header", f"no name for column {columns}", "a name for each column", hint)


def odd_header(names: Sequence[str], rows: str, ends: str) -> Problem:
    """Tell that the header is not like the rows.

    Args:
        names: Its fields.
        rows: How many rows have how many values.
        ends: The delimiter, where rows end with one; else empty.
    """
    hint = ABOVE_NAMES
    if len(names) > 1:
        hint = "give each column a name, that of the rows' numbers too"
    if ends:
        hint = f"remove the {quoted(ends)} at the ends of the rows, or put one there too"
    return Problem(
        "header",
        f"{len(names):,} names: {names_text(names, 5)}, where {rows} values",
        "a name for each column in the first line",
        hint,
    )


def _twice(name: str, columns: Sequence[int]) -> Problem:
    listed = ", ".join(map(str, columns[:10])) + (" …" if len(columns) > 10 else "")
    return Problem(
        "header", f"{quoted(name)} as the name of columns {listed}", "a name of its own for each"
    )
