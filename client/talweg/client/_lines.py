"""A job in a line, as terminals and notebooks show it: state, progress, losses, time left."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from talweg.client._values import JobState
from talweg.spec import display_name, drop_control, label, primary_metric
from talweg.v1.jobs_pb2 import Progress

if TYPE_CHECKING:
    from talweg.client._handle import JobInfo
    from talweg.v1.jobs_pb2 import Event
    from talweg.v1.spec_pb2 import JobSpec

_TRAIN_LOSS = "train/loss"
_LONGEST_S = 100 * 86_400
DISPLAY_ORDER: Final = (
    JobState.RUNNING,
    JobState.PAUSED,
    JobState.FAILED,
    JobState.DIVERGED,
    JobState.QUEUED,
    JobState.CANCELLED,
    JobState.SUCCEEDED,
)
"""The order of jobs if there are more jobs than lines."""


class Line:
    """The line of one job, updated by its events."""

    def __init__(self, job: "JobInfo") -> None:
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


def epoch_text(progress: Progress, *, is_running: bool) -> str:
    """Return the epoch that runs, or how many have ended, such as ``3 of 20``."""
    epoch = progress.epoch
    if is_running and progress.step < progress.total_steps:
        # The count is of epochs that have ended.
        epoch = min(epoch + 1, progress.total_epochs)
    return f"{epoch} of {progress.total_epochs}"


def job_title(spec: "JobSpec") -> str:
    """Return the display name, or the loss with its changed parameters, the data and the seed.

    Jobs of a batch often differ in a parameter of the loss alone.
    """
    if spec.display_name or spec.HasField("replay") or spec.HasField("test_of"):
        return display_name(spec)
    return f"{label(spec.loss)}{display_name(spec).removeprefix(_loss_name(spec))}"


def _loss_name(spec: "JobSpec") -> str:
    return spec.loss.WhichOneof("kind") or "nothing"


def duration(value: timedelta) -> str:
    """Format a duration with about two digits: ``0.8 s``, ``42 s``, ``5 min``, ``3.2 h``."""
    seconds = max(0.0, value.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def number(value: float) -> str:
    """Format the value of a metric with five digits."""
    return f"{value:#.5g}".rstrip(".")
