"""What the library computes or gathers, as frozen values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from talweg.spec.states import has_ended
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from talweg.v1.jobs_pb2 import Divergence, MetricPoint, MetricSummary


class JobState(StrEnum):
    """What has become of a job; equal to its name, such as ``"RUNNING"``."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DIVERGED = "DIVERGED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """No other state follows."""
        return has_ended(jobs_pb2.Job.State.Value(self))

    @classmethod
    def of(cls, number: int) -> "JobState":
        """Give the state that a message holds.

        Raises:
            ValueError: Where this client does not know it.
        """
        name = _STATE_NAMES.get(number, "")
        if name not in cls.__members__:
            raise ValueError(
                f"job state must be one of {', '.join(cls)}, but got number {number}:"
                " the server may be newer than this client"
            )
        return cls[name]


_STATE_NAMES: dict[int, str] = {number: name for name, number in jobs_pb2.Job.State.items()}


@dataclass(frozen=True)
class JobResult:
    """What a job ended with."""

    name: str
    """jobs/{id}."""
    state: JobState
    """SUCCEEDED, unless it comes with JobFailed."""
    metrics: Mapping[str, float]
    """Each metric's last value, by name, such as ``test/mae``."""
    best: Mapping[str, float]
    """The best value of each metric that has a goal."""
    message: str
    """How it ended, in words."""
    divergence: "Divergence | None"
    """What the guard saw; None where the job did not diverge."""
    tracking_url: str | None
    """The run's page in MLflow; None until the run has arrived there."""


@dataclass(frozen=True)
class JobMetrics:
    """What a job's metrics did."""

    summaries: Mapping[str, "MetricSummary"]
    """First, last and best value with their steps, by name."""
    points: Sequence["MetricPoint"]
    """The recorded points, oldest first; empty unless they were asked for."""

    def series(self, name: str) -> list[tuple[int, float]]:
        """Give a metric's recorded points as (step, value)."""
        return [(point.step, point.values[name]) for point in self.points if name in point.values]
