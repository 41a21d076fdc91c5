"""The table that `make bench` writes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure."""

    what: str
    """What was measured."""
    figure: str
    """The figure with its unit, and its interval where it has one."""
    goal: str = ""
    """What it should be; empty where no goal is set."""
    met: bool | None = None
    """Whether the goal is met; None where there is none."""
    remark: str = ""
    """How it was measured, in a few words."""


def render(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| what | figure | goal | met | remark |", "|---|---|---|---|---|"]
    for row in rows:
        met = {None: "", True: "yes", False: "**no**"}[row.met]
        lines.append(f"| {row.what} | {row.figure} | {row.goal} | {met} | {row.remark} |")
    return "\n".join(lines)
