"""What a run takes and gives: where it reports, what may stop it, how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Divergence, GuardDecision, Job, LogLine, Outcome, Warning
from talweg.v1.replay_pb2 import ReplayReport
from talweg.v1.weights_pb2 import TakenWeights
from talweg.worker.data import DataBundle
from talweg.worker.tasks import Predictions
from talweg.worker.training.state.snapshot import Snapshot


@dataclass(frozen=True)
class Table:
    """What a diagnosis found."""

    columns: Mapping[str, Sequence[float | str]]
    """By name, of one length; finite numbers."""
    facts: Mapping[str, float | str] = field(default_factory=dict)
    """What holds for all of it, by name; finite numbers."""


class Reporter(Protocol):
    """Where a run tells what happens. Called by the training thread, which waits for it."""

    def data(self, bundle: DataBundle) -> None:
        """Take the data, once, before the first step."""

    def computed(self, parameters: Mapping[str, str]) -> None:
        """Take what the data alone could tell and no spec says, by name, such as class weights.

        Once, before the first step, where there is any.
        """

    def weights(self, taken: TakenWeights) -> None:
        """Take what the model has taken of its starting weights, once, before the first step."""

    def warning(self, warning: Warning) -> None:
        """Take something that is allowed and is probably not meant."""

    def guard(self, decision: GuardDecision) -> None:
        """Take what was done about a refused step after which training goes on."""

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Take a line for people."""

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        """Take how far the run has come: every step, so this must be cheap.

        Args:
            step: Optimizer steps done.
            total_steps: Optimizer steps in all, unless the run stops early.
            epoch: The epoch that the step belongs to, from 1.
            total_epochs: Epochs in all, the last of which may be cut short.
        """

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Take values by name, such as ``train/loss``: finite ones only, already thinned."""

    def table(self, name: str, table: Table) -> None:
        """Take what a diagnosis found, once, by the diagnosis's name."""


StopReason = Literal["cancel", "pause", "shutdown", "lost", "time_limit"]


@dataclass(frozen=True)
class Stop:
    """Why a run must end now."""

    reason: StopReason
    """cancel, pause: somebody asked; shutdown: the worker goes; lost: the lease is another's now;
    time_limit: the job's own limit."""
    detail: str = ""
    """For people, such as the reason that was given; may be empty."""


class Control(Protocol):
    """What may stop a run."""

    def check(self) -> Stop | None:
        """Return whether to stop: asked every step, so this must be cheap."""


class Store(Protocol):
    """Where the state of a run is kept."""

    def load(self) -> Snapshot | None:
        """Return what to go on from: the newest snapshot that is whole; None to begin.

        Raises:
            StoreAwayError: There is one, and it cannot be reached now.
        """

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        """Keep a snapshot. Where that fails the run goes on, and a line tells of it.

        Args:
            snapshot: Holds until this returns.
            step: Optimizer steps done.
            epoch: Epochs complete.
            best: One more to be kept, of the best evaluation so far, after so many steps.

        Returns:
            Whether all of it is kept.
        """


class NoStore:
    """Keeps nothing."""

    def load(self) -> Snapshot | None:
        """Return None."""
        return None

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        """Drop it."""
        return False


@dataclass(frozen=True)
class Kept:
    """What is kept of a run that has succeeded, as its spec asks for."""

    shown: Mapping[str, Tensor] = field(default_factory=dict)
    """What the task's plots are drawn from, by name."""
    weights: Mapping[str, Tensor] | None = None
    """The model's parameters and buffers; None where no model is kept."""
    description: Mapping[str, Any] | None = None
    """With weights, what the model is built from again: JSON values."""
    example: Tensor | None = None
    """With weights, a few inputs as they come from the data."""
    is_of_images: bool = False
    """Whether it takes images."""


