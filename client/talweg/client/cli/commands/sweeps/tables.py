"""Trials as tables that fit the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from talweg.client import Trial
from talweg.client.cli._common import style_of
from talweg.client.cli.tables import Column, fitted
from talweg.client.sweeps._tables import value_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def trials_table(metric: str, trials: Sequence[Trial], width: int) -> "Table":
    """Return a table of one line per trial, in their order.

    Args:
        metric: The objective.
        trials: The trials.
        width: Of the terminal.
    """
    from rich.text import Text

    rows = [
        (
            Text(str(trial.number)),
            Text(trial.state, style=style_of(trial.state)),
            Text(value_text(trial)),
            Text(str(trial.count) if trial.count else ""),
            Text("final" if trial.is_final else ""),
            Text(trial.label),
        )
        for trial in trials
    ]
    columns = (
        Column("TRIAL", right=True),
        Column("STATE"),
        Column(metric.upper() or "VALUE", min_width=16, max_width=60),
        Column("N", right=True),
        Column("PHASE", optional=True),
        Column("SETTING", min_width=20),
    )
    return fitted(columns, rows, width)


def print_trials(metric: str, trials: Sequence[Trial], out: "Console") -> None:
    """Print trials as a table."""
    out.print(trials_table(metric, trials, out.width))
