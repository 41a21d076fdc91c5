"""Jobs side by side.

The figures come from the record, so they are there while MLflow is down. A group's are of its
SUCCEEDED jobs alone: what a running job has reported last, or a diverged one before its end,
stands beside them and does not enter.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import Connection

from talweg.server.differences import differing, is_repetition, num_repeats
from talweg.server.errors import InvalidRequest, JobNotFound
from talweg.server.queries.filters import parse_filter
from talweg.server.queries.grouping import value_at
from talweg.server.services.arguments import job_of, text
from talweg.server.services.comparison.comparable import (
    check_known,
    check_one_metric,
    common_metric,
)
from talweg.server.services.comparison.marks import outliers
from talweg.server.services.comparison.measured import Measured, measured
from talweg.server.services.comparison.same_data import unequal_parts
from talweg.server.store import jobs, listing, metrics
from talweg.server.store.listing import Filter, OrderKey
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.spec import (
    goal_of,
    is_worse_than_trivial,
    job_name,
    reference_names,
    seed_of,
    trivial_name,
)
from talweg.v1.jobs_pb2 import CompareJobsResponse, Job
from talweg.v1.options_pb2 import Goal

Mark = CompareJobsResponse.Mark

MAX_JOBS = 10_000
DEFAULT_GROUPING = ("loss",)
"""The paths that jobs are grouped by where none are named."""
_MAX_METRIC_CHARS = 200


@dataclass(frozen=True)
class Row:
    """One job of a comparison."""

    job: JobRow
    """The job."""

    measured: Measured | None
    """What it reached; None where it has no value."""

    seed: int
    """training.seed."""

    marks: Sequence[Mark.ValueType] = ()
    """What a reader should know of the value."""

    @property
    def value(self) -> float | None:
        """The metric's value; None where the job has none."""
        return None if self.measured is None else self.measured.value

    @property
    def counts(self) -> bool:
        """Whether the value enters its group's figures."""
        return self.measured is not None and self.job.state == Job.SUCCEEDED


@dataclass(frozen=True)
class Group:
    """Jobs that are alike in what they are grouped by. Its figures are of SUCCEEDED jobs alone."""

    labels: tuple[str, ...]
    """One value a path, in words."""

    rows: Sequence[Row]
    """By seed."""

    @cached_property
    def values(self) -> list[float]:
        """The values of those jobs that succeeded and have one."""
        return [row.measured.value for row in self.rows if row.counts and row.measured]

    @property
    def mean(self) -> float | None:
        """The values' mean; None without values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The values' sample standard deviation; None below two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def median(self) -> float | None:
        """The values' median, which a few runaway values do not move; None without values."""
        return statistics.median(self.values) if self.values else None

    @property
    def iqr(self) -> float | None:
        """The values' interquartile range; None below two."""
        if len(self.values) < 2:
            return None
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return high - low

    @cached_property
    def varies(self) -> list[str]:
        """The paths, beside seeds and the fold, at which the specs behind the values differ."""
        specs = [row.job.job_spec for row in self.rows if row.counts]
        return [path for path in differing(specs) if not is_repetition(path)] if specs else []

    @cached_property
    def num_repeats(self) -> int:
        """How many of the values are those of a spec and a seed that had one already."""
        return num_repeats([row.job.job_spec for row in self.rows if row.counts])

    @property
    def states(self) -> Mapping[int, int]:
        """How many jobs are in each state."""
        return Counter(row.job.state for row in self.rows)

    @property
    def num_succeeded(self) -> int:
        """How many jobs are SUCCEEDED."""
        return self.states.get(Job.SUCCEEDED, 0)


@dataclass(frozen=True)
class Reference:
    """A predictor that jobs were measured beside."""

    name: str
    """Such as gradient_boosting."""

    mean: float
    """Of the metric, over the jobs that measured it."""

    count: int
    """How many these are."""


@dataclass(frozen=True)
class Comparison:
    """Groups, the best first."""

    metric: str
    """By which they are compared."""

    goal: Goal.ValueType
    """Whether it is better low or high."""

    groups: Sequence[Group]
    """Best mean first; those without values, of jobs that succeeded, last."""

    references: Sequence[Reference] = ()
    """What other predictors reach on the same test data, best first."""

    unequal: Sequence[str] = ()
    """Of task and dataset, which differ between the groups and are not what they group by."""


