"""Deleting jobs on request."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from sqlalchemy import Connection, select

from talweg.server.errors import (
    InvalidRequest,
    JobInUse,
    JobNotEnded,
    JobNotFound,
    SessionState,
)
from talweg.server.services.arguments import job_of
from talweg.server.store import jobs, removals, sessions
from talweg.server.store.record.clock import current_time, microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.removals import Removal
from talweg.server.store.sweeps import sweeps
from talweg.spec import session_name, sweep_name
from talweg.v1.jobs_pb2 import Job, TrackingRun

_MAX_PAGE = 1000
_MOST_NAMED = 3
# How long after its end a job's run may still be made. A job that was lost before it had any
# results gets none, and must not be kept for them.
_RUN_MADE_WITHIN = microseconds(timedelta(days=1))


class DeletionService:
    """Deletes jobs from the record, and has workers remove their files."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def delete(self, name: str, *, force: bool, validate_only: bool = False) -> None:
        """Delete a job. One that was deleted and whose files are still to go is deleted already.

        Args:
            name: `jobs/{id}`.
            force: Do not wait for results that are still on their way to MLflow.
            validate_only: Only say whether it would be deleted.

        Raises:
            JobNotFound: There is no such job.
            JobNotEnded: It has not ended, or its results are on their way.
            JobInUse: Another job refers to it.
            InvalidRequest: That is not a job's name.
        """
        id_ = job_of(name)
        await self._database.writing(_delete, id_, force, validate_only)

    async def pending(self, limit: int) -> Sequence[Removal]:
        """Return deleted jobs whose files are still to go, the oldest first.

        Args:
            limit: At most so many; 0 for a hundred.

        Raises:
            InvalidRequest: The limit is out of bounds.
        """
        if not 0 <= limit <= _MAX_PAGE:
            raise InvalidRequest.of("limit", f"must be >= 0 and <= {_MAX_PAGE}, but got {limit}")
        return await self._database.reading(removals.pending, limit or 100)

    async def finish(self, name: str) -> None:
        """Forget a deleted job, whose files are gone.

        Args:
            name: `jobs/{id}`.

        Raises:
            InvalidRequest: That is not a job's name.
        """
        await self._database.writing(removals.finish, job_of(name, field="job"))


def _delete(tx: Transaction, id_: str, force: bool, validate_only: bool) -> None:
    try:
        row = jobs.lock(tx, id_)
    except JobNotFound:
        if removals.is_pending(tx.connection, id_):
            return
        raise
    check_deletable(tx.connection, row, force=force)
    if not validate_only:
        removals.remove(tx, row)


def check_deletable(connection: Connection, row: JobRow, *, force: bool = False) -> None:
    """Refuse to delete a job that is not over, or that another job needs.

    Args:
        connection: To read by.
        row: The job.
        force: Do not wait for results that are still on their way to MLflow.

    Raises:
        JobNotEnded: It has not ended, or its results are on their way.
        JobInUse: Another job refers to it, or a sweep goes on with its result.
        SessionState: It is of a session that is open.
    """
    if not row.ended:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        raise JobNotEnded(
            f"{row.name} is {state}: cancel it first",
            metadata={"job": row.name, "state": state},
        )
    now: int = connection.scalar(select(current_time())) or 0
    if not force and is_on_its_way(row, now):
        raise JobNotEnded(
            f"the results of {row.name} are still on their way to MLflow: delete it once they "
            "have arrived, or force it",
            metadata={"job": row.name},
        )
    if session := sessions.open_session_of(connection, [row.id]):
        raise SessionState(
            f"{row.name} belongs to {session_name(session)}, which is open and compares it: close "
            "the session first",
            metadata={"job": row.name, "session": session_name(session)},
        )
    users = removals.referrers(connection, [row.id]).get(row.id, ())
    if users:
        raise JobInUse.by_jobs(row.name, users[:_MOST_NAMED], len(users))
    if sweep := sweeps_that_need(connection, [row]).get(row.id):
        raise JobInUse.by_sweep(row.name, sweep_name(sweep))


def sweeps_that_need(connection: Connection, rows: Sequence[JobRow]) -> Mapping[str, str]:
    """Return by job the id of a sweep that goes on with its result, if there is one.

    A trial would end as CANCELLED without it, or a comparison have fewer seeds. A job that was
    cancelled has none.

    Args:
        connection: To read by.
        rows: At most a thousand jobs.
    """
    wanted = [row.id for row in rows if row.state != Job.CANCELLED]
    return sweeps.going_on_with(connection, wanted)


def is_on_its_way(row: JobRow, now: int) -> bool:
    """Return whether results of an ended job may still come to MLflow.

    Args:
        row: The job.
        now: The record's time, in microseconds.
    """
    if row.tracking is not None:
        return not TrackingRun.FromString(row.tracking).complete
    return row.attempt > 0 and (row.end_time or now) > now - _RUN_MADE_WITHIN
