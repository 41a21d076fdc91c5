"""The jobs of a sweep that are next."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from talweg.server.errors import InvalidSpec, ServerError
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Answer, SubmissionService
from talweg.server.services.sweeps.messages import trial_message
from talweg.server.services.sweeps.settling import num_seeds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow, SweepRow, TrialRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.server.store.sweeps.trials import TrialJob
from talweg.spec import SpecError
from talweg.spec.sweeps import TAG_SWEEP, TAG_TRIAL, Plan, Setting
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, Trial

log = logging.getLogger(__name__)

# Without `parallel`: enough that workers, which claim several short jobs at once, never wait.
DEFAULT_PARALLEL = 256
# So many jobs are submitted at once, so that others' calls come between.
_AT_ONCE = 100


@dataclass(frozen=True)
class Next:
    """A job to submit."""

    trial: TrialRow
    """Its trial, as it is now; of a new one, as it begins."""
    seed: int
    """By how much its seeds are raised above the base's."""
    setting: Setting
    """Its values."""


async def submit_next(
    database: Database, submission: SubmissionService, row: SweepRow, plan: Plan
) -> int:
    """Submit jobs that are next, as far as there is room for them.

    Args:
        database: The record.
        submission: Takes the jobs.
        row: The sweep, RUNNING.
        plan: Its trials.

    Returns:
        How many jobs were submitted; 0 where there is none, or another server was quicker.
    """
    due = await database.reading(lambda db: _due(row, plan, *_room(db, row, plan)))
    if not due:
        return 0
    specs = [_submission(each, row, plan) for each in due]
    submitted = 0

    def within(tx: Transaction, write: Callable[[], Sequence[Answer | ServerError]]) -> None:
        nonlocal submitted
        now = sweeps.lock(tx, row.id)
        if now.state == Sweep.RUNNING and not now.closing and _is_current(tx, now, due):
            submitted = _record(tx, now, plan, due, write())

    await submission.submit_within(specs, within)
    return submitted


def _submission(due: Next, row: SweepRow, plan: Plan) -> Submission:
    try:
        spec = plan.job(due.setting, due.seed)
    except SpecError as exc:
        # Of a value that was not among those that are read when a sweep is created. What can be
        # read of it is refused in its turn, with its trial.
        log.warning("a setting of sweep %s cannot be read: %s", row.id, exc)
        spec = JobSpec()
    spec.tags[TAG_SWEEP] = row.id
    spec.tags[TAG_TRIAL] = str(due.trial.number)
    return Submission(spec)


def _room(connection: Connection, row: SweepRow, plan: Plan) -> tuple[int, list[TrialRow]]:
    parallel = plan.spec.parallel or DEFAULT_PARALLEL
    waiting = len(trials.open_jobs(connection, row.seq))
    still_open = trials.open_trials(connection, row.seq)
    return min(parallel - waiting, _AT_ONCE), still_open


def _due(row: SweepRow, plan: Plan, room: int, still_open: Sequence[TrialRow]) -> list[Next]:
    due: list[Next] = []
    # Trials that have begun come first, so that they end and are told of.
    for trial in still_open:
        if trial.pruned_at:
            continue
        first = plan.spec.seeds.count if trial.is_final else 0
        for seed in range(trial.num_seeds, num_seeds(trial, plan)):
            if len(due) >= room:
                return due
            due.append(Next(trial, first + seed, trial.pairs))
    for number in range(row.num_begun + 1, row.num_trials + 1):
        if len(due) >= room:
            break
        planned = plan.trial(number)
        setting = json.dumps(planned.setting, ensure_ascii=False)
        trial = TrialRow(row.seq, number, planned.search, setting)
        for seed in range(plan.spec.seeds.count):
            if len(due) < room:
                due.append(Next(trial, seed, planned.setting))
    return due


def _is_current(tx: Transaction, row: SweepRow, due: Sequence[Next]) -> bool:
    """Return whether nobody has submitted any of these jobs since they were found due."""
    known = {trial.number: trial for trial in trials.open_trials(tx.connection, row.seq)}
    return all(
        each.trial == known.get(each.trial.number)
        if each.trial.number <= row.num_begun or each.trial.is_final
        else each.trial.number not in known
        for each in due
    )


def _record(
    tx: Transaction,
    row: SweepRow,
    plan: Plan,
    due: Sequence[Next],
    answers: Sequence[Answer | ServerError],
) -> int:
    by_trial: dict[int, list[tuple[Next, Answer | ServerError]]] = {}
    for each, answer in zip(due, answers, strict=True):
        by_trial.setdefault(each.trial.number, []).append((each, answer))
    begun: list[TrialRow] = []
    jobs: list[TrialJob] = []
    told: list[SweepEvent] = []
    for number, pairs in by_trial.items():
        trial = pairs[0][0].trial
        taken = [
            TrialJob(number, each.seed, answer.id)
            for each, answer in pairs
            if isinstance(answer, JobRow)
        ]
        refusal = next((each for _, each in pairs if isinstance(each, ServerError)), None)
        values: dict[str, Any] = {"num_seeds": trial.num_seeds + len(pairs)}
        if refusal is not None:
            values |= _refused(refusal)
        is_new = trial.number > row.num_begun and not trial.is_final
        trial = replace(trial, **values)
        jobs += taken
        if is_new:
            begun.append(trial)
        else:
            trials.change(tx, trial, **values)
        message = trial_message(trial, plan, [job.job for job in taken])
        if is_new:
            told.append(SweepEvent(begun=message))
        if refusal is not None:
            told.append(SweepEvent(ended=message))
    trials.insert_trials(tx, begun)
    trials.add_jobs(tx, row.seq, jobs)
    row = sweeps.append(tx, row, told)
    if begun:
        sweeps.change(tx, row, num_begun=max(trial.number for trial in begun))
    return len(due)


def _refused(error: ServerError) -> dict[str, Any]:
    text = str(error) if isinstance(error, InvalidSpec) else f"not submitted: {error}"
    return {"state": int(Trial.FAILED), "message": text[:2000]}
