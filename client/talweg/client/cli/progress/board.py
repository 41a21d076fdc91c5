"""The live display: one line per job, and an overall line."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from talweg.client import Job, JobState
from talweg.client.cli._common import STATE_STYLES, duration, number
from talweg.spec import drop_control, label, primary_metric, seed_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

    from talweg.v1.jobs_pb2 import Event

_BAR_WIDTH = 24
# Below this width, bars leave too little room for the text.
_NARROW = 80
# From this width on, there is room for the ids of the jobs.
_WIDE = 110
# The order of jobs if there are more jobs than lines.
_ORDER = (
    JobState.RUNNING,
    JobState.PAUSED,
    JobState.FAILED,
    JobState.DIVERGED,
    JobState.QUEUED,
    JobState.CANCELLED,
    JobState.SUCCEEDED,
)


class Line:
    """The line of one job, updated by its events."""

    def __init__(self, job: Job) -> None:
        """Start with the job as submitted."""
        spec = job.spec
        self.name = job.name
        self.id = job.id
        self.loss = label(spec.loss)
        self.seed = seed_of(spec)
        self.state = JobState.QUEUED
        self._outcome = ""
        self._test_metric = primary_metric(spec)
        self._validation_metric = self._test_metric.replace("test/", "val/", 1)
        self._values: dict[str, float] = {}
        self._step = 0
        self._total_steps = 0
        self._epoch = 0
        self._total_epochs = 0

    @property
    def title(self) -> str:
        """The job's id, loss and seed."""
        return f"{self.id} {self.loss}, seed {self.seed}"

    @property
    def share(self) -> float:
        """The fraction of the job that is done, from 0 to 1."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        return min(1.0, self._step / self._total_steps) if self._total_steps else 0.0

    @property
    def progress_text(self) -> str:
        """The current epoch or step."""
        if self._total_epochs:
            return f"epoch {self._epoch}/{self._total_epochs}"
        return f"step {self._step}/{self._total_steps}" if self._total_steps else ""

    @property
    def metric_text(self) -> str:
        """The latest value of the main metric, on test data once there is one."""
        for name in (self._test_metric, self._validation_metric):
            if name in self._values:
                return f"{name} {number(self._values[name])}"
        return ""

    @property
    def ending(self) -> str:
        """The final state, with the metric of a success and the message of any other."""
        if self.state is JobState.SUCCEEDED:
            return f"{self.state}, {self.metric_text}" if self.metric_text else self.state
        return f"{self.state}: {self._outcome}" if self._outcome else self.state

    def take(self, event: "Event") -> None:
        """Update the line by an event."""
        if event.HasField("state"):
            self.state = JobState.of(event.state.state)
            if self.state is JobState.QUEUED:
                # Its worker released it: the next attempt starts again.
                self._step = self._epoch = 0
        elif event.HasField("progress"):
            progress = event.progress
            self._step, self._total_steps = progress.step, progress.total_steps
            self._epoch, self._total_epochs = progress.epoch, progress.total_epochs
        elif event.HasField("metrics"):
            self._values.update(event.metrics.values)
        elif event.HasField("finished"):
            self.state = JobState.of(event.finished.state)
            self._outcome = event.finished.message


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
        from rich.table import Table

        height = max(1, console.height - 4)
        shown = self.lines
        if len(self.lines) > height:
            first = sorted(self.lines, key=lambda line: _ORDER.index(line.state))[:height]
            chosen = {line.name for line in first}
            shown = [line for line in self.lines if line.name in chosen]
        table = Table.grid(padding=(0, 1))
        for line in shown:
            table.add_row(*_cells(line, console.width))
        yield table
        if len(shown) < len(self.lines):
            yield f"[dim]and {len(self.lines) - len(shown)} more[/]"
        yield self._overall()

    def _overall(self) -> "RenderableType":
        from datetime import timedelta

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

        return Group(grid, Text(drop_control(remark), style="yellow"))


def _cells(line: Line, width: int) -> list["RenderableType"]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    def text(content: str, style: str = "", limit: int = 0) -> Text:
        cell = Text(content, style=style, no_wrap=True, overflow="ellipsis")
        if limit:
            cell.truncate(limit, overflow="ellipsis")
        return cell

    style = STATE_STYLES[line.state]
    bar = ProgressBar(
        total=1.0,
        completed=line.share,
        width=_BAR_WIDTH,
        complete_style=style,
        finished_style=style,
    )
    return [
        *([text(line.id, "dim")] if width >= _WIDE else []),
        text(f"{line.state:<9}", style),
        text(f"{line.loss}, seed {line.seed}", limit=36),
        *([bar] if width >= _NARROW else []),
        text(line.progress_text, "dim"),
        text(line.metric_text),
    ]
