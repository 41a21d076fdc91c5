"""Jobs that are deleted: what refers to them, and whose files are still to be removed.

The record forgets a deleted job in one transaction, and notes in the same one that its files and
its run in MLflow are to go. A worker removes those, which may take long or be cut short, and then
has the note removed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import (
    attempts,
    events,
    jobs,
    links,
    metrics,
    removals,
    tags,
)
from talweg.server.store.record.scope import in_project
from talweg.spec import job_name
from talweg.v1.jobs_pb2 import TrackingRun

_OF_JOB = (metrics, events, attempts, tags, links)


@dataclass(frozen=True)
class Removal:
    """What is left of a deleted job outside the record."""

    id: str
    """The job's."""

    run_id: str
    """Its run in MLflow; empty if it had none."""

    experiment_id: str
    """The run's experiment."""

    project: str
    """The job's."""


def referrers(connection: Connection, ids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Return the names of the jobs whose specs name these jobs, by id of the job that is named.

    Args:
        connection: To read by.
        ids: Ids of jobs.
    """
    users: dict[str, list[str]] = {}
    statement = (
        select(links.c.target, jobs.c.id)
        .join(jobs, jobs.c.seq == links.c.job)
        .where(links.c.target.in_(list(ids)))
        .order_by(jobs.c.seq)
    )
    for target, id_ in connection.execute(statement):
        users.setdefault(target, []).append(job_name(id_))
    return users


def remove(tx: Transaction, row: JobRow) -> None:
    """Delete all rows of a locked job, and note that its files are to go.

    Args:
        tx: A transaction.
        row: The job, locked.
    """
    for table in _OF_JOB:
        tx.connection.execute(delete(table).where(table.c.job == row.seq))
    tx.connection.execute(delete(jobs).where(jobs.c.seq == row.seq))
    if not row.attempt:
        # No worker has ever touched it.
        return
    run = TrackingRun.FromString(row.tracking or b"")
    tx.connection.execute(
        insert(removals).values(
            id=row.id,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            time=tx.now,
            project=row.project,
        )
    )


def pending(connection: Connection, limit: int) -> list[Removal]:
    """Return the deleted jobs whose files are still to go, the oldest first.

    Args:
        connection: To read by.
        limit: At most so many.
    """
    columns = (removals.c.id, removals.c.run_id, removals.c.experiment_id, removals.c.project)
    statement = select(*columns)
    statement = in_project(connection, statement, removals)
    rows = connection.execute(statement.order_by(removals.c.time, removals.c.id).limit(limit))
    return [Removal(*row) for row in rows]


def is_pending(connection: Connection, id_: str) -> bool:
    """Return whether a job was deleted, and its files are still to go."""
    statement = select(removals.c.id).where(removals.c.id == id_)
    return connection.scalar(in_project(connection, statement, removals)) is not None


def finish(tx: Transaction, id_: str) -> None:
    """Forget a removal that is done."""
    if is_pending(tx.connection, id_):
        tx.connection.execute(delete(removals).where(removals.c.id == id_))
