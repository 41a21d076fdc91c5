"""Trials that are stopped early, by asynchronous successive halving.

Li et al. 2020, https://arxiv.org/abs/1810.05934, in the form in which a trial is stopped where it
stands, and never resumed. What a trial had reached stands in the record, so that another server
decides alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server.services.cancellation import cancel_for_sweep
from talweg.server.services.comparison.wording import number
from talweg.server.store import events
from talweg.server.store import jobs as jobs_store
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow, SweepRow, TrialRow
from talweg.server.store.sweeps import rungs, trials
from talweg.spec.sweeps import Plan
from talweg.v1.jobs_pb2 import Job
from talweg.v1.options_pb2 import Goal
from talweg.v1.sweeps_pb2 import Asha, Objective

_PAGE = 1000
# Beyond it no training has evaluations.
_MOST_RUNGS = 64


@dataclass(frozen=True)
class Reached:
    """A trial that has come to a rung."""

    trial: TrialRow
    """The trial, whose jobs have not all ended."""
    rung: int
    """From 0."""
    value: float
    """What its first seed had reached there."""


def reached(connection: Connection, row: SweepRow, plan: Plan) -> list[Reached]:
    """Return the trials that have come to a rung since it was last looked, in turn.

    Args:
        connection: To read by.
        row: The sweep.
        plan: Its trials.
    """
    searching = [each for each in trials.open_trials(connection, row.seq) if not each.is_final]
    undecided = [each for each in searching if not each.pruned_at]
    numbers = [each.number for each in undecided]
    passed = rungs.passed(connection, row.seq, numbers)
    jobs = trials.jobs_of(connection, row.seq, numbers)
    first = {number: of_trial[0].job for number, of_trial in jobs.items() if of_trial}
    rows = jobs_store.get_many(connection, list(first.values()))
    found = []
    for trial in undecided:
        job = rows.get(first.get(trial.number, ""))
        # One that is done has nothing left to save, and one that waits has nothing yet.
        if job is None or job.state != Job.RUNNING:
            continue
        found += _rungs(connection, row, plan, trial, job, passed[trial.number])
    return found


def note_ended(tx: Transaction, row: SweepRow, plan: Plan) -> None:
    """Write down what trials had reached whose jobs have ended: others are judged by it.

    A job may end between two looks, while no server runs, or have been taken over.

    Args:
        tx: A transaction.
        row: The sweep, locked, before the ends of its trials are written down.
        plan: Its trials.
    """
    searching = [each for each in trials.open_trials(tx.connection, row.seq) if not each.is_final]
    undecided = [each for each in searching if not each.pruned_at]
    jobs = trials.jobs_of(tx.connection, row.seq, [each.number for each in undecided])
    rows = jobs_store.get_many(
        tx.connection, [each.job for of_trial in jobs.values() for each in of_trial]
    )
    over = {
        number: rows[of_trial[0].job]
        for number, of_trial in jobs.items()
        if all(each.job in rows and rows[each.job].ended for each in of_trial)
    }
    passed = rungs.passed(tx.connection, row.seq, list(over))
    new = []
    for trial in undecided:
        if trial.number in over:
            job = over[trial.number]
            found = _rungs(tx.connection, row, plan, trial, job, passed[trial.number])
            new += [(trial.search, trial.number, each.rung, each.value) for each in found]
    rungs.add_all(tx, row.seq, new)


def _rungs(
    connection: Connection, row: SweepRow, plan: Plan, trial: TrialRow, job: JobRow, first: int
) -> list[Reached]:
    """Return what a trial's first job has reached at rungs, from `first` on."""
    values = _evaluations(connection, job, plan.spec.objective.metric)
    found = []
    for rung in range(first, _MOST_RUNGS):
        length = _length(plan.spec.pruning.asha, rung)
        if length > len(values):
            break
        so_far = values[:length]
        value = _best(so_far, row.goal) if _is_best(plan) else so_far[-1]
        found.append(Reached(trial, rung, value))
    return found


def decide(tx: Transaction, row: SweepRow, plan: Plan, found: Sequence[Reached]) -> None:
    """Write down what trials have reached, and stop those that are behind.

    Args:
        tx: A transaction.
        row: The sweep, locked.
        plan: Its trials.
        found: What `reached` gave.
    """
    asha = plan.spec.pruning.asha
    if row.ended or row.closing:
        return
    # Other servers look too: a trial may have ended since.
    searching = {each.number for each in trials.open_trials(tx.connection, row.seq)}
    stopped: set[int] = set()
    passed = rungs.passed(tx.connection, row.seq, [each.trial.number for each in found])
    for each in found:
        trial = each.trial
        # Another server may have been quicker.
        if trial.number not in searching - stopped or each.rung != passed[trial.number]:
            continue
        passed[trial.number] += 1
        rungs.add(tx, row.seq, trial.search, trial.number, each.rung, each.value)
        values = rungs.values(tx.connection, row.seq, trial.search, each.rung)
        go_on = sorted(values, reverse=row.goal == Goal.MAXIMIZE)
        go_on = go_on[: max(1, len(values) // asha.reduction)]
        if each.value in go_on:
            continue
        stopped.add(trial.number)
        length = _length(asha, each.rung)
        why = (
            f"stopped after {length} evaluations: {plan.spec.objective.metric} "
            f"{number(each.value)} was not among the best {len(go_on)} of {len(values)}"
        )
        trials.change(tx, trial, pruned_at=length, message=why, value=each.value)
        own = trials.jobs_of(tx.connection, row.seq, [trial.number])
        for job in own.get(trial.number, ()):
            cancel_for_sweep(tx, job.job, why)


def _length(asha: Asha, rung: int) -> int:
    return int(asha.min_evaluations * asha.reduction**rung)


def _is_best(plan: Plan) -> bool:
    return plan.spec.objective.at == Objective.best


def _best(values: Sequence[float], goal: int) -> float:
    return max(values) if goal == Goal.MAXIMIZE else min(values)


def _evaluations(connection: Connection, job: JobRow, metric: str) -> list[float]:
    """Return a metric's values in the order of their steps, one a step."""
    values: dict[int, float] = {}
    after = 0
    while True:
        page = events.of_kind(connection, job.seq, kind="metrics", after=after, limit=_PAGE)
        for event in page:
            if metric in event.metrics.values:
                # An attempt that goes on from a checkpoint evaluates some steps again.
                values[event.metrics.step] = event.metrics.values[metric]
        if len(page) < _PAGE:
            return [values[step] for step in sorted(values)]
        after = page[-1].cursor
