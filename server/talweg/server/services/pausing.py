"""Pausing jobs, and letting them go on."""

from talweg.server.errors import JobEnded
from talweg.server.services.arguments import MAX_REASON_CHARS, job_of, text
from talweg.server.store import events, jobs
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Event, Job, StateChange


class PauseService:
    """Has jobs wait on request, and go on."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def pause(self, name: str, *, reason: str) -> JobRow:
        """Pause a job. Pausing a PAUSED job changes nothing.

        A QUEUED job is PAUSED at once. A RUNNING one is once its worker, which learns of it by its
        next report, has kept a checkpoint; or when its worker is lost. A cancellation comes first.

        Args:
            name: `jobs/{id}`.
            reason: For the record.

        Raises:
            JobNotFound: There is no such job.
            JobEnded: It is over.
            InvalidRequest: An argument is out of bounds.
        """
        id_ = job_of(name)
        text(reason, field="reason", most=MAX_REASON_CHARS)
        return await self._database.writing(_pause, id_, reason)

    async def resume(self, name: str) -> JobRow:
        """Let a paused job go on, or one that is about to pause. Any other goes on as it does.

        Args:
            name: `jobs/{id}`.

        Raises:
            JobNotFound: There is no such job.
            JobEnded: It is over.
            InvalidRequest: That is not a job's name.
        """
        return await self._database.writing(_resume, job_of(name))


def pause_job(tx: Transaction, id_: str, reason: str) -> None:
    """Pause a job of a sweep, unless it has ended meanwhile."""
    if not jobs.lock(tx, id_).ended:
        _pause(tx, id_, reason)


def resume_job(tx: Transaction, id_: str) -> None:
    """Resume a job of a sweep, unless it has ended meanwhile."""
    if not jobs.lock(tx, id_).ended:
        _resume(tx, id_)


def _pause(tx: Transaction, id_: str, reason: str) -> JobRow:
    row = _lock(tx, id_, "paused")
    if row.state == Job.RUNNING:
        return jobs.change(tx, row, pause_requested=True, pause_reason=reason or row.pause_reason)
    if row.state == Job.PAUSED:
        return row
    return _move(tx, row, Job.PAUSED, f"paused: {reason}" if reason else "paused", reason)


def _resume(tx: Transaction, id_: str) -> JobRow:
    row = _lock(tx, id_, "resumed")
    if row.state == Job.PAUSED:
        tx.changes.queues.add(row.queue)
        return _move(tx, row, Job.QUEUED, "resumed", "")
    return jobs.change(tx, row, pause_requested=False, pause_reason="")


def _lock(tx: Transaction, id_: str, what: str) -> JobRow:
    row = jobs.lock(tx, id_)
    if row.ended:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        raise JobEnded(
            f"{row.name} has ended as {state}: it cannot be {what}",
            metadata={"job": row.name, "state": state},
        )
    return row


def _move(
    tx: Transaction, row: JobRow, state: Job.State.ValueType, why: str, reason: str
) -> JobRow:
    return jobs.change(
        tx,
        row,
        state=int(state),
        pause_reason=reason,
        last_cursor=events.append(tx, row, [Event(state=StateChange(state=state, reason=why))]),
    )
