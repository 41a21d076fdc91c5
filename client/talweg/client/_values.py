"""Frozen values that the library returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from talweg.spec.states import has_ended
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from pandas import DataFrame

    from talweg.v1.jobs_pb2 import Divergence, MetricPoint, MetricSummary


class JobState(StrEnum):
    """The state of a job; equal to its name, such as ``"RUNNING"``."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    DIVERGED = "DIVERGED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether no other state follows."""
        return has_ended(jobs_pb2.Job.State.Value(self))

    @classmethod
    def of(cls, number: int) -> "JobState":
        """Convert the state of a message.

        Raises:
            ValueError: This client does not know it.
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
    """The result of a job."""

    name: str
    """jobs/{id}."""
    state: JobState
    """SUCCEEDED, except in a JobFailed."""
    metrics: Mapping[str, float]
    """The last value of each metric by name, such as ``test/mae``."""
    best: Mapping[str, float]
    """The best value of each metric that has a goal."""
    message: str
    """How it ended, as text."""
    divergence: "Divergence | None"
    """The evidence of the guard; None if the job did not diverge."""
    find_run: InitVar[Callable[[], str | None] | None] = None
    """Asks for the page of the run in MLflow."""

    def __post_init__(self, find_run: Callable[[], str | None] | None) -> None:
        """Keep the way to the page, which is no part of the value."""
        self.__dict__.update(_find_run=find_run, _url=None)

    @property
    def tracking_url(self) -> str | None:
        """The page of the run in MLflow, asked for until it is there; None till then.

        Also None where the server is away or the client is closed.
        """
        state = self.__dict__
        if state["_url"] is None and state["_find_run"] is not None:
            state["_url"] = state["_find_run"]()
        url: str | None = state["_url"]
        return url

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs, which has no connection."""
        return {**self.__dict__, "_url": self.tracking_url, "_find_run": None}


@dataclass(frozen=True)
class JobMetrics:
    """The metrics of a job."""

    summaries: Mapping[str, "MetricSummary"]
    """First, last and best value with their steps, by name."""
    points: Sequence["MetricPoint"]
    """The recorded points, oldest first; empty unless requested."""

    def series(self, name: str) -> list[tuple[int, float]]:
        """Return the recorded points of a metric as (step, value)."""
        return [(point.step, point.values[name]) for point in self.points if name in point.values]

    def to_pandas(self) -> "DataFrame":
        """Return the recorded points as a data frame: a row a step, a column a metric.

        Raises:
            ImportError: pandas is not installed.
        """
        rows: dict[int, dict[str, float]] = {}
        for point in self.points:
            rows.setdefault(point.step, {}).update(point.values)
        frame = pandas().DataFrame.from_dict(rows, orient="index").sort_index()
        frame.index.name = "step"
        result: DataFrame = frame
        return result

    def _repr_html_(self) -> str:
        """Show curves of the points, or the summaries where there are none."""
        from talweg.client.notebooks import curves, html

        names = sorted({name for point in self.points for name in point.values})
        shown = [name for name in names if "loss" in name] or names
        drawn = curves.of_series({name: self.series(name) for name in shown})
        rows = [
            (name, f"{summary.last:.5g}", summary.last_step, summary.count)
            for name, summary in sorted(self.summaries.items())
        ]
        return drawn + html.table(("metric", "last", "step", "values"), rows)


def pandas() -> Any:
    """Import pandas.

    Raises:
        ImportError: It is not installed; with how to install it.
    """
    try:
        return import_module("pandas")
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas, which is not installed here. Install it with: "
            "pip install pandas"
        ) from error


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a model in MLflow's registry."""

    name: str
    """The model's."""
    version: str
    """The version's."""
    alias: str
    """The alias that leads to it; empty if none was given."""

    @property
    def uri(self) -> str:
        """The URI that MLflow loads it by."""
        return f"models:/{self.name}@{self.alias}" if self.alias else self.versioned_uri

    @property
    def versioned_uri(self) -> str:
        """The URI of this version, whatever the alias leads to later."""
        return f"models:/{self.name}/{self.version}"
