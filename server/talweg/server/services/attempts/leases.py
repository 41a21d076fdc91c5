"""What workers do: claim jobs, report on them, end them.

A lease is the job's attempt number and a secret. Every call names both, and one whose attempt is
not the job's own is refused: two attempts never both count.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from talweg.server.errors import InvalidRequest, StaleLease
from talweg.server.services.arguments import (
    MAX_QUEUE_CHARS,
    MAX_REQUEST_ID_CHARS,
    MAX_SPOOL_CHARS,
    MAX_WORKER_CHARS,
    count,
    job_of,
    text,
)
from talweg.server.services.attempts import endings
from talweg.server.services.attempts.reports import Report, apply
from talweg.server.services.free_text import readable
from talweg.server.store import jobs, leases, stored_datasets
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.spec import escape_control, is_sha256
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.states import ENDED
from talweg.spec.stored import stored_versions
from talweg.v1.jobs_pb2 import Environment, Job, Outcome

MAX_CLAIM = 100
_MAX_ENVIRONMENT_CHARS, _MAX_PLUGINS = 200, 100
_MAX_MESSAGE_CHARS = 20_000
_GIVEN_BACK = frozenset({Job.QUEUED, Job.PAUSED})


@dataclass(frozen=True)
class LeaseClaim:
    """The lease that a worker says it holds."""

    job: str
    """jobs/{id}."""

    attempt: int
    """The attempt's number."""

    token: str
    """Its secret."""


@dataclass(frozen=True)
class PauseOrder:
    """That an attempt is to keep a checkpoint and give its job back."""

    reason: str
    """Why, for the record."""


@dataclass(frozen=True)
class CancelOrder:
    """That an attempt is to end as CANCELLED."""

    grace: timedelta
    """How long it may still take."""

    reason: str
    """Why, for the record."""


class LeaseService:
    """Hands out jobs, and takes in what becomes of them."""

    def __init__(self, database: Database, *, lease: timedelta, max_lost_attempts: int) -> None:
        """Keep its settings.

        Args:
            database: The record.
            lease: How long a lease lasts without renewal.
            max_lost_attempts: After so many lost workers a job ends as FAILED.
        """
        self._database = database
        self._max_lost_attempts = max_lost_attempts
        self.lease = lease
        """How long a lease lasts without renewal."""

    async def claim(
        self,
        *,
        queue: str,
        worker: str,
        devices: Sequence[str],
        limit: int,
        request_id: str,
        spool: str = "",
        owner: str = "",
    ) -> list[JobRow]:
        """Hand out waiting jobs: high priority first, then in the order submitted.

        Args:
            queue: The queue.
            worker: The worker's name.
            devices: What it offers; jobs that need "cuda" go only where that is among them.
            limit: At most so many; 1 where 0.
            request_id: Of the worker's choice. A claim sent again gives those of its jobs whose
                leases are still good, and no others.
            spool: Identifies the spool in which results will wait; may be empty.
            owner: The id of the token by which the worker is known; empty for none.

        Raises:
            InvalidRequest: An argument is out of bounds.
        """
        wanted = leases.Claim(
            queue=text(queue, field="queue", most=MAX_QUEUE_CHARS, required=True),
            worker=text(worker, field="worker", most=MAX_WORKER_CHARS, required=True),
            cuda="cuda" in devices,
            limit=count(limit, field="limit", most=MAX_CLAIM, default=1),
            claim_id=text(request_id, field="request_id", most=MAX_REQUEST_ID_CHARS) or None,
            token=leases.owned(secrets.token_urlsafe(16), owner),
            lease=microseconds(self.lease),
            spool=text(spool, field="spool", most=MAX_SPOOL_CHARS) or None,
        )
        return await self._database.writing_relaxed(_claim, wanted)

    async def root_digests(self, row: JobRow) -> Sequence[str]:
        """Return of which data sets that a job reads the content lies at the blob store's root."""
        if row.project == DEFAULT_PROJECT or not (versions := stored_versions(row.job_spec)):
            return ()
        return await self._database.reading(stored_datasets.at_root, row.project, versions)

    async def report(self, lease: LeaseClaim, report: Report) -> CancelOrder | PauseOrder | None:
        """Renew a lease and append what happened, once, however often it is sent.

        Args:
            lease: The lease.
            report: What happened since the report before.

        Returns:
            What the worker is to do; None to go on.

        Raises:
            JobNotFound: There is no such job.
            StaleLease: The lease is not the job's any more.
            InvalidRequest: The report holds what a worker has no say in.
        """
        id_ = job_of(lease.job, field="lease.job")
        return await self._database.writing_relaxed(self._report, id_, lease, report)

    def _report(
        self, tx: Transaction, id_: str, lease: LeaseClaim, report: Report
    ) -> CancelOrder | PauseOrder | None:
        row = jobs.lock(tx, id_)
        _check_lease(row, lease)
        row = apply(tx, row, report, lease_until=tx.now + microseconds(self.lease))
        if not row.cancel_requested:
            return PauseOrder(row.pause_reason) if row.pause_requested else None
        left = max(0, (row.cancel_deadline or 0) - tx.now)
        return CancelOrder(timedelta(microseconds=left), row.cancel_reason)

    async def finish(self, lease: LeaseClaim, outcome: Outcome, last: Report | None) -> None:
        """End a job, or give it back to the queue. Sent again alike it changes nothing.

        Args:
            lease: The lease.
            outcome: How it ended; with state QUEUED or PAUSED the job goes back, and is either
                as somebody has asked by now. With cause SERVICE it may be claimed again only after
                a pause, and with WORKER_LOST it counts as lost.
            last: What happened since the report before.

        Raises:
            JobNotFound: There is no such job.
            StaleLease: The lease is not the job's any more.
            InvalidRequest: The outcome or the report cannot be.
        """
        if outcome.state not in ENDED | _GIVEN_BACK:
            allowed = ", ".join(Job.State.Name(state) for state in sorted(ENDED | _GIVEN_BACK))
            found = Job.State.Name(outcome.state) if outcome.state in Job.State.values() else "?"
            raise InvalidRequest.of("outcome.state", f"found {found}; allowed: {allowed}")
        if outcome.cause not in Outcome.Cause.values():
            allowed = ", ".join(Outcome.Cause.keys())
            raise InvalidRequest.of("outcome.cause", f"found {outcome.cause}; allowed: {allowed}")
        digests = {
            "outcome.model_sha256": outcome.model_sha256,
            "outcome.weights_sha256": outcome.weights_sha256,
        }
        for field, digest in digests.items():
            if digest and not is_sha256(digest):
                raise InvalidRequest.of(
                    field, f"must be 64 hexadecimal digits, or empty, but got {digest[:100]!a}"
                )
        id_ = job_of(lease.job, field="lease.job")
        await self._database.writing(_finish, id_, lease, outcome, last, self._max_lost_attempts)


