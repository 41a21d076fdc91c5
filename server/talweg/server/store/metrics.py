"""First, last and best values of each job's metrics."""

import math
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Executable, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs, metrics
from talweg.v1.jobs_pb2 import MetricSummary

_VALUES = (
    "attempt",
    "first",
    "first_step",
    "last",
    "last_step",
    "best",
    "best_step",
    "count",
    "goal",
)


def put(tx: Transaction, row: JobRow, summaries: Iterable[MetricSummary]) -> None:
    """Write summaries of a job's attempt over those of the same names.

    Args:
        tx: A transaction.
        row: The job, locked.
        summaries: Over the whole attempt. One with a value that is not finite is left out.
    """
    # The last of a name counts: one statement cannot write a row twice.
    columns = {
        summary.name: {
            "job": row.seq,
            "name": summary.name,
            "attempt": row.attempt,
            "first": summary.first,
            "first_step": summary.first_step,
            "last": summary.last,
            "last_step": summary.last_step,
            "best": summary.best if summary.HasField("best") else None,
            "best_step": summary.best_step,
            "count": summary.count,
            "goal": summary.goal,
        }
        for summary in summaries
        if all(map(math.isfinite, (summary.first, summary.last, summary.best)))
    }
    if columns:
        dialect = tx.connection.dialect.name
        tx.connection.execute(_PUT[dialect], list(columns.values()))


def _put_statement(insert: type[sqlite.Insert] | type[postgresql.Insert]) -> Executable:
    statement = insert(metrics)
    return statement.on_conflict_do_update(
        index_elements=[metrics.c.job, metrics.c.name],
        set_={name: statement.excluded[name] for name in _VALUES},
    )


_PUT: dict[str, Executable] = {
    "sqlite": _put_statement(sqlite.Insert),
    "postgresql": _put_statement(postgresql.Insert),
}

# Summaries of an earlier attempt stay until a later one writes over them; they do not count.
_SELECT = select(metrics.c.name, *(metrics.c[name] for name in _VALUES[1:])).join(
    jobs, (metrics.c.job == jobs.c.seq) & (metrics.c.attempt == jobs.c.attempt)
)
_OF_JOB = _SELECT.where(metrics.c.job == bindparam("seq")).order_by(metrics.c.name)


def of_job(connection: Connection, seq: int) -> list[MetricSummary]:
    """Read the summaries of a job's own attempt, by name."""
    return [
        MetricSummary(**{name: value for name, value in row.items() if value is not None})
        for row in connection.execute(_OF_JOB, {"seq": seq}).mappings()
    ]


def of_jobs(
    connection: Connection, seqs: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, MetricSummary]]:
    """Read the summaries of these names in each job's own attempt, by job and name."""
    statement = _SELECT.add_columns(metrics.c.job).where(
        metrics.c.name.in_(names), metrics.c.job.in_(seqs)
    )
    summaries: dict[int, dict[str, MetricSummary]] = {}
    for row in connection.execute(statement).mappings():
        columns = {name: value for name, value in row.items() if value is not None}
        of_job = summaries.setdefault(columns.pop("job"), {})
        of_job[row["name"]] = MetricSummary(**columns)
    return summaries
