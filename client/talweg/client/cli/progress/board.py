"""The live display: one line per job, and an overall line."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from talweg.client import Job, JobState
from talweg.client.cli._common import STATE_STYLES, WARNING_STYLE, duration, job_title, number
from talweg.client.cli.tables import Column, fitted
from talweg.spec import drop_control, primary_metric
from talweg.v1.jobs_pb2 import Progress

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

    from talweg.v1.jobs_pb2 import Event

_BAR_WIDTH = 24
_JOB_BAR_WIDTH = 16
_TRAIN_LOSS = "train/loss"
_LONGEST_S = 100 * 86_400
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
        self.display_name = drop_control(job_title(spec))
        # Events tell it again, from the first; until they come the display shows where it is.
        self.state = job.state
        self._outcome = ""
        self._test_metric = primary_metric(spec)
        self._validation_metric = self._test_metric.replace("test/", "val/", 1)
        self._values: dict[str, float] = {}
        self._progress = Progress()

    @property
    def title(self) -> str:
        """The job's id and name."""
        return f"{self.id} {self.display_name}"

    @property
    def share(self) -> float:
        """The fraction of the job that is done, from 0 to 1."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        progress = self._progress
        return min(1.0, progress.step / progress.total_steps) if progress.total_steps else 0.0

    @property
    def progress_text(self) -> str:
        """The current epoch or step."""
        progress = self._progress
        if progress.total_epochs:
            text = epoch_text(progress, is_running=self.state is JobState.RUNNING)
            return f"epoch {text.replace(' of ', '/')}"
        return f"step {progress.step}/{progress.total_steps}" if progress.total_steps else ""

    @property
    def loss_text(self) -> str:
        """The latest training loss."""
        loss = self._values.get(_TRAIN_LOSS)
        return "" if loss is None else f"{_TRAIN_LOSS} {number(loss)}"

    @property
    def left_text(self) -> str:
        """How long training still takes, if it does not stop early."""
        progress = self._progress
        if self.state is not JobState.RUNNING or progress.steps_per_second <= 0:
            return ""
        seconds = max(0, progress.total_steps - progress.step) / progress.steps_per_second
        # More is no news, and a timedelta has its limits.
        return f"{duration(timedelta(seconds=min(seconds, _LONGEST_S)))} left"

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
                self._progress.step = self._progress.epoch = 0
        elif event.HasField("progress"):
            self._progress.CopyFrom(event.progress)
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
        height = max(1, console.height - 4)
        shown = self.lines
        if len(self.lines) > height:
            first = sorted(self.lines, key=lambda line: _ORDER.index(line.state))[:height]
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


def epoch_text(progress: Progress, *, is_running: bool) -> str:
    """Return the epoch that runs, or how many have ended, such as ``3 of 20``."""
    epoch = progress.epoch
    if is_running and progress.step < progress.total_steps:
        # The count is of epochs that have ended.
        epoch = min(epoch + 1, progress.total_epochs)
    return f"{epoch} of {progress.total_epochs}"


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
