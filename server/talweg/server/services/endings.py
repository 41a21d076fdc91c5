"""How an attempt or a job ends: the one place where a job leaves RUNNING, or QUEUED for good."""

from talweg.server.store import events, jobs, leases
from talweg.server.store.database import Transaction
from talweg.server.store.rows import JobRow
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Event, Job, Outcome, StateChange


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
    return jobs.change(
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
    lost: bool = False,
    outcome_digest: bytes | None = None,
) -> JobRow:
    """Take a job from its worker, to go on from its last checkpoint.

    It is QUEUED again, or PAUSED where somebody has asked for that.

    Args:
        tx: A transaction.
        row: The job, locked and RUNNING.
        reason: Why, in words.
        ending: What the attempt's row says.
        lost: Its worker was lost, which is counted.
        outcome_digest: Of what the worker sent, where it did.

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
        lost_attempts=row.lost_attempts + lost,
        last_cursor=events.append(tx, row, [Event(state=changed)]),
    )
