"""The jobs of a sweep that are next."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from talweg.server.errors import InvalidSpec, ServerError
from talweg.server.services.quotas import room_for_jobs
from talweg.server.services.search.asking import AskingService, history_of, needs_history
from talweg.server.services.sessions.seeds import first_final_seed
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Answer, SubmissionService
from talweg.server.services.submission.violations import refused
from talweg.server.services.sweeps.messages import trial_message
from talweg.server.services.sweeps.reusing import (
    NO_CELL,
    Cell,
    Source,
    cell_of,
    finished,
    sources,
)
from talweg.server.services.sweeps.settling import num_seeds
from talweg.server.store import jobs
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow, SweepRow, TrialRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.server.store.sweeps.trials import TrialJob
from talweg.spec import SpecError, length_of
from talweg.spec.sweeps import PER_SETTING, TAG_RUNS, TAG_SWEEP, TAG_TRIAL, Plan, Setting
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, SweepSpec

# Without `parallel`: enough that workers, which claim several short jobs at once, never wait.
DEFAULT_PARALLEL = 256
_PARALLEL_LEARNING = 8
# So many jobs are submitted at once, so that others' calls come between.
_AT_ONCE = 100
_MOST_TAKEN_OVER = 2_000


@dataclass(frozen=True)
class Next:
    """A job to submit."""

    trial: TrialRow
    """Its trial, as it is now; of a new one, as it begins."""
    seed: int
    """By how much its seeds are raised above the base's."""
    setting: Setting
    """Its values."""
    spec: JobSpec = field(default_factory=JobSpec)
    """The job."""
    cell: Cell = NO_CELL
    """What the job is known by."""
    known: JobRow | None = None
    """A job that is taken over instead."""
    source: Source | None = None
    """A shorter job that it goes on from, or might have."""
    refusal: InvalidSpec | None = None
    """Why there is no such job."""

    @property
    def is_submitted(self) -> bool:
        """Whether it takes a place among the jobs that wait or run."""
        return self.known is None and self.refusal is None

    @property
    def is_continued(self) -> bool:
        """Whether it goes on from a shorter job's checkpoint."""
        return self.source is not None and not self.source.why


