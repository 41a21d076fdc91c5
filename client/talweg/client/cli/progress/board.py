"""The live display: one line per job, and an overall line."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from talweg.client import Job, JobState
from talweg.client._lines import DISPLAY_ORDER, Line, duration
from talweg.client.cli._common import STATE_STYLES, WARNING_STYLE
from talweg.client.cli.tables import Column, fitted
from talweg.spec import drop_control

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

_BAR_WIDTH = 24
_JOB_BAR_WIDTH = 16
# The most important first: the last are left out on a narrow terminal.
_COLUMNS = (
    Column("ID"),
    Column("STATE"),
    Column("METRIC"),
    Column("NAME", min_width=16, max_width=50),
    Column("PROGRESS"),
    Column("LEFT", optional=True),
    Column("LOSS", optional=True),
    Column("BAR", optional=True),
)


class Board:
    """All watched jobs, rendered by rich."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Create a line per job, in this order."""
        self.lines = [Line(job) for job in jobs]
        self._by_name = {line.name: line for line in self.lines}
        self._started = time.monotonic()
        self.lost = ""
        self.waiting_reason = ""

    def line(self, job: Job) -> Line:
        """Return the line of a job."""
        return self._by_name[job.name]

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> Iterator["RenderableType"]:
        """Render as many lines as fit the terminal, running jobs first."""
        height = max(1, console.height - 4)
        shown = self.lines
        if len(self.lines) > height:
            first = sorted(self.lines, key=lambda line: DISPLAY_ORDER.index(line.state))[:height]
            chosen = {line.name for line in first}
            shown = [line for line in self.lines if line.name in chosen]
        yield fitted(_COLUMNS, [_cells(line) for line in shown], console.width, header=False)
        if len(shown) < len(self.lines):
            yield f"[dim]and {len(self.lines) - len(shown)} more[/]"
        yield self._overall()

    def _overall(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        states = [line.state for line in self.lines]
        num_ended = sum(state.is_final for state in states)
        share = sum(1.0 if line.state.is_final else line.share for line in self.lines)
        parts = [f"{num_ended}/{len(states)} ended"]
        for state in (
            JobState.RUNNING,
            JobState.QUEUED,
            JobState.FAILED,
            JobState.DIVERGED,
            JobState.CANCELLED,
        ):
            if state in states:
                parts.append(f"{states.count(state)} {state.lower()}")
        parts.append(duration(timedelta(seconds=time.monotonic() - self._started)))
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=len(states), completed=share, width=_BAR_WIDTH),
            Text(" · ".join(parts), style="bold"),
        )
        remark = f"{self.lost}; retrying" if self.lost else self.waiting_reason
        if not remark:
            return grid
        from rich.console import Group

        return Group(grid, Text(drop_control(remark), style=WARNING_STYLE))


def _cells(line: Line) -> list["Text"]:
    from rich.text import Text

    style = STATE_STYLES[line.state]
    num_filled = round(line.share * _JOB_BAR_WIDTH)
    bar = Text("━" * num_filled, style=style)
    bar.append("━" * (_JOB_BAR_WIDTH - num_filled), style="grey50")
    return [
        Text(line.id, "dim"),
        Text(line.state, style),
        Text(line.metric_text or line.loss_text),
        Text(line.display_name),
        Text(line.progress_text, "dim"),
        Text(line.left_text, "dim"),
        Text(line.loss_text if line.metric_text else ""),
        bar,
    ]
