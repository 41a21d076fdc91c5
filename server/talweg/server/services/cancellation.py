"""Cancelling jobs."""

from datetime import timedelta

from talweg.server.errors import InvalidRequest, JobEnded
from talweg.server.services.arguments import MAX_REASON_CHARS, job_of, text
from talweg.server.services.attempts import endings
from talweg.server.store import jobs
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Job

DEFAULT_GRACE = timedelta(seconds=30)
_MAX_GRACE = timedelta(days=7)


class CancellationService:
    """Ends jobs on request: at once, or in order where a worker runs them."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def cancel(
        self, name: str, *, grace: timedelta = DEFAULT_GRACE, force: bool, reason: str
    ) -> JobRow:
        """Cancel a job. Cancelling a CANCELLED job changes nothing.

        A QUEUED or PAUSED job ends at once. A RUNNING one has until the end of the grace period to
        end in order; its worker learns of it by its next report. Of several requests the earliest
        end holds.

        Args:
            name: `jobs/{id}`.
            grace: How long the worker may take.
            force: End it at once; the worker's lease is stale from then on.
            reason: For the record.

        Raises:
            JobNotFound: There is no such job.
            JobEnded: It has ended otherwise.
            InvalidRequest: An argument is out of bounds.
        """
        id_ = job_of(name)
        text(reason, field="reason", most=MAX_REASON_CHARS)
        if not timedelta(0) <= grace <= _MAX_GRACE:
            raise InvalidRequest.of(
                "grace_period",
                f"must be >= 0 s and <= {_MAX_GRACE.total_seconds():.0f} s, "
                f"but got {grace.total_seconds():g} s",
            )
        return await self._database.writing(_cancel, id_, grace, force, reason)


def cancel_for_sweep(tx: Transaction, id_: str, reason: str) -> None:
    """Cancel a job of a sweep, unless it has ended meanwhile.

    Args:
        tx: A transaction.
        id_: The job's id.
        reason: For the record.
    """
    if not jobs.lock(tx, id_).ended:
        _cancel(tx, id_, DEFAULT_GRACE, False, reason[:MAX_REASON_CHARS])


def _cancel(tx: Transaction, id_: str, grace: timedelta, force: bool, reason: str) -> JobRow:
    row = jobs.lock(tx, id_)
    if row.state == Job.CANCELLED:
        return row
    if row.ended:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        raise JobEnded(
            f"{row.name} has already ended as {state}: it cannot be cancelled",
            metadata={"job": row.name, "state": state},
        )
    deadline = tx.now + microseconds(grace)
    if row.cancel_deadline is not None:
        deadline = min(deadline, row.cancel_deadline)
    row = jobs.change(
        tx,
        row,
        cancel_requested=True,
        cancel_deadline=deadline,
        cancel_reason=reason or row.cancel_reason,
    )
    if row.state != Job.RUNNING:
        when = "before it started" if row.attempt == 0 else "while it was queued"
        return endings.cancel(tx, row, f"cancelled {when}")
    if force:
        return endings.cancel(tx, row, "cut off", ending="cut off")
    return row
