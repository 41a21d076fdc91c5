"""What has ended in a sweep: trials whose jobs are over, and the sweep itself."""

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection

from talweg.server.services.sessions.seeds import reserve_seeds
from talweg.server.services.sweeps.messages import is_decided, trial_message
from talweg.server.services.sweeps.values import objective_values
from talweg.server.store import jobs as jobs_store
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow, SweepRow, TrialRow
from talweg.server.store.sweeps import runs, sweeps, trials
from talweg.server.store.sweeps.trials import TrialJob
from talweg.spec.states import has_ended
from talweg.spec.sweeps import Plan
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, SweepSpec, Trial

TIME_OVER = "its time"
"""How the message of a sweep begins that its deadline has ended."""
# How a trial has ended, by the first of these states that a job of it is in.
_BY_JOB = {
    Job.FAILED: Trial.FAILED,
    Job.DIVERGED: Trial.DIVERGED,
    Job.CANCELLED: Trial.CANCELLED,
}


def settle(tx: Transaction, row: SweepRow, plan: Plan) -> SweepRow:
    """Write down what has ended since it was last looked.

    Args:
        tx: A transaction.
        row: The sweep, locked; it has not ended.
        plan: Its trials.

    Returns:
        The sweep as it is now.
    """
    still_open = trials.open_trials(tx.connection, row.seq)
    jobs = trials.jobs_of(tx.connection, row.seq, [each.number for each in still_open])
    ids = [job.job for of_trial in jobs.values() for job in of_trial]
    states = trials.states_of(tx.connection, ids)
    over = [
        trial
        for trial in still_open
        if _is_over(row, trial, jobs.get(trial.number, []), states, plan)
    ]
    if over:
        row = _end_trials(tx, row, plan, over, jobs)
    is_searched = len(over) == len(still_open) and row.num_begun >= row.num_trials
    is_done = is_searched and (row.is_final or not plan.spec.HasField("compare"))
    if not row.closing:
        row = _close(tx, row, plan, is_done=is_done)
    if len(over) < len(still_open):
        return row
    if row.closing:
        return sweeps.move(tx, row, row.closing, row.message)  # type: ignore[arg-type]
    if row.state != Sweep.RUNNING or not is_searched:
        return row
    if not is_done:
        return _begin_final(tx, row, plan)
    return sweeps.move(tx, row, Sweep.SUCCEEDED, "all trials have ended")


def num_seeds(trial: TrialRow, plan: Plan) -> int:
    """Return how many seeds a trial is to have."""
    if not trial.is_final:
        return plan.spec.seeds.count
    return trial.num_wanted if plan.decides else plan.final_seeds


def _is_over(
    row: SweepRow,
    trial: TrialRow,
    jobs: Sequence[TrialJob],
    states: Mapping[str, int],
    plan: Plan,
) -> bool:
    # A job that was deleted had ended.
    if not all(has_ended(states.get(job.job, Job.CANCELLED)) for job in jobs):
        return False
    # One that was refused or stopped early gets no further jobs.
    if row.closing or trial.message:
        return True
    if trial.is_final and plan.decides and not is_decided(trial):
        # It gets more seeds, or a look at it is due.
        return False
    return len(jobs) >= num_seeds(trial, plan)


def _end_trials(
    tx: Transaction,
    row: SweepRow,
    plan: Plan,
    over: Sequence[TrialRow],
    jobs: Mapping[int, Sequence[TrialJob]],
) -> SweepRow:
    ids = [job.job for trial in over for job in jobs.get(trial.number, ())]
    rows = jobs_store.get_many(tx.connection, ids)
    values = objective_values(tx.connection, list(rows.values()), plan)
    ended = []
    for trial in over:
        own = [rows[job.job] for job in jobs.get(trial.number, ()) if job.job in rows]
        state = _state(trial, own, num_seeds(trial, plan))
        if trial.pruned_at and state in (Trial.CANCELLED, Trial.SUCCEEDED):
            ended.append(_pruned(tx, trial, plan, jobs.get(trial.number, ())))
            continue
        reached = [
            values[job.seq] for job in own if job.state == Job.SUCCEEDED and job.seq in values
        ]
        changed = trials.change(
            tx,
            trial,
            state=int(state),
            value=_of_numbers(statistics.fmean, reached) if reached else None,
            sd=_of_numbers(statistics.stdev, reached) if len(reached) > 1 else None,
            count=len(reached),
        )
        message = trial_message(changed, plan, jobs.get(trial.number, ()))
        ended.append(SweepEvent(ended=message))
    row = sweeps.append(tx, row, ended)
    if plan.spec.runs == SweepSpec.per_setting:
        for trial in over:
            if jobs.get(trial.number):
                runs.queue(tx, row, trial.number)
    return row


