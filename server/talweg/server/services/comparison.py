"""Jobs side by side.

The figures come from the record: of each job the last value of the metric in its own attempt,
which for a test metric is the only one. So they are there while MLflow is down, and those of a
running job are what it reported last.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sqlalchemy import Connection

from talweg.server.differences import differing, is_seed, num_repeats
from talweg.server.errors import BadMetric, FieldProblem, InvalidRequest, JobNotFound
from talweg.server.filters import parse_filter
from talweg.server.grouping import value_at
from talweg.server.services.arguments import job_of, text
from talweg.server.store import jobs, listing, metrics
from talweg.server.store.database import Database
from talweg.server.store.listing import OrderKey
from talweg.server.store.rows import JobRow
from talweg.spec import goal_of, job_name, metrics_of, primary_metric, seed_of
from talweg.spec.spelling import nearest
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal

MAX_JOBS = 10_000
_MAX_METRIC_CHARS = 200


@dataclass(frozen=True)
class Row:
    """One job of a comparison."""

    job: JobRow
    """The job."""

    value: float | None
    """The metric's last value; None where the job has none."""

    seed: int
    """training.seed."""


@dataclass(frozen=True)
class Group:
    """Jobs that are alike in what they are grouped by."""

    labels: tuple[str, ...]
    """One value a path, in words."""

    rows: Sequence[Row]
    """By seed."""

    @property
    def values(self) -> list[float]:
        """The values of those jobs that have one."""
        return [row.value for row in self.rows if row.value is not None]

    @property
    def mean(self) -> float | None:
        """The values' mean; None without values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The values' sample standard deviation; None below two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @cached_property
    def varies(self) -> list[str]:
        """The paths, beside seeds, at which the specs behind the values differ."""
        specs = [row.job.job_spec for row in self.rows if row.value is not None]
        return [path for path in differing(specs) if not is_seed(path)] if specs else []

    @cached_property
    def num_repeats(self) -> int:
        """How many of the values are those of a spec and a seed that had one already."""
        return num_repeats([row.job.job_spec for row in self.rows if row.value is not None])

    @property
    def num_succeeded(self) -> int:
        """How many jobs are SUCCEEDED."""
        return sum(row.job.state == Job.SUCCEEDED for row in self.rows)


@dataclass(frozen=True)
class Comparison:
    """Groups, the best first."""

    metric: str
    """By which they are compared."""

    goal: Goal.ValueType
    """Whether it is better low or high."""

    groups: Sequence[Group]
    """Best mean first; those without values last."""


class ComparisonService:
    """Compares jobs by a metric, grouped by parts of their specs."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def compare(
        self, *, names: Sequence[str], filter: str, metric: str, group_by: Sequence[str]
    ) -> Comparison:
        """Compare jobs.

        Args:
            names: `jobs/{id}` each; or none, and a filter.
            filter: As in a list; all jobs where empty.
            metric: Its name; the jobs' primary one where empty.
            group_by: Paths in the spec; the loss where empty.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: Names and filter are both given, or there are too many jobs.
            BadFilter: The filter cannot be read.
            BadMetric: The jobs have no such metric, or no common primary one.
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
            if ids:
                by_id = jobs.get_many(connection, ids)
                missing = next((id_ for id_ in ids if id_ not in by_id), None)
                if missing is not None:
                    raise JobNotFound(job_name(missing))
                rows = [by_id[id_] for id_ in ids]
            else:
                rows = listing.select_where(
                    connection, where, [OrderKey("create_time")], after=None, limit=MAX_JOBS + 1
                )
                if len(rows) > MAX_JOBS:
                    raise InvalidRequest.of(
                        "filter", f"must match <= {MAX_JOBS:,} jobs, but matches more"
                    )
            chosen = metric or _common_metric(rows)
            values = metrics.last_values(connection, [row.seq for row in rows], chosen)
            if not values and rows:
                _check_metric(chosen, rows)
            return _compared(rows, chosen, values, group_by or ["loss"])

        return await self._database.reading(read)


def _common_metric(rows: Sequence[JobRow]) -> str:
    names = dict.fromkeys(primary_metric(row.job_spec) for row in rows)
    if len(names) > 1:
        description = (
            f"must be named, since the jobs' tasks have different ones: {', '.join(names)}"
        )
        raise BadMetric(f"metric {description}", fields=[FieldProblem("metric", description)])
    return next(iter(names), "")


def _check_metric(metric: str, rows: Sequence[JobRow]) -> None:
    """Refuse a name that none of the jobs can ever have, so that a misspelt one is noticed."""
    known = {"lr", "train/loss", "val/loss", "test/loss"}
    for row in rows:
        for facts in metrics_of(row.job_spec):
            if not facts.by_class:
                known |= {f"val/{facts.name}", f"test/{facts.name}"}
            elif goal_of(row.job_spec, metric) == facts.goal:
                known.add(metric)
    # What else is measured in training, such as guard/grad_norm, is the worker's to say.
    of_training = "/" in metric and not metric.startswith(("test/", "val/"))
    if metric in known or of_training:
        return
    description = f"found {metric!r}; allowed: {', '.join(sorted(known))}"
    meant = metric if "/" in metric else f"test/{metric}"
    if hint := nearest(meant, known):
        description += f". {hint}"
    raise BadMetric(f"metric: {description}", fields=[FieldProblem("metric", description)])


def _compared(
    rows: Sequence[JobRow], metric: str, values: dict[int, float], group_by: Sequence[str]
) -> Comparison:
    members: dict[tuple[str, ...], list[Row]] = {}
    goal: Goal.ValueType = Goal.GOAL_UNSPECIFIED
    for job in rows:
        spec = job.job_spec
        goal = goal or goal_of(spec, metric)
        labels = tuple(value_at(spec, path) for path in group_by)
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

    return Comparison(metric, goal, sorted(groups, key=rank))
