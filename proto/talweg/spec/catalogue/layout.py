"""Parts of the generated pages, in Markdown."""

import sys
from collections.abc import Iterable, Sequence


def section(title: str) -> str:
    """Write the heading of a section."""
    return f"## {title}\n"


def heading(group: str, name: str, description: str, *, term: str = "", level: int = 3) -> str:
    """Write a heading: the standard term, if there is one, and the name in the API.

    Args:
        group: What the name is one of, for links to it.
        name: The name in the API.
        description: Text below the heading; none where empty.
        term: The standard term.
        level: Of the heading; 1 is the page's title.
    """
    words = name if not term or term == name else f"{term} (`{name}`)"
    text = f"\n{description}\n" if description else ""
    return f'<a id="{_anchor(group, name)}"></a>\n{"#" * level} {words}\n{text}'


def link(group: str, name: str) -> str:
    """Link to what `heading` has written for a group and name."""
    return f"[`{name}`](#{_anchor(group, name)})"


def lines(items: Iterable[str]) -> str:
    """Write a list, an item a line."""
    return "".join(f"- {item}\n" for item in items)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""

    def row(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"

    return row(header) + row(["---"] * len(header)) + "".join(map(row, rows))


def write(page: str) -> None:
    """Print a page, alike on every system."""
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    sys.stdout.write(page)


def _anchor(group: str, name: str) -> str:
    return f"{group}-{name}".lower()