def _pruned(tx: Transaction, trial: TrialRow, plan: Plan, jobs: Sequence[TrialJob]) -> SweepEvent:
    """End a trial that was stopped early, with what it had reached then."""
    changed = trials.change(tx, trial, state=int(Trial.PRUNED), count=1)
    return SweepEvent(ended=trial_message(changed, plan, jobs))


def _of_numbers(
    function: Callable[[Sequence[float]], float], numbers: list[float]
) -> float | None:
    """Return a statistic; None where the numbers are too large for it."""
    try:
        value = function(numbers)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _state(trial: TrialRow, jobs: Sequence[JobRow], wanted: int) -> Trial.State.ValueType:
    if trial.message and not trial.pruned_at:
        return Trial.FAILED
    states = Counter(job.state for job in jobs)
    for of_job, of_trial in _BY_JOB.items():
        if states[of_job]:
            return of_trial
    return Trial.SUCCEEDED if len(jobs) >= wanted else Trial.CANCELLED


def _close(tx: Transaction, row: SweepRow, plan: Plan, *, is_done: bool) -> SweepRow:
    """Have a sweep end whose time is over, or in which too much has failed."""
    if row.deadline is not None and tx.now >= row.deadline and not is_done:
        counts = trials.counts(tx.connection, row.seq, len(plan.searches))
        ended = sum(each.ended for each in counts)
        why = f"{TIME_OVER}, {plan.spec.max_time}, was over: {ended} of {row.num_trials} trials "
        why += "had ended, and not all final jobs" if row.is_final else "had ended"
        return sweeps.change(tx, row, closing=int(Sweep.SUCCEEDED), message=why)
    why = too_many_failures(tx.connection, row, plan)
    return sweeps.change(tx, row, closing=int(Sweep.FAILED), message=why) if why else row


def too_many_failures(connection: Connection, row: SweepRow, plan: Plan) -> str:
    """Return in words that more has failed than may; empty where that is not so."""
    if not plan.spec.HasField("failure_budget"):
        return ""
    failed = trials.job_states(connection, row.seq).get(Job.FAILED, 0)
    failed += trials.num_refused(connection, row.seq)
    if failed <= plan.spec.failure_budget:
        return ""
    return f"{failed} jobs have failed, more than failure_budget, {plan.spec.failure_budget}"


def _begin_final(tx: Transaction, row: SweepRow, plan: Plan) -> SweepRow:
    """Begin the trials whose results are compared: the best setting of each search, again."""
    chosen = [
        trials.best(tx.connection, row.seq, search, row.goal)
        for search in range(len(plan.searches))
    ]
    number = row.num_trials
    final = []
    for trial in chosen:
        if trial is not None:
            number += 1
            final.append(TrialRow(row.seq, number, trial.search, trial.setting, is_final=True))
    if len(final) < 2:
        why = "fewer than 2 of the compared values have a result, so nothing is compared"
        return sweeps.move(tx, row, Sweep.SUCCEEDED, why)
    reserve_seeds(tx, row, plan)
    trials.insert_trials(tx, final)
    row = sweeps.append(
        tx, row, [SweepEvent(begun=trial_message(trial, plan, [])) for trial in final]
    )
    return sweeps.change(tx, row, is_final=True)
