"""Runs in MLflow that are written from the record of sweeps: handed out to delivery processes."""

from collections.abc import Sequence
from datetime import timedelta

from talweg.server.services.arguments import count, sweep_of, text
from talweg.server.services.attempts.tracking import check_run
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.sweeps import runs, sweeps
from talweg.server.store.sweeps.runs import DueRun
from talweg.v1.jobs_pb2 import TrackingRun

# Longer than MLflow may work on a request whose caller has died.
HELD_FOR = timedelta(minutes=1)
_MOST, _DEFAULT = 100, 1
_MAX_HOLDER_CHARS = 100


class SweepRunService:
    """Keeps which runs are still to be written, and which run it is.

    Whoever holds one may die at any time, and several may believe that they hold it: which run
    counts is decided by compare-and-set.
    """

    def __init__(self, database: Database) -> None:
        """Keep the record.

        Args:
            database: The record.
        """
        self._database = database

    async def claim(self, holder: str, limit: int) -> Sequence[DueRun]:
        """Give a holder the runs that it has, and more.

        Args:
            holder: Who asks.
            limit: At most so many in all; 0 for one.

        Raises:
            InvalidRequest: An argument is out of bounds.
        """
        holder = text(holder, field="holder", most=_MAX_HOLDER_CHARS, required=True)
        limit = count(limit, field="limit", most=_MOST, default=_DEFAULT)
        # Asked for all the time, and nearly always in vain.
        if not await self._database.reading(runs.any_due, holder):
            return []
        return await self._database.writing_relaxed(
            runs.claim, holder, limit=limit, held_for=microseconds(HELD_FOR)
        )

    async def set_run(
        self, name: str, *, expected: str, run: TrackingRun, cursor: int
    ) -> TrackingRun:
        """Write down which run a sweep has, if the record holds the expected one.

        Args:
            name: `sweeps/{id}`.
            expected: The run id that the record is believed to hold; empty for none.
            run: What it is to hold.
            cursor: The event up to which the run shows the sweep.

        Returns:
            What the record holds now: another run where somebody else was first.

        Raises:
            SweepNotFound: There is no such sweep.
            InvalidRequest: The ids or the address of the run are none.
        """
        id_ = sweep_of(name, field="sweep")
        check_run(run)

        def write(tx: Transaction) -> TrackingRun:
            row = sweeps.lock(tx, id_)
            return runs.set_run(tx, row, expected=expected, run=run, cursor=cursor)

        return await self._database.writing(write)
