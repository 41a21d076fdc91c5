"""What is wrong with a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_PROBLEMS = 50
"""So many problems are told of a file."""
MOST_ROWS = 10
"""So many rows are named in one problem."""
_LONGEST = 60


@dataclass(frozen=True)
class Problem:
    """One thing that keeps a file from being stored."""

    place: str
    """Where: a row, a column, a file in an archive."""
    found: str
    """What is there."""
    allowed: str
    """What may be there."""
    hint: str = ""
    """What to do."""


class Refused(Exception):
    """A file that cannot be stored as it is."""

    problems: Sequence[Problem]
    """All that is wrong, as far as it was looked for."""

    def __init__(self, *problems: Problem) -> None:
        """Keep the first problems of many; the last one says how many there are more."""
        self.problems = problems[:MOST_PROBLEMS]
        if len(problems) > MOST_PROBLEMS:
            more = len(problems) - MOST_PROBLEMS + 1
            last = Problem("", f"{more} further problems", "none", "mend these first")
            self.problems = (*problems[: MOST_PROBLEMS - 1], last)
        super().__init__("; ".join(f"{each.place}: {each.found}" for each in self.problems))


def quoted(text: str) -> str:
    """Show a text of the file, shortened and without control characters."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut) + '"'


def rows_text(rows: Sequence[int], number: int | None = None) -> str:
    """Name rows as people count them, the first row of data being 1.

    Args:
        rows: Counted from 0.
        number: How many there are in all, where these are only the first.
    """
    number = len(rows) if number is None else number
    named = ", ".join(str(row + 1) for row in rows[:MOST_ROWS])
    more = " …" if number > min(len(rows), MOST_ROWS) else ""
    return f"{'row' if number == 1 else 'rows'} {named}{more}"


def names_text(names: Iterable[str], most: int = 10) -> str:
    """Name columns or files, the first of many."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(quoted(name) for name in listed[:most]) + more
