"""What is compared: jobs and their groups."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from talweg.client._values import JobState
from talweg.v1 import jobs_pb2, options_pb2

_Mark = jobs_pb2.CompareJobsResponse.Mark


class Goal(StrEnum):
    """Whether lower or higher values of a metric are better."""

    NONE = "none"
    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def words(self) -> str:
        """The goal as a remark on the metric."""
        return {
            Goal.NONE: "no direction",
            Goal.MINIMIZE: "lower is better",
            Goal.MAXIMIZE: "higher is better",
        }[self]

    @classmethod
    def of(cls, number: int) -> "Goal":
        """Convert the goal of a message.

        Raises:
            ValueError: This client does not know it.
        """
        known: dict[int, Goal] = {
            options_pb2.GOAL_UNSPECIFIED: cls.NONE,
            options_pb2.MINIMIZE: cls.MINIMIZE,
            options_pb2.MAXIMIZE: cls.MAXIMIZE,
        }
        if number not in known:
            raise ValueError(f"goal must be one of {', '.join(cls)}, but got number {number}")
        return known[number]


@dataclass(frozen=True)
class ComparisonRow:
    """One job of a comparison."""

    job: str
    """jobs/{id}."""
    state: JobState
    """The state of the job."""
    value: float | None
    """The value of the metric; None if the job has none."""
    seed: int
    """training.seed."""
    step: int = 0
    """At which the value was measured."""
    best_weights: bool = False
    """It is of an earlier evaluation than the last: early stopping took the weights of that."""
    worse_than_trivial: bool = False
    """It is far worse than what a predictor reaches that knows nothing of the inputs."""
    outlier: bool = False
    """It is far off the median of its group."""


@dataclass(frozen=True)
class Reference:
    """A predictor that jobs were measured beside."""

    name: str
    """trivial, gradient_boosting or linear."""
    mean: float
    """Of the metric, over the jobs that measured it."""
    count: int
    """How many these are."""


@dataclass(frozen=True)
class ComparisonGroup:
    """Jobs with equal values of the fields that the comparison groups by."""

    labels: tuple[str, ...]
    """A label per path of `Comparison.group_by`, such as ``huber delta=2``."""
    count: int
    """Jobs that SUCCEEDED and have a value; the other figures are of these alone."""
    mean: float | None
    """The mean; None if no job has a value."""
    sd: float | None
    """Sample standard deviation; None for fewer than two values."""
    min: float | None
    """The smallest value."""
    max: float | None
    """The largest value."""
    succeeded: int
    """Jobs that SUCCEEDED."""
    total: int
    """All jobs."""
    rows: tuple[ComparisonRow, ...]
    """The jobs."""
    varies: tuple[str, ...] = ()
    """Paths, other than seeds and the fold, in which the specs behind the values differ."""
    repeats: int = 0
    """Values that repeat a spec and seed."""
    median: float | None = None
    """None if no job has a value."""
    iqr: float | None = None
    """Interquartile range; None below two values."""
    states: Mapping[JobState, int] = field(default_factory=dict)
    """Number of jobs by state; states without jobs are left out."""

    @classmethod
    def of(cls, group: jobs_pb2.CompareJobsResponse.Group) -> "ComparisonGroup":
        """Convert a group of a response."""
        return cls(
            labels=tuple(group.labels),
            count=group.count,
            mean=group.mean if group.HasField("mean") else None,
            sd=group.sd if group.HasField("sd") else None,
            min=group.min if group.HasField("min") else None,
            max=group.max if group.HasField("max") else None,
            succeeded=group.succeeded,
            total=group.total,
            rows=tuple(
                ComparisonRow(
                    job=row.job,
                    state=JobState.of(row.state),
                    value=row.value if row.HasField("value") else None,
                    seed=row.seed,
                    step=row.step,
                    best_weights=row.best_weights,
                    worse_than_trivial=_Mark.WORSE_THAN_TRIVIAL in row.marks,
                    outlier=_Mark.OUTLIER in row.marks,
                )
                for row in group.rows
            ),
            varies=tuple(group.varies),
            repeats=group.repeats,
            median=group.median if group.HasField("median") else None,
            iqr=group.iqr if group.HasField("iqr") else None,
            states={JobState.of(each.state): each.count for each in group.states},
        )