@dataclass(frozen=True)
class Result:
    """How a run ended, and what it leaves."""

    state: Job.State.ValueType
    """SUCCEEDED, FAILED, DIVERGED or CANCELLED; QUEUED where another attempt is to run the job
    (stopped for shutdown, or the lease lost), PAUSED where one is to do so later."""
    cause: Outcome.Cause.ValueType = Outcome.CAUSE_UNSPECIFIED
    """Why, where it did not succeed; SERVICE with QUEUED where the machine is in trouble."""
    message: str = ""
    """What happened and what to do; empty on success."""
    divergence: Divergence | None = None
    """What the guard saw, where it diverged."""
    steps: int = 0
    """Optimizer steps done: those that stand in the weights."""
    weights_step: int = 0
    """On success the step whose weights were kept: that of the best evaluation where early
    stopping chose them, else the last."""
    model: nn.Module | None = None
    """On success the network in evaluation mode, in CPU memory. It takes inputs and gives outputs
    as the data bundle has them: standardised where the spec asks for it, logits as logits. Where
    the loss has weights of its own they stand in it as ``loss``, and it gives embeddings."""
    example: Tensor | None = None
    """On success a few inputs for the model (n, …)."""
    predictions: Predictions | None = None
    """On success what the model says of the test data; None where there is none, or where it is
    too much to keep."""
    shown: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """On success what the task's plots of the test data are drawn from, by name."""
    replay: ReplayReport | None = None
    """What a replay has shown."""
    kept: Kept | None = None
    """What is kept of it, where it ran in another process and that has put it together."""


class NullReporter:
    """Drops everything."""

    def data(self, bundle: DataBundle) -> None:
        """Drop it."""

    def computed(self, parameters: Mapping[str, str]) -> None:
        """Drop it."""

    def weights(self, taken: TakenWeights) -> None:
        """Drop it."""

    def warning(self, warning: Warning) -> None:
        """Drop it."""

    def guard(self, decision: GuardDecision) -> None:
        """Drop it."""

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Drop it."""

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        """Drop it."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Drop it."""

    def table(self, name: str, table: Table) -> None:
        """Drop it."""


@dataclass
class RecordingReporter:
    """Keeps everything in memory."""

    bundle: DataBundle | None = None
    """The data."""
    parameters: dict[str, str] = field(default_factory=dict)
    """What was computed from the data, by name."""
    taken: TakenWeights | None = None
    """What was taken of starting weights; None without such."""
    warnings: list[Warning] = field(default_factory=list)
    """All warnings."""
    decisions: list[GuardDecision] = field(default_factory=list)
    """All that was done about refused steps."""
    lines: list[str] = field(default_factory=list)
    """All lines for people."""
    steps: int = 0
    """The last step that was told of."""
    epochs: tuple[int, int] = (0, 0)
    """The last epoch that was told of, and epochs in all."""
    total_steps: int = 0
    """Steps in all."""
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """All metrics: the step and the values by name."""
    tables: dict[str, Table] = field(default_factory=dict)
    """What diagnoses found, by their names."""

    def data(self, bundle: DataBundle) -> None:
        """Keep the data."""
        self.bundle = bundle

    def computed(self, parameters: Mapping[str, str]) -> None:
        """Keep the parameters."""
        self.parameters.update(parameters)

    def weights(self, taken: TakenWeights) -> None:
        """Keep it."""
        self.taken = taken

    def warning(self, warning: Warning) -> None:
        """Keep the warning."""
        self.warnings.append(warning)

    def guard(self, decision: GuardDecision) -> None:
        """Keep the decision."""
        self.decisions.append(decision)

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Keep the line."""
        self.lines.append(text)

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        """Keep the last."""
        self.steps = step
        self.total_steps = total_steps
        self.epochs = (epoch, total_epochs)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values."""
        self.points.append((step, dict(values)))

    def table(self, name: str, table: Table) -> None:
        """Keep the table."""
        self.tables[name] = table

    def series(self, name: str) -> list[tuple[int, float]]:
        """Return one metric: its steps and values."""
        return [(step, values[name]) for step, values in self.points if name in values]

    def last(self, name: str) -> float:
        """Return a metric's last value.

        Raises:
            KeyError: There is none.
        """
        series = self.series(name)
        if not series:
            raise KeyError(name)
        return series[-1][1]


class NeverStop:
    """A control that lets a run go on to its end."""

    def check(self) -> Stop | None:
        """Return None."""
        return None