def _claim(tx: Transaction, wanted: leases.Claim) -> list[JobRow]:
    if wanted.claim_id is not None:
        owner = leases.owner_of(wanted.token)
        known, rows = leases.by_claim(
            tx, claim_id=wanted.claim_id, worker=wanted.worker, owner=owner
        )
        if known:
            return [jobs.change(tx, row, lease_until=tx.now + wanted.lease) for row in rows]
    return leases.claim(tx, wanted)


def _finish(
    tx: Transaction,
    id_: str,
    lease: LeaseClaim,
    outcome: Outcome,
    last: Report | None,
    max_lost_attempts: int,
) -> None:
    row = jobs.lock(tx, id_)
    digest = hashlib.sha256(outcome.SerializeToString(deterministic=True)).digest()
    if _was_finished(tx, row, lease, digest):
        return
    _check_lease(row, lease)
    if last is not None:
        row = apply(tx, row, last, lease_until=row.lease_until)
    message = escape_control(outcome.message[:_MAX_MESSAGE_CHARS])
    if outcome.state not in _GIVEN_BACK:
        endings.end(tx, row, _completed(outcome, row), outcome_digest=digest)
    elif row.cancel_requested:
        endings.cancel(tx, row, "cancelled when its worker returned it", outcome_digest=digest)
    elif outcome.cause == Outcome.WORKER_LOST:
        endings.lose(
            tx,
            row,
            message or "it was not said how",
            max_lost_attempts=max_lost_attempts,
            is_told=True,
            outcome_digest=digest,
        )
    elif outcome.cause == Outcome.SERVICE:
        endings.set_back(tx, row, message or "it was not said why", outcome_digest=digest)
    else:
        reason = f"returned to the queue by {row.worker}" + (f": {message}" if message else "")
        endings.requeue(tx, row, reason, ending="released", outcome_digest=digest)


def _was_finished(tx: Transaction, row: JobRow, lease: LeaseClaim, digest: bytes) -> bool:
    """Return whether this very call came before, and its answer was lost."""
    if lease.attempt > row.attempt or (row.state == Job.RUNNING and row.attempt == lease.attempt):
        return False
    attempt = leases.attempt_of(tx, seq=row.seq, attempt=lease.attempt)
    return (
        attempt is not None
        and secrets.compare_digest(attempt.token.encode(), lease.token.encode())
        and attempt.outcome_digest == digest
    )


def _check_lease(row: JobRow, lease: LeaseClaim) -> None:
    if row.state != Job.RUNNING:
        state = Job.State.Name(row.state)  # type: ignore[arg-type]
        problem = f"{row.name} is {state}, not RUNNING"
    elif row.attempt != lease.attempt:
        problem = f"{row.name} is at attempt {row.attempt}, not {lease.attempt}"
    elif not secrets.compare_digest(row.lease_token.encode(), lease.token.encode()):
        problem = f"the token does not belong to attempt {row.attempt} of {row.name}"
    else:
        return
    raise StaleLease(
        f"the lease is stale: {problem}. Stop this attempt",
        metadata={"job": row.name, "attempt": str(row.attempt)},
    )


def _cut(environment: Environment) -> Environment:
    """Return what is kept of an environment: no long texts, and so many plug-ins."""
    cut = Environment()
    cut.CopyFrom(environment)
    cut.ClearField("plugins")
    for field, value in cut.ListFields():
        setattr(cut, field.name, value[:_MAX_ENVIRONMENT_CHARS])
    for name, digest in islice(sorted(environment.plugins.items()), _MAX_PLUGINS):
        cut.plugins[name[:_MAX_ENVIRONMENT_CHARS]] = digest[:_MAX_ENVIRONMENT_CHARS]
    return cut


def _completed(outcome: Outcome, row: JobRow) -> Outcome:
    completed = Outcome()
    completed.CopyFrom(outcome)
    completed.message = outcome.message[:_MAX_MESSAGE_CHARS]
    if outcome.HasField("environment"):
        completed.environment.CopyFrom(_cut(outcome.environment))
    completed = readable(completed)
    if outcome.state == Job.CANCELLED:
        if not outcome.cause:
            completed.cause = Outcome.CANCEL_REQUEST
        if not outcome.message:
            reason = f": {row.cancel_reason}" if row.cancel_reason else ""
            completed.message = f"cancelled{reason}"
    return completed
