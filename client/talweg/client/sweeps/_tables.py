"""Trials as tables of text."""

from collections.abc import Sequence

from talweg.client._lines import number
from talweg.client.sweeps._values import Trial


def trial_table(metric: str, trials: Sequence[Trial]) -> list[list[str]]:
    """Return the cells of a table of trials, the header first; empty columns are left out.

    Args:
        metric: The objective.
        trials: In their order.
    """
    header = ["trial", "state", metric or "value", "n", "compared", "setting"]
    rows = [
        [
            str(trial.number),
            str(trial.state),
            value_text(trial),
            str(trial.count) if trial.count else "",
            trial.compared,
            trial.label,
        ]
        for trial in trials
    ]
    kept = [index for index in range(len(header)) if any(row[index] for row in rows)]
    return [[row[index] for index in kept] for row in (header, *rows)]


def value_text(trial: Trial) -> str:
    """Return the value of a trial with its standard deviation; why there is none, or nothing."""
    if trial.value is None:
        return trial.message
    sd = f" ± {trial.sd:.2g}" if trial.sd is not None else ""
    return f"{number(trial.value)}{sd}"


def plain_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table as plain text, its columns aligned to the left."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
