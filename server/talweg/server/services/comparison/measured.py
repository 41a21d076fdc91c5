"""What jobs reached by a metric: of validation metrics, that of the weights that were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server.store import events, metrics
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Job, MetricSummary, Outcome


@dataclass(frozen=True)
class Measured:
    """A job's value of a metric."""

    value: float
    """The value."""

    step: int
    """At which it was measured."""

    best_weights: bool = False
    """It is of an earlier evaluation than the last, from which early stopping took the weights."""


def measured(
    connection: Connection, rows: Sequence[JobRow], metric: str
) -> Mapping[int, Measured]:
    """Return the value of a metric for each of these jobs that has one, by `seq`.

    Of a job under early stopping that SUCCEEDED, a val/… metric is that of the evaluation whose
    weights were kept. All other values are the last.

    Args:
        connection: To read by.
        rows: The jobs.
        metric: Its name.
    """
    by_early_stopping = [
        row
        for row in rows
        if metric.startswith("val/")
        and row.state == Job.SUCCEEDED
        and row.job_spec.training.HasField("early_stopping")
    ]
    names = {metric}
    names |= {row.job_spec.training.early_stopping.metric for row in by_early_stopping}
    summaries = metrics.of_jobs(connection, [row.seq for row in rows], sorted(names))
    values = {
        seq: Measured(by_name[metric].last, by_name[metric].last_step)
        for seq, by_name in summaries.items()
        if metric in by_name
    }
    sought: dict[int, int] = {}
    for row in by_early_stopping:
        if row.seq not in values:
            continue
        step = _weights_step(row, summaries[row.seq])
        of_best_weights = _of_summary(summaries[row.seq][metric], step)
        if of_best_weights is not None:
            values[row.seq] = of_best_weights
        else:
            sought[row.seq] = step
            # A step whose evaluation the record does not hold has no value.
            del values[row.seq]
    for seq, value in events.values_at(connection, metric, sought).items():
        values[seq] = Measured(value, sought[seq], best_weights=True)
    return values


def _weights_step(row: JobRow, by_name: Mapping[str, MetricSummary]) -> int:
    """Return the step whose weights were kept; where the worker did not say, the best one."""
    step = Outcome.FromString(row.outcome or b"").weights_step
    watched = by_name.get(row.job_spec.training.early_stopping.metric)
    return step or (watched.best_step if watched is not None else 0)


def _of_summary(summary: MetricSummary, step: int) -> Measured | None:
    """Return the value at a step, where a summary tells it."""
    if step in (0, summary.last_step):
        return Measured(summary.last, summary.last_step)
    if summary.HasField("best") and step == summary.best_step:
        return Measured(summary.best, step, best_weights=True)
    if step == summary.first_step:
        return Measured(summary.first, step, best_weights=True)
    return None