class ComparisonService:
    """Compares jobs by a metric, grouped by parts of their specs."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def compare(
        self,
        *,
        names: Sequence[str],
        filter: str = "",
        metric: str,
        group_by: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Comparison:
        """Compare jobs.

        Args:
            names: `jobs/{id}` each; or none, and a filter.
            filter: As in a list; all jobs where empty.
            metric: Its name; the jobs' primary one where empty.
            group_by: Paths in the spec; the loss where empty.
            labels: The groups of the jobs by their names, in place of paths.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: Names and filter are both given, or there are too many jobs.
            BadFilter: The filter cannot be read.
            BadMetric: The jobs have no such metric, or no common primary one, or it is not
                the same function for all of them.
            BadGrouping: A path is not in any spec.
        """
        if names and filter:
            raise InvalidRequest.of("filter", "must be empty where names are given")
        if len(names) > MAX_JOBS:
            raise InvalidRequest.of("names", f"must be <= {MAX_JOBS:,}, but got {len(names):,}")
        text(metric, field="metric", most=_MAX_METRIC_CHARS)
        ids = [job_of(name, field="names") for name in dict.fromkeys(names)]
        where = parse_filter(filter)

        def read(connection: Connection) -> Comparison:
            rows = _selected(connection, ids, where)
            # They train nothing: what they show is of another job.
            rows = [row for row in rows if not row.job_spec.HasField("replay")]
            chosen = metric or common_metric(rows)
            check_one_metric(chosen, rows)
            values = measured(connection, rows, chosen)
            if not values and rows:
                check_known(chosen, rows)
            trivial = _trivial(connection, rows, chosen)
            labels_of = [_labels(row, group_by or DEFAULT_GROUPING, labels) for row in rows]
            compared = _compared(rows, chosen, values, trivial, labels_of)
            references = _references(connection, rows, compared)
            behind = [[row.job.job_spec for row in g.rows if row.counts] for g in compared.groups]
            # Labels are groups of whoever gives them, by whatever they like.
            by = group_by or DEFAULT_GROUPING
            unequal = [] if labels is not None else unequal_parts(behind, by)
            return replace(compared, references=references, unequal=unequal)

        return await self._database.reading(read)


def _selected(connection: Connection, ids: Sequence[str], where: Filter) -> list[JobRow]:
    """Return the jobs with these ids, in their order; without ids, those that a filter matches."""
    if ids:
        by_id = jobs.get_many(connection, ids)
        missing = next((id_ for id_ in ids if id_ not in by_id), None)
        if missing is not None:
            raise JobNotFound(job_name(missing))
        return [by_id[id_] for id_ in ids]
    rows = listing.select_where(
        connection, where, [OrderKey("create_time")], after=None, limit=MAX_JOBS + 1
    )
    if len(rows) > MAX_JOBS:
        raise InvalidRequest.of("filter", f"must match <= {MAX_JOBS:,} jobs, but matches more")
    return rows


def _labels(
    row: JobRow, group_by: Sequence[str], labels: Mapping[str, str] | None
) -> tuple[str, ...]:
    if labels is not None:
        return (labels[row.name],)
    return tuple(value_at(row.job_spec, path) for path in group_by)


def _trivial(connection: Connection, rows: Sequence[JobRow], metric: str) -> Mapping[int, float]:
    """Return what the trivial predictor reached by a metric, by job."""
    name = trivial_name(metric)
    if not name:
        return {}
    summaries = metrics.of_jobs(connection, [row.seq for row in rows], [name])
    return {seq: by_name[name].last for seq, by_name in summaries.items()}


def _references(
    connection: Connection, rows: Sequence[JobRow], comparison: Comparison
) -> Sequence[Reference]:
    """Return what other predictors reached by the metric on the test data of the same jobs."""
    names = reference_names(comparison.metric)
    if not names:
        return ()
    counted = [row.seq for row in rows if row.state == Job.SUCCEEDED]
    summaries = metrics.of_jobs(connection, counted, list(names.values()))
    references = []
    for name, metric in names.items():
        values = [by_name[metric].last for by_name in summaries.values() if metric in by_name]
        if values:
            references.append(Reference(name, sum(values) / len(values), len(values)))
    is_high = comparison.goal == Goal.MAXIMIZE
    return sorted(references, key=lambda each: -each.mean if is_high else each.mean)


def _compared(
    jobs_: Sequence[JobRow],
    metric: str,
    values: Mapping[int, Measured],
    trivial: Mapping[int, float],
    labels_of: Sequence[tuple[str, ...]],
) -> Comparison:
    members: dict[tuple[str, ...], list[Row]] = {}
    goal: Goal.ValueType = Goal.GOAL_UNSPECIFIED
    for job, labels in zip(jobs_, labels_of, strict=True):
        spec = job.job_spec
        goal = goal or goal_of(spec, metric)
        row = Row(job, values.get(job.seq), seed_of(spec))
        members.setdefault(labels, []).append(row)
    groups = [
        Group(labels, sorted(rows, key=lambda row: (row.seed, row.job.seq)))
        for labels, rows in members.items()
    ]

    def rank(group: Group) -> tuple[bool, float, tuple[str, ...]]:
        mean = group.mean
        if mean is None:
            return True, 0.0, group.labels
        return False, -mean if goal == Goal.MAXIMIZE else mean, group.labels

    return Comparison(metric, goal, sorted(_marked(groups, goal, trivial), key=rank))


def _marked(
    groups: Sequence[Group], goal: Goal.ValueType, trivial: Mapping[int, float]
) -> list[Group]:
    """Return the groups with their values marked."""
    apart = outliers([group.values for group in groups])

    def marks(row: Row, outlying: set[float]) -> list[Mark.ValueType]:
        row_marks: list[Mark.ValueType] = []
        if row.value is None:
            return row_marks
        known = trivial.get(row.job.seq)
        if known is not None and is_worse_than_trivial(row.value, known, goal):
            row_marks.append(Mark.WORSE_THAN_TRIVIAL)
        if row.counts and row.value in outlying:
            row_marks.append(Mark.OUTLIER)
        return row_marks

    return [
        Group(group.labels, [replace(row, marks=marks(row, of_group)) for row in group.rows])
        for group, of_group in zip(groups, apart, strict=True)
    ]
