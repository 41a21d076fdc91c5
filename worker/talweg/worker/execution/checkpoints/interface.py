"""What the keeper of checkpoints needs of its attempt, and the attempt of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.workers_pb2 import Kept


class ProgressLog(Protocol):
    """Where the attempt tells what happens, and what of that goes with a checkpoint."""

    def log(self, level: LogLine.Level.ValueType, text: str) -> None:
        """Take a line for people."""

    def summary_state(self) -> Mapping[str, Any]:
        """Put all points on disk that were told of, and give what sums them up."""

    def go_on(self, summaries: Mapping[str, Any]) -> None:
        """Go on from what `summary_state` gave."""

    def untold(self) -> Sequence[Mapping[str, Any]]:
        """Return the events that the server may not know yet, as JSON values."""

    def tell_again(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Tell what `untold` gave."""


class Stopwatch(Protocol):
    """How long the job has trained."""

    @property
    def seconds(self) -> float:
        """Seconds, in all attempts together."""

    def go_on_after(self, seconds: float) -> None:
        """Earlier attempts have trained for so long."""


class Checkpoints(Protocol):
    """What the attempt's lease and its end need of the keeper of its checkpoints."""

    def take_news(self) -> Kept | None:
        """Return what the record should hold, if that has changed."""

    def taken(self, report: Kept) -> None:
        """Remember what the record holds now."""

    def job_ends(self) -> None:
        """Keep what stays of a job that ends with this attempt."""

    def clean_up(self) -> None:
        """Remove what the record no longer names."""
