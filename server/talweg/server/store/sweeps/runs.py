"""Runs in MLflow that are written from the record of sweeps: what waits, who writes it.

A row is written in the transaction that makes the run due, so that nothing that the record says
has happened is ever without its run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    exists,
    insert,
    or_,
    select,
    update,
)

from talweg.server.store.record.clock import current_time
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.record.schema import (
    goes_on,
    is_open,
    jobs,
    sweep_runs,
    sweeps,
    trial_jobs,
    trials,
)
from talweg.server.store.record.scope import in_project
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Trial

SUMMARY = 0
"""In a trial's place: the run is that of the whole sweep."""


@dataclass(frozen=True)
class DueRun:
    """A run that is to be written."""

    sweep: str
    """The sweep's id."""
    trial: int
    """The number of the trial that it is of; `SUMMARY` for the whole sweep."""
    cursor: int
    """The event of the sweep after which it was queued."""
    attempt: int
    """How many have taken it, this one included."""
    tracking: TrackingRun
    """What is known of it."""
    content: Trial | None = None
    """The trial as it is now; None for the whole sweep."""


def queue(tx: Transaction, row: SweepRow, trial: int = SUMMARY) -> None:
    """Have a run be written, again where it was before.

    Args:
        tx: A transaction.
        row: The sweep, locked.
        trial: The trial that it is of.
    """
    statement = update(sweep_runs).where(_is(row.seq, trial))
    again = statement.values(cursor=row.last_cursor, is_waiting=True, holder="", held_until=0)
    if not tx.connection.execute(again).rowcount:
        new = insert(sweep_runs).values(
            sweep=row.seq, trial=trial, cursor=row.last_cursor, is_waiting=True, holder="",
            held_until=0, attempt=0, run_id="", tracking=b"",
        )  # fmt: skip
        tx.connection.execute(new)


def any_due(connection: Connection, holder: str, *, with_trials: bool = False) -> bool:
    """Return whether there is something to claim for a holder."""
    due = _due(holder, current_time(), with_trials)
    return connection.execute(in_project(connection, due, sweeps).limit(1)).first() is not None


def claim(
    tx: Transaction, holder: str, *, limit: int, held_for: int, with_trials: bool = False
) -> list[DueRun]:
    """Give a holder what it holds, and more, the oldest first.

    Args:
        tx: A transaction.
        holder: Who asks.
        limit: At most so many in all.
        held_for: How long nobody else may take them, in microseconds.
        with_trials: Also runs of trials.
    """
    statement = in_project(tx.connection, _due(holder, tx.now, with_trials), sweeps)
    statement = statement.order_by(sweep_runs.c.sweep, sweep_runs.c.trial).limit(limit)
    rows = tx.connection.execute(statement.with_for_update(of=sweep_runs, skip_locked=True)).all()
    claimed = []
    for row in rows:
        # Whoever has it already goes on.
        attempt = row.attempt + (row.holder != holder)
        held = {"holder": holder, "held_until": tx.now + held_for, "attempt": attempt}
        tx.connection.execute(update(sweep_runs).where(_is(row.sweep, row.trial)).values(**held))
        tracking = TrackingRun.FromString(row.tracking)
        claimed.append(DueRun(row.id, row.trial, row.cursor, attempt, tracking))
    return claimed


def set_run(
    tx: Transaction,
    row: SweepRow,
    trial: int = SUMMARY,
    *,
    expected: str,
    run: TrackingRun,
    cursor: int,
) -> TrackingRun:
    """Write down which run it is, if the record holds the expected one.

    Args:
        tx: A transaction.
        row: The sweep, locked.
        trial: The trial that it is of.
        expected: The run id that the record is believed to hold; empty for none.
        run: What it is to hold. With `complete` it is written, as far as the event says.
        cursor: The event up to which the run shows the sweep.

    Returns:
        What the record holds now: another run where somebody else was first.
    """
    known = tx.connection.execute(select(sweep_runs).where(_is(row.seq, trial))).first()
    if known is None or known.run_id != expected:
        return TrackingRun.FromString(known.tracking if known is not None else b"")
    run.complete = run.complete and cursor >= known.cursor
    changed: dict[str, Any] = {"run_id": run.run_id, "tracking": run.SerializeToString()}
    if run.complete:
        changed |= {"is_waiting": False, "holder": "", "held_until": 0}
    tx.connection.execute(update(sweep_runs).where(_is(row.seq, trial)).values(**changed))
    if trial != SUMMARY:
        _give_to_jobs(tx, row.seq, trial, run, replaced=expected)
    return run


def _give_to_jobs(
    tx: Transaction, sweep: int, trial: int, run: TrackingRun, *, replaced: str
) -> None:
    """Have a setting's run be that of its jobs; those taken over may have another, and keep it."""
    own = select(trial_jobs.c.job).where(trial_jobs.c.sweep == sweep, trial_jobs.c.trial == trial)
    lacking = {replaced} - {""} | ({""} if run.complete else set())
    tx.connection.execute(
        update(jobs)
        .where(jobs.c.id.in_(own), jobs.c.tracking_run_id.in_(lacking))
        .values(tracking_run_id=run.run_id, tracking=run.SerializeToString())
    )


def of_sweeps(connection: Connection, seqs: Sequence[int]) -> dict[int, TrackingRun]:
    """Return the summary runs of sweeps by their `seq`; those without one are missing."""
    statement = select(sweep_runs.c.sweep, sweep_runs.c.tracking, sweep_runs.c.is_waiting).where(
        sweep_runs.c.sweep.in_(list(seqs)),
        sweep_runs.c.trial == SUMMARY,
        sweep_runs.c.run_id != "",
    )
    found = {}
    for row in connection.execute(statement):
        found[row.sweep] = TrackingRun.FromString(row.tracking)
        # It is that of an earlier end.
        found[row.sweep].complete = not row.is_waiting
    return found


def _is(sweep: int, trial: int) -> ColumnElement[bool]:
    return and_(sweep_runs.c.sweep == sweep, sweep_runs.c.trial == trial)


def _due(holder: str, now: int | current_time, with_trials: bool) -> Select[Any]:
    # What goes on again is queued again at its end.
    has_ended = and_(sweep_runs.c.trial == SUMMARY, ~goes_on)
    if with_trials:
        of_trial = exists().where(
            trials.c.sweep == sweep_runs.c.sweep, trials.c.number == sweep_runs.c.trial, ~is_open
        )
        has_ended = or_(has_ended, of_trial)
    return (
        select(sweep_runs, sweeps.c.id)
        .join(sweeps, sweeps.c.seq == sweep_runs.c.sweep)
        .where(
            sweep_runs.c.is_waiting,
            has_ended,
            or_(sweep_runs.c.holder == holder, sweep_runs.c.held_until <= now),
        )
    )
