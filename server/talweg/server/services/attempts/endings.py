"""How an attempt or a job ends: the one place where a job leaves RUNNING, or QUEUED for good."""

from typing import Any

from talweg.server.services.sessions.summaries import queue_after_tests
from talweg.server.store import events, jobs, leases
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Event, Job, Outcome, StateChange

_FIRST_PAUSE, _LONGEST_PAUSE = SECOND, 60 * SECOND
_MAX_SETBACK_CHARS = 500


def end(
    tx: Transaction,
    row: JobRow,
    outcome: Outcome,
    *,
    ending: str | None = None,
    outcome_digest: bytes | None = None,
) -> JobRow:
    """End a job. Its lease is stale from here on, and `finished` is its last event.

    Args:
        tx: A transaction.
        row: The job, locked; not ended.
        outcome: How it ended.
        ending: What the attempt's row says, where that is not the outcome's state.
        outcome_digest: Of what the worker sent, where it did.

    Returns:
        The job as it is now.
    """
    assert has_ended(outcome.state)
    assert not row.ended
    if row.state == Job.RUNNING:
        leases.end_attempt(
            tx,
            row,
            ending=ending or Job.State.Name(outcome.state).lower(),
            outcome_digest=outcome_digest,
        )
    row = jobs.change(
        tx,
        row,
        state=int(outcome.state),
        end_time=tx.now,
        outcome=outcome.SerializeToString(),
        lease_token="",
        lease_until=None,
        cancel_deadline=None,
        pause_requested=False,
        last_cursor=events.append(tx, row, [Event(finished=outcome)]),
    )
    queue_after_tests(tx, row)
    return row


def cancel(
    tx: Transaction,
    row: JobRow,
    message: str,
    *,
    ending: str | None = None,
    outcome_digest: bytes | None = None,
) -> JobRow:
    """End a job as CANCELLED.

    Args:
        tx: A transaction.
        row: The job, locked; not ended.
        message: For people: in what circumstances. The reason that was given is added.
        ending: What the attempt's row says, where that is not "cancelled".
        outcome_digest: Of what the worker sent, where it did.

    Returns:
        The job as it is now.
    """
    if row.cancel_reason:
        message += f": {row.cancel_reason}"
    outcome = Outcome(state=Job.CANCELLED, cause=Outcome.CANCEL_REQUEST, message=message)
    return end(tx, row, outcome, ending=ending, outcome_digest=outcome_digest)


def requeue(
    tx: Transaction,
    row: JobRow,
    reason: str,
    *,
    ending: str,
    outcome_digest: bytes | None = None,
    **changes: Any,
) -> JobRow:
    """Take a job from its worker, to go on from its last checkpoint.

    It is QUEUED again, or PAUSED where somebody has asked for that.

    Args:
        tx: A transaction.
        row: The job, locked and RUNNING.
        reason: Why, in words.
        ending: What the attempt's row says.
        outcome_digest: Of what the worker sent, where it did.
        changes: What else changes, by the names of columns.

    Returns:
        The job as it is now.
    """
    leases.end_attempt(tx, row, ending=ending, outcome_digest=outcome_digest)
    state = Job.PAUSED if row.pause_requested else Job.QUEUED
    if state == Job.QUEUED:
        tx.changes.queues.add(row.queue)
    else:
        reason += "; paused on request"
    changed = StateChange(state=state, reason=reason)
    return jobs.change(
        tx,
        row,
        state=int(state),
        pause_requested=False,
        lease_token="",
        lease_until=None,
        progress=None,
        last_cursor=events.append(tx, row, [Event(state=changed)]),
        **changes,
    )


def set_back(
    tx: Transaction, row: JobRow, message: str, *, outcome_digest: bytes | None = None
) -> JobRow:
    """Take a job from a worker that is in trouble, such as one whose disk is full.

    It may be claimed again after a pause that doubles each time, until an attempt has kept a new
    checkpoint: the trouble may be the job's alone, and no worker's to see.

    Args:
        tx: A transaction.
        row: The job, locked and RUNNING.
        message: What the worker said.
        outcome_digest: Of what it sent.

    Returns:
        The job as it is now.
    """
    return requeue(
        tx,
        row,
        f"returned to the queue by {row.worker}: {message}",
        ending="released",
        outcome_digest=outcome_digest,
        **_held_back(tx, row, message),
    )


def lose(
    tx: Transaction,
    row: JobRow,
    how: str,
    *,
    max_lost_attempts: int,
    advice: str = "",
    is_told: bool = False,
    outcome_digest: bytes | None = None,
) -> JobRow:
    """Take a job from a worker that was lost; end it where that was once too often.

    Where the loss is told at once, no lease has to run out before the next attempt, and a pause
    stands in for it: what killed the process, such as a lack of memory, may be over then.

    Args:
        tx: A transaction.
        row: The job, locked and RUNNING.
        how: What happened, in words.
        max_lost_attempts: After so many lost workers a job ends as FAILED.
        advice: What to do about it.
        is_told: It was told, and its lease has not run out.
        outcome_digest: Of what the worker sent, where it did.

    Returns:
        The job as it is now.
    """
    num_lost = row.lost_attempts + 1
    if num_lost < max_lost_attempts:
        return requeue(
            tx,
            row,
            f"worker {row.worker} was lost in attempt {row.attempt}: {how}",
            ending="lost",
            outcome_digest=outcome_digest,
            lost_attempts=num_lost,
            **(_held_back(tx, row, how) if is_told else {}),
        )
    outcome = Outcome(
        state=Job.FAILED,
        cause=Outcome.WORKER_LOST,
        message=(
            f"{num_lost} workers were lost while they ran this job, the last one {row.worker}: "
            f"{advice or how}"
        ),
    )
    return end(tx, row, outcome, ending="lost", outcome_digest=outcome_digest)


def _held_back(tx: Transaction, row: JobRow, why: str) -> dict[str, Any]:
    """Return the columns by which a job is not claimed again at once."""
    pause = min(_FIRST_PAUSE * 2 ** min(row.setbacks, 30), _LONGEST_PAUSE)
    return {
        "setbacks": row.setbacks + 1,
        "setback": why[:_MAX_SETBACK_CHARS],
        "not_before": tx.now + pause,
    }
