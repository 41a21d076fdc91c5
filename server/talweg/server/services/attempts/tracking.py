"""Which run in MLflow holds a job's results."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from talweg.server.errors import InvalidRequest
from talweg.server.services.arguments import MAX_SPOOL_CHARS, job_of, text
from talweg.server.store import jobs, leases
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import AttemptRow
from talweg.spec import has_control, is_tracking_id, is_web_address
from talweg.spec.tracking import run_page
from talweg.v1.jobs_pb2 import TrackingRun

# Over how long the rate of delivery is measured.
_WINDOWS_S = (10.0, 60.0)
_MAX_BYTES = 10_000
_MAX_DELIVERED = 10_000


@dataclass(frozen=True)
class Deliveries:
    """How far the spools of a job have come, as one of them sees it."""

    pending: Sequence[AttemptRow]
    """Attempts whose results are in other spools and not delivered yet, oldest first."""

    unknown_attempt: int
    """The latest attempt by a worker that has named no spool; 0 if there is none."""

    holds_latest: bool
    """Whether the latest attempt is this spool's."""


class TrackingService:
    """Keeps each job's run. No lease is needed, since delivery outlives the attempt."""

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database
        self._delivered: deque[float] = deque(maxlen=_MAX_DELIVERED)

    @property
    def per_second(self) -> float:
        """How many jobs were delivered per second lately, as told to this server.

        In the last ten seconds, or in the last minute where these had none: a longer time would
        count pauses between batches.
        """
        now = time.monotonic()
        for window in _WINDOWS_S:
            recent = [at for at in self._delivered if now - at < window]
            if recent:
                return len(recent) / max(1.0, now - recent[0])
        return 0.0

    async def set_run(self, name: str, *, expected: str, run: TrackingRun) -> TrackingRun:
        """Write a job's run, if the record holds the expected one.

        Args:
            name: `jobs/{id}`.
            expected: The run id that the record is believed to hold; empty for none.
            run: What it is to hold.

        Returns:
            What the record holds now: another run where somebody else was first.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: The ids or the address of the run are none.
        """
        id_ = job_of(name, field="job")
        check_run(run)
        written = await self._database.writing(_set, id_, expected, run)
        if run.complete and written == run:
            self._delivered.append(time.monotonic())
        return written

    async def report_delivery(
        self, name: str, *, spool: str, attempt: int, left_out: str = ""
    ) -> Deliveries:
        """Note how much of a job a spool has delivered.

        Args:
            name: `jobs/{id}`.
            spool: As the claim of its attempts named it.
            attempt: All that the spool holds of attempts up to this one is delivered; 0 for none.
            left_out: What of it will not arrive, and why; empty for nothing.

        Returns:
            What other spools still hold.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: The name or the spool is none, or what is left out is no line.
        """
        id_ = job_of(name, field="job")
        spool = text(spool, field="spool", most=MAX_SPOOL_CHARS, required=True)
        text(left_out, field="left_out", most=_MAX_BYTES)
        return await self._database.writing(_report_delivery, id_, spool, attempt, left_out)


def reachable(run: TrackingRun, tracking_uri: str) -> TrackingRun:
    """Return a run with its page's address as it is now, which may have been another.

    Args:
        run: As the record holds it; it is changed.
        tracking_uri: Where people reach MLflow's pages; empty if the record alone knows.
    """
    if tracking_uri and run.run_id:
        run.url = run_page(tracking_uri, experiment_id=run.experiment_id, run_id=run.run_id)
    return run


def check_run(run: TrackingRun) -> None:
    """Refuse what people or programs that follow the record would be led astray by.

    Raises:
        InvalidRequest: The ids or the address of the run are none.
    """
    if run.ByteSize() > _MAX_BYTES:
        raise InvalidRequest.of(
            "tracking", f"must be <= {_MAX_BYTES:,} bytes, but is {run.ByteSize():,}"
        )
    for field, value in (("run_id", run.run_id), ("experiment_id", run.experiment_id)):
        if not is_tracking_id(value) and (value or field == "run_id"):
            raise InvalidRequest.of(
                f"tracking.{field}",
                "must be letters, digits, '.', '_' and '-', at most 200, starting with a letter "
                f"or digit, but got {value[:100]!a}",
            )
    for field, value in (("missing", run.missing), ("left_out", run.left_out)):
        if has_control(value):
            raise InvalidRequest.of(
                f"tracking.{field}",
                f"must not contain control characters, but got {value[:100]!a}",
            )
    if run.url and not is_web_address(run.url):
        raise InvalidRequest.of(
            "tracking.url",
            "must be an http or https URL without spaces and control characters, or empty, but "
            f"got {run.url[:100]!a}",
        )


def _set(tx: Transaction, id_: str, expected: str, run: TrackingRun) -> TrackingRun:
    row = jobs.lock(tx, id_)
    if row.tracking_run_id != expected:
        return TrackingRun.FromString(row.tracking or b"")
    if run.missing and not _any_undelivered(leases.attempts_of(tx, row.seq)):
        # They arrived while this call was on its way.
        run.missing = ""
    held = TrackingRun.FromString(row.tracking or b"")
    if held.run_id == run.run_id:
        run.left_out = _joined(held.left_out, run.left_out)
    jobs.change(tx, row, tracking_run_id=run.run_id, tracking=run.SerializeToString())
    return run


def _any_undelivered(rows: Sequence[AttemptRow]) -> bool:
    return any(each.spool is not None and not each.delivered for each in rows)


def _joined(held: str, told: str) -> str:
    """Return what several machines have left out, such as "model: refused; plots: too large".

    Each tells its own whole, once or more often; of one thing the last reason stands.
    """
    parts = [part for text in (held, told) for part in text.split("; ") if part]
    reasons = dict(part.partition(": ")[::2] for part in parts)
    return "; ".join(f"{what}: {why}" if why else what for what, why in reasons.items())[
        :_MAX_BYTES
    ]


def _report_delivery(
    tx: Transaction, id_: str, spool: str, attempt: int, left_out: str
) -> Deliveries:
    row = jobs.lock(tx, id_)
    if attempt:
        leases.set_delivered(tx, row, spool=spool, attempt=attempt)
    rows = leases.attempts_of(tx, row.seq)
    pending = [each for each in rows if each.spool not in (None, spool) and not each.delivered]
    run = TrackingRun.FromString(row.tracking or b"")
    before = run.SerializeToString()
    if run.missing and not _any_undelivered(rows):
        # They have arrived after all.
        run.missing = ""
    if run.run_id:
        run.left_out = _joined(run.left_out, left_out)
    if (after := run.SerializeToString()) != before:
        jobs.change(tx, row, tracking=after)
    return Deliveries(
        pending,
        max((each.attempt for each in rows if each.spool is None), default=0),
        bool(rows) and rows[-1].spool == spool,
    )
