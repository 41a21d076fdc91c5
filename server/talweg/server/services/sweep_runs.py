"""Runs in MLflow that are written from the record of sweeps: handed out to delivery processes."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from talweg.server.services.arguments import count, sweep_of, text
from talweg.server.services.attempts.tracking import check_run
from talweg.server.services.sweeps.messages import trial_message
from talweg.server.store.record.clock import microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.sweeps import runs, sweeps, trials
from talweg.server.store.sweeps.runs import SUMMARY, DueRun
from talweg.spec.sweeps import Plan
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Trial

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

    async def claim(
        self, holder: str, limit: int, *, with_trials: bool = False
    ) -> Sequence[DueRun]:
        """Give a holder the runs that it has, and more.

        Args:
            holder: Who asks.
            limit: At most so many in all; 0 for one.
            with_trials: Also runs of trials.

        Raises:
            InvalidRequest: An argument is out of bounds.
        """
        holder = text(holder, field="holder", most=_MAX_HOLDER_CHARS, required=True)
        limit = count(limit, field="limit", most=_MOST, default=_DEFAULT)
        # Asked for all the time, and nearly always in vain.
        if not await self._database.reading(runs.any_due, holder, with_trials=with_trials):
            return []
        return await self._database.writing_relaxed(_claim, holder, limit, with_trials)

    async def set_run(
        self, name: str, trial: int = SUMMARY, *, expected: str, run: TrackingRun, cursor: int
    ) -> TrackingRun:
        """Write down which run a sweep or a trial has, if the record holds the expected one.

        Args:
            name: `sweeps/{id}`.
            trial: The number of the trial.
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
            return runs.set_run(tx, row, trial, expected=expected, run=run, cursor=cursor)

        return await self._database.writing(write)


def _claim(tx: Transaction, holder: str, limit: int, with_trials: bool) -> list[DueRun]:
    claimed = runs.claim(
        tx, holder, limit=limit, held_for=microseconds(HELD_FOR), with_trials=with_trials
    )
    by_sweep: dict[str, list[int]] = {}
    for each in claimed:
        if each.trial != SUMMARY:
            by_sweep.setdefault(each.sweep, []).append(each.trial)
    messages: dict[tuple[str, int], Trial] = {}
    for id_, numbers in by_sweep.items():
        row = sweeps.get(tx.connection, id_)
        plan = Plan(row.sweep_spec)
        jobs = trials.jobs_of(tx.connection, row.seq, numbers)
        for trial in trials.of_numbers(tx.connection, row.seq, numbers):
            messages[id_, trial.number] = trial_message(trial, plan, jobs.get(trial.number, ()))
    return [replace(each, content=messages.get((each.sweep, each.trial))) for each in claimed]
