"""Takes jobs from workers that are lost, and ends those whose time to cancel in order is over.

Several servers may reap at once: each job is locked by the one that deals with it.
"""

import asyncio
import logging
from datetime import timedelta

from talweg.server.errors import DatabaseUnavailable
from talweg.server.queueing.outage import Outage
from talweg.server.services.attempts import endings
from talweg.server.store import leases, queues
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.spec.refusals import AFTER_RECORD_SECONDS

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
_BATCH = 100


class Reaper:
    """Looks at the leases every second."""

    def __init__(self, database: Database, *, max_lost_attempts: int, lease: timedelta) -> None:
        """Keep its settings.

        Args:
            database: The record.
            max_lost_attempts: After so many lost workers a job ends as FAILED.
            lease: How long a lease lasts.
        """
        self._database = database
        # After an outage of the record, in which no worker could renew its lease.
        self._grace = min(AFTER_RECORD_SECONDS, lease.total_seconds())
        self._max_lost_attempts = max_lost_attempts

    async def run(self) -> None:
        """Reap until cancelled."""
        outage = Outage(log, "cannot check the leases", "checking the leases works again")
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.look()
            except DatabaseUnavailable as exc:
                outage.failed(exc)
            else:
                outage.passed()

    async def look(self) -> None:
        """Deal with all jobs that are overdue now.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        # A look that writes nothing keeps the writers free.
        while await self._database.reading(queues.any_overdue):
            if not await self._reap():
                break

    async def _reap(self) -> bool:
        """Deal with some of what is overdue; return whether there may be more."""
        if not self._database.availability.has_been_back_for(self._grace):
            # Workers that are well come first. Nobody else may write meanwhile.
            await self._database.check()
            return False
        reaped = await self._database.writing(reap, self._max_lost_attempts)
        for row in reaped:
            if not row.cancel_requested:
                log.warning("worker %s lost %s, attempt %d", row.worker, row.name, row.attempt)
        return bool(reaped)


def reap(tx: Transaction, max_lost_attempts: int) -> list[JobRow]:
    """Deal with overdue jobs.

    Args:
        tx: A transaction.
        max_lost_attempts: After so many lost workers a job ends as FAILED.

    Returns:
        The jobs as they are now; up to a hundred.
    """
    return [_reap(tx, row, max_lost_attempts) for row in leases.overdue(tx, limit=_BATCH)]


def _reap(tx: Transaction, row: JobRow, max_lost_attempts: int) -> JobRow:
    lost = row.lease_until is None or row.lease_until < tx.now
    if row.cancel_requested and lost:
        return endings.cancel(tx, row, f"its worker {row.worker} was lost", ending="lost")
    if not lost:
        message = f"its worker {row.worker} did not stop it within the grace period"
        return endings.cancel(tx, row, message, ending="cut off")
    return endings.lose(
        tx,
        row,
        "its lease expired",
        advice="check the workers' logs, and whether memory ran out",
        max_lost_attempts=max_lost_attempts,
    )
