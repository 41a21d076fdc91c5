"""Claims and attempts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Boolean, String, bindparam, func, insert, or_, select, update

from talweg.server.store import events
from talweg.server.store.identity import gpu_use, projects
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import AttemptRow, JobRow
from talweg.server.store.record.schema import attempts, is_queued, is_running, jobs
from talweg.server.store.record.scope import project_of
from talweg.v1.jobs_pb2 import Event, Job, StateChange

# In the token of a lease, behind the id of the worker's own token.
_DIVIDER = "."


@dataclass(frozen=True)
class Claim:
    """Who asks for jobs, and for which."""

    queue: str
    """The queue."""

    worker: str
    """The worker's name."""

    cuda: bool
    """Whether the worker has a CUDA device."""

    limit: int
    """At most so many jobs."""

    claim_id: str | None
    """By which the claim is known when it is sent again."""

    token: str
    """The secret of the attempts that begin."""

    lease: int
    """How long the leases last, in microseconds."""

    spool: str | None = None
    """Where results will wait for delivery, if the worker has named it."""


# Of a worker that serves one alone; None for all.
_OF_PROJECT = bindparam("of_project", type_=String)
_PICKED = (
    select(jobs.c.seq)
    .where(
        is_queued,
        jobs.c.queue == bindparam("wanted_queue"),
        or_(jobs.c.device != "cuda", bindparam("has_cuda", type_=Boolean)),
        or_(jobs.c.device == "cpu", bindparam("may_use_gpus", type_=Boolean)),
        or_(_OF_PROJECT.is_(None), jobs.c.project == _OF_PROJECT),
        or_(jobs.c.not_before.is_(None), jobs.c.not_before <= bindparam("start_time")),
    )
    .order_by(jobs.c.priority.desc(), jobs.c.seq)
    .limit(bindparam("most"))
    # On PostgreSQL claims pass each other's jobs by; SQLite has one writer at a time.
    .with_for_update(skip_locked=True)
    .cte("picked")
)
_CLAIM = (
    update(jobs)
    .where(jobs.c.seq.in_(select(_PICKED.c.seq)), is_queued)
    .values(
        state=int(Job.RUNNING),
        attempt=jobs.c.attempt + 1,
        worker=bindparam("worker"),
        lease_token=bindparam("lease_token"),
        lease_until=bindparam("lease_until"),
        start_time=bindparam("start_time"),
        report_sequence=0,
        progress=None,
        metrics_time=0,
        not_before=None,
        last_cursor=jobs.c.last_cursor + 1,
    )
    .returning(*jobs.c)
)


def claim(tx: Transaction, wanted: Claim) -> list[JobRow]:
    """Make waiting jobs RUNNING.

    Projects that wait in the same queue take turns: the next is that which runs the fewest jobs,
    of several that which has waited the longest. Of a project, those of high priority go first,
    then in the order submitted. A project that runs as many as it may is passed by; one that has
    used the hours of GPUs that it may gets no GPU.

    Args:
        tx: A transaction.
        wanted: Who asks, and for what.

    Returns:
        The jobs, in that order, with the new attempt and its lease.
    """
    connection = tx.connection
    of_worker = project_of(connection)
    waiting = {
        each.name: each
        for each in projects.waiting(connection, wanted.queue)
        if of_worker in (None, each.name)
    }
    bounds_gpus = wanted.cuda and any(each.max_gpu_hours is not None for each in waiting.values())
    bounds_jobs = any(each.max_running_jobs is not None for each in waiting.values())
    if len(waiting) <= 1 and not bounds_jobs and not bounds_gpus:
        return _claim(tx, wanted, limit=wanted.limit, project=of_worker)
    if connection.dialect.name == "postgresql":
        # Two claims at once would each see room for the last job that a project may run.
        connection.execute(_LOCK_CLAIM, {"claim": "turns"})
    running = projects.running_jobs(connection)
    without_gpus = gpu_use.exhausted(connection) if bounds_gpus else {}
    claimed: list[JobRow] = []
    while len(claimed) < wanted.limit and waiting:
        turn = min(waiting.values(), key=lambda each: (running.get(each.name, 0), each.last_claim))
        most = turn.max_running_jobs
        is_full = most is not None and running.get(turn.name, 0) >= most
        may_use_gpus = turn.name not in without_gpus
        one = (
            []
            if is_full
            else _claim(tx, wanted, limit=1, project=turn.name, may_use_gpus=may_use_gpus)
        )
        if not one:
            # What waits there is not for this worker, or not yet.
            del waiting[turn.name]
            continue
        claimed += one
        running[turn.name] = running.get(turn.name, 0) + 1
        # One behind the other, also within a microsecond.
        waiting[turn.name] = replace(turn, last_claim=tx.now + len(claimed))
        projects.had_a_turn(tx, turn.name)
    return claimed


def _claim(
    tx: Transaction,
    wanted: Claim,
    *,
    limit: int,
    project: str | None,
    may_use_gpus: bool = True,
) -> list[JobRow]:
    result = tx.connection.execute(
        _CLAIM,
        {
            "wanted_queue": wanted.queue,
            "has_cuda": wanted.cuda,
            # A worker without GPUs uses none, whatever the job would take.
            "may_use_gpus": may_use_gpus or not wanted.cuda,
            "of_project": project,
            "most": limit,
            "worker": wanted.worker,
            "lease_token": wanted.token,
            "lease_until": tx.now + wanted.lease,
            "start_time": tx.now,
        },
    )
    claimed = [JobRow(*row) for row in result]
    claimed.sort(key=lambda row: (-row.priority, row.seq))
    if claimed:
        tx.connection.execute(
            insert(attempts),
            [
                {
                    "job": row.seq,
                    "attempt": row.attempt,
                    "worker": wanted.worker,
                    "token": wanted.token,
                    "claim_id": wanted.claim_id,
                    "start_time": tx.now,
                    "spool": wanted.spool,
                    "delivered": False,
                    "gpus": _gpus(row) if wanted.cuda else 0,
                }
                for row in claimed
            ],
        )
    for row in claimed:
        running = StateChange(state=Job.RUNNING, reason=f"claimed by {wanted.worker}")
        before = replace(row, last_cursor=row.last_cursor - 1)
        events.append(tx, before, [Event(state=running)])
    return claimed