class Submitter:
    """Submits the jobs of sweeps."""

    def __init__(
        self, database: Database, submission: SubmissionService, asking: AskingService
    ) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            submission: Takes the jobs.
            asking: Finds the settings of new trials.
        """
        self._database = database
        self._submission = submission
        self._asking = asking

    async def submit_next(self, row: SweepRow, plan: Plan) -> int:
        """Submit jobs that are next, as far as there is room for them.

        Args:
            row: The sweep, RUNNING.
            plan: Its trials.

        Returns:
            How many jobs were submitted; 0 where there is none, or another server was quicker.
        """
        room = min(await self._database.reading(_room, row, plan), _AT_ONCE)
        if room <= 0:
            return 0
        settings = None if plan.is_known else await self._settings(row, plan, room)
        due = await self._database.reading(_due, row, plan, room, settings)
        if not due:
            return 0
        new = [each for each in due if each.is_submitted]
        submitted = 0

        def within(tx: Transaction, write: Callable[[], Sequence[Answer | ServerError]]) -> None:
            nonlocal submitted
            now = sweeps.lock(tx, row.id)
            is_open = now.state == Sweep.RUNNING and not now.closing
            if is_open and _is_current(tx, now, plan, due):
                written = iter(write() if new else ())
                answers = [each.known or each.refusal or next(written) for each in due]
                submitted = _record(tx, now, plan, due, answers)

        await self._submission.submit_within([_submission(each, row) for each in new], within)
        return submitted

    async def _settings(self, row: SweepRow, plan: Plan, room: int) -> Mapping[int, Setting]:
        """Return the settings of the trials that are next, by number."""
        most = -(-room // plan.spec.seeds.count)
        last = min(row.num_begun + most, row.num_trials)
        numbers = range(row.num_begun + 1, last + 1)
        if not numbers:
            return {}
        tried = await self._database.reading(trials.all_of, row.seq) if needs_history(plan) else ()
        goal: Goal.ValueType = row.goal  # type: ignore[assignment]
        found = await self._asking.settings(plan, numbers, history_of(tried), goal=goal)
        return dict(zip(numbers, found, strict=True))


def _submission(due: Next, row: SweepRow) -> Submission:
    spec = due.spec
    spec.tags[TAG_SWEEP] = row.id
    spec.tags[TAG_TRIAL] = str(due.trial.number)
    if row.sweep_spec.runs == SweepSpec.per_setting:
        spec.tags[TAG_RUNS] = PER_SETTING
    source = due.source
    if source is None:
        return Submission(spec, of_sweep=True)
    if source.checkpoint is None:
        unit, length = length_of(source.job.job_spec)
        why = f"submitted; does not go on from {source.job.name} of {length} {unit}: {source.why}"
        return Submission(spec, why=why, of_sweep=True)
    spec.continued_from.job = source.job.name
    spec.continued_from.step = source.checkpoint.step
    spec.continued_from.as_whole = True
    return Submission(spec, of_sweep=True)


def _room(connection: Connection, row: SweepRow, plan: Plan) -> int:
    """Return how many more jobs may wait or run."""
    parallel = plan.spec.parallel or _default_parallel(plan)
    room = parallel - len(trials.open_jobs(connection, row.seq))
    # A sweep waits where its project may have no more.
    of_project = room_for_jobs(connection)
    return room if of_project is None else min(room, of_project)


def _default_parallel(plan: Plan) -> int:
    if needs_history(plan):
        # With many at once it would choose before it has learnt anything.
        return max(_PARALLEL_LEARNING, 2 * plan.spec.seeds.count)
    return DEFAULT_PARALLEL


def _due(
    connection: Connection,
    row: SweepRow,
    plan: Plan,
    room: int,
    settings: Mapping[int, Setting] | None,
) -> list[Next]:
    """Return what comes next: jobs to submit as far as there is room, and jobs to take over."""
    due: list[Next] = []
    coming = _in_turn(connection, row, plan, settings)
    # As many as there is room for, and on while all of them are known: they take no room.
    while len(due) < _MOST_TAKEN_OVER:
        some = [_completed(each, plan) for each in islice(coming, room)]
        known = finished(connection, [each.cell.digest for each in some])
        some = [replace(each, known=known.get(each.cell.digest)) for each in some]
        due += _with_sources(connection, some)
        if len(some) < room or not all(each.known for each in some):
            break
    return due


def _with_sources(connection: Connection, due: Sequence[Next]) -> list[Next]:
    found = sources(connection, [each.cell for each in due if each.is_submitted])
    return [
        replace(each, source=found.get(each.cell)) if each.is_submitted else each for each in due
    ]


def _completed(due: Next, plan: Plan) -> Next:
    try:
        spec = plan.job(due.setting, due.seed)
    except SpecError as exc:
        # Of values that were not together in a setting which was checked before the sweep began.
        return replace(due, refusal=refused(exc.violations))
    is_cached = plan.spec.cache != SweepSpec.off
    return replace(due, spec=spec, cell=cell_of(spec) if is_cached else NO_CELL)


def _in_turn(
    connection: Connection,
    row: SweepRow,
    plan: Plan,
    settings: Mapping[int, Setting] | None,
) -> Iterator[Next]:
    """Yield all jobs that are to come in turn, of new trials as far as settings are known."""
    # Trials that have begun come first, so that they end and are told of.
    still_open = trials.open_trials(connection, row.seq)
    # Neither what was stopped early nor what was refused.
    going_on = [each for each in still_open if not each.message]
    own = trials.jobs_of(connection, row.seq, [trial.number for trial in going_on])
    of_final = first_final_seed(connection, row, plan) if row.is_final else 0
    for trial in going_on:
        first = of_final if trial.is_final else 0
        submitted = {job.seed for job in own.get(trial.number, ())}
        for seed in range(first, first + num_seeds(trial, plan)):
            if seed not in submitted:
                yield Next(trial, seed, trial.pairs)
    for number in range(row.num_begun + 1, row.num_trials + 1):
        if settings is not None and number not in settings:
            return
        setting = plan.trial(number).setting if settings is None else settings[number]
        search, _ = plan.place(number)
        trial = TrialRow(row.seq, number, search, json.dumps(setting, ensure_ascii=False))
        for seed in range(plan.spec.seeds.count):
            yield Next(trial, seed, setting)


def _is_current(tx: Transaction, row: SweepRow, plan: Plan, due: Sequence[Next]) -> bool:
    """Return whether these jobs are still due: another server may have been quicker."""
    if sum(each.is_submitted for each in due) > _room(tx.connection, row, plan):
        return False
    taken = [each.known.id for each in due if each.known is not None]
    if len(trials.states_of(tx.connection, taken)) < len(set(taken)):
        return False  # One was deleted.
    begun_by = [each.source for each in due if each.source is not None and each.is_continued]
    rows = jobs.get_many(tx.connection, {each.job.id for each in begun_by})
    if any(each.job.id not in rows or _lost(each, rows[each.job.id]) for each in begun_by):
        return False  # One was deleted, or its checkpoint.
    known = {trial.number: trial for trial in trials.open_trials(tx.connection, row.seq)}
    begun = {each.trial.number for each in due if not _is_new(each.trial, row)}
    own = trials.jobs_of(tx.connection, row.seq, sorted(begun))
    submitted = {(job.trial, job.seed) for of_trial in own.values() for job in of_trial}
    return all(
        _is_new(each.trial, row)
        or (
            each.trial == known.get(each.trial.number)
            and (each.trial.number, each.seed) not in submitted
        )
        for each in due
    )


def _lost(source: Source, now: JobRow) -> bool:
    return source.checkpoint not in now.kept


def _is_new(trial: TrialRow, row: SweepRow) -> bool:
    return trial.number > row.num_begun and not trial.is_final


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
    new: list[TrialJob] = []
    told: list[SweepEvent] = []
    for number, pairs in by_trial.items():
        trial = pairs[0][0].trial
        taken = [
            TrialJob(
                trial=number,
                seed=each.seed,
                job=answer.id,
                digest=each.cell.digest,
                reused=each.known is not None,
                lineage=each.cell.lineage,
                continued=each.is_continued,
            )
            for each, answer in pairs
            if isinstance(answer, JobRow)
        ]
        refusal = next((each for _, each in pairs if isinstance(each, ServerError)), None)
        values: dict[str, Any] = {"num_seeds": trial.num_seeds + len(taken)}
        if refusal is not None:
            # It ends once its other jobs have: see `settle`.
            values["message"] = _why(refusal)
        is_new = _is_new(trial, row)
        trial = replace(trial, **values)
        new += taken
        if is_new:
            begun.append(trial)
        else:
            trials.change(tx, trial, **values)
        if is_new:
            told.append(SweepEvent(begun=trial_message(trial, plan, taken)))
    trials.insert_trials(tx, begun)
    trials.add_jobs(tx, row.seq, new)
    row = sweeps.append(tx, row, told)
    if begun:
        sweeps.change(tx, row, num_begun=max(trial.number for trial in begun))
    return len(due)


def _why(error: ServerError) -> str:
    text = str(error) if isinstance(error, InvalidSpec) else f"not submitted: {error}"
    return text[:2000]