def _gpus(row: JobRow) -> int:
    """Return how many GPUs a job takes where there are some."""
    return 0 if row.device == "cpu" else max(1, row.job_spec.resources.processes)


_LOCK_CLAIM = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("claim"), 0)))


def by_claim(
    tx: Transaction, *, claim_id: str, worker: str, owner: str
) -> tuple[bool, list[JobRow]]:
    """Find what an earlier claim was given.

    Args:
        tx: A transaction.
        claim_id: The claim's id.
        worker: The worker that claimed.
        owner: Whose token the leases must be for: see `ownership`.

    Returns:
        Whether there was such a claim, and those of its jobs whose leases it still holds.
    """
    if tx.connection.dialect.name == "postgresql":
        # The same claim may come twice at once; the second waits for the first one's end.
        tx.connection.execute(_LOCK_CLAIM, {"claim": f"{worker} {claim_id}"})
    tokens = (
        tx.connection.execute(
            select(attempts.c.token).where(
                attempts.c.claim_id == claim_id, attempts.c.worker == worker
            )
        )
        .scalars()
        .all()
    )
    if not tokens or owner_of(tokens[0]) != owner:
        return False, []
    # A token is one claim's, so it finds exactly the attempts that are still this claim's.
    statement = (
        select(jobs)
        .where(is_running, jobs.c.lease_token == tokens[0], jobs.c.lease_until > tx.now)
        .order_by(jobs.c.priority.desc(), jobs.c.seq)
        .with_for_update()
    )
    return True, [JobRow(*row) for row in tx.connection.execute(statement)]


_ATTEMPT = select(attempts).where(
    attempts.c.job == bindparam("seq"), attempts.c.attempt == bindparam("number")
)


def attempt_of(tx: Transaction, *, seq: int, attempt: int) -> AttemptRow | None:
    """Find an attempt of a job.

    Args:
        tx: A transaction.
        seq: The job.
        attempt: Its number.
    """
    row = tx.connection.execute(_ATTEMPT, {"seq": seq, "number": attempt}).first()
    return None if row is None else AttemptRow(*row)


_ATTEMPTS = select(attempts).where(attempts.c.job == bindparam("seq")).order_by(attempts.c.attempt)


def attempts_of(tx: Transaction, seq: int) -> list[AttemptRow]:
    """Return all attempts of a job, in order.

    Args:
        tx: A transaction.
        seq: The job.
    """
    return [AttemptRow(*row) for row in tx.connection.execute(_ATTEMPTS, {"seq": seq})]


_DELIVERED = (
    update(attempts)
    .where(
        attempts.c.job == bindparam("read_job"),
        attempts.c.spool == bindparam("read_spool"),
        attempts.c.attempt <= bindparam("read_attempt"),
    )
    .values(delivered=True)
)


def set_delivered(tx: Transaction, row: JobRow, *, spool: str, attempt: int) -> None:
    """Note that a spool holds nothing of some attempts any more.

    Args:
        tx: A transaction.
        row: The job, locked.
        spool: The spool.
        attempt: The last of the attempts.
    """
    tx.connection.execute(
        _DELIVERED, {"read_job": row.seq, "read_spool": spool, "read_attempt": attempt}
    )


_END = (
    update(attempts)
    .where(
        attempts.c.job == bindparam("read_job"), attempts.c.attempt == bindparam("read_attempt")
    )
    .returning(*attempts.c)
)


def end_attempt(
    tx: Transaction, row: JobRow, *, ending: str, outcome_digest: bytes | None = None
) -> None:
    """Note that a job's attempt is over, and count what it has used.

    Args:
        tx: A transaction.
        row: The job, locked.
        ending: How it ended, in a word.
        outcome_digest: Of what its worker sent, where it did.
    """
    ended = tx.connection.execute(
        _END,
        {
            "read_job": row.seq,
            "read_attempt": row.attempt,
            "end_time": tx.now,
            "ending": ending,
            "outcome_digest": outcome_digest,
        },
    ).first()
    if ended is not None:
        gpu_use.add(tx, row.project, AttemptRow(*ended))


def overdue(tx: Transaction, *, limit: int) -> Sequence[JobRow]:
    """Lock RUNNING jobs whose lease or whose time to cancel in order has run out.

    Args:
        tx: A transaction.
        limit: At most so many.
    """
    statement = (
        select(jobs)
        .where(is_running, or_(jobs.c.lease_until < tx.now, jobs.c.cancel_deadline < tx.now))
        .order_by(jobs.c.seq)
        .limit(limit)
        # What another replica has locked, that replica deals with.
        .with_for_update(skip_locked=True)
    )
    return [JobRow(*row) for row in tx.connection.execute(statement)]


def owned(secret: str, owner: str) -> str:
    """Return the token of a lease.

    Args:
        secret: What makes it hard to guess.
        owner: The id of the worker's own token; empty for one without a row in the record.
    """
    return f"{owner}{_DIVIDER}{secret}" if owner else secret


def owner_of(lease_token: str) -> str:
    """Return the id of the token that a lease was given to; empty for one without a row."""
    return lease_token.rpartition(_DIVIDER)[0]
