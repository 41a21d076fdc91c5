"""Creating sweeps."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from talweg.server.errors import InvalidSpec, RequestIdReused, ServerError, SpecTooLarge
from talweg.server.services.arguments import MAX_REQUEST_ID_CHARS, text
from talweg.server.services.sessions.registering import register_sweep
from talweg.server.services.submission.preparing import Submission, new_id
from talweg.server.services.submission.submit import Preview, SubmissionService
from talweg.server.services.submission.violations import refused
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.sweeps import sweeps
from talweg.spec import MAX_SPEC_BYTES, SpecError, Violation, goal_of
from talweg.spec.errors import limited
from talweg.spec.sweeps import (
    TAG_RUNS,
    TAG_SWEEP,
    TAG_TRIAL,
    Plan,
    Setting,
    check_objective,
    check_sweep,
    fill_objective,
    fill_sweep,
    first_settings,
    is_listed,
    setting_text,
    varied_paths,
    where,
)
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import SweepSpec


@dataclass(frozen=True)
class Checked:
    """A sweep that is in order."""

    plan: Plan
    """Its trials; the spec has all defaults, and the version of the data that it reads."""
    goal: Goal.ValueType
    """Whether the objective is better low or high."""


class CreationService:
    """Completes and checks sweeps, and writes them into the record."""

    def __init__(
        self, database: Database, submission: SubmissionService, wake: Callable[[], None]
    ) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            submission: Checks the jobs.
            wake: Has the runner look.
        """
        self._database = database
        self._submission = submission
        self._wake = wake

    async def create(
        self, spec: SweepSpec, request_id: str, *, validate_only: bool, caller: str
    ) -> SweepRow:
        """Create a sweep.

        Args:
            spec: As the caller sent it.
            request_id: Of the caller's choice; empty where none.
            validate_only: Change nothing.
            caller: Who sends it; callers take turns.

        Returns:
            The sweep; without an id where it was only checked.

        Raises:
            InvalidSpec: The sweep, or a job of it, breaks rules.
            InvalidRequest: The request_id is too long.
            RequestIdReused: The request_id stands for another body.
            SpecTooLarge: The spec is too large to be kept.
        """
        text(request_id, field="request_id", most=MAX_REQUEST_ID_CHARS)
        digest = hashlib.sha256(spec.SerializeToString(deterministic=True)).digest()
        if request_id:
            known = await self._database.reading(sweeps.by_request_id, request_id)
            if known is not None:
                same = _same(known, digest)
                if not validate_only:
                    return same
        checked = await self._check(spec, caller)
        plan = checked.plan
        row = SweepRow(
            seq=0,
            id="" if validate_only else new_id(),
            spec=plan.spec.SerializeToString(deterministic=True),
            goal=int(checked.goal),
            num_trials=plan.num_trials,
            num_jobs=plan.num_jobs,
            create_time=0,
            request_id=request_id or None,
            request_digest=digest if request_id else None,
        )
        if validate_only:
            return row
        row = await self._database.writing(_create, row, plan)
        self._wake()
        return row

    async def _check(self, spec: SweepSpec, caller: str) -> Checked:
        if spec.ByteSize() > MAX_SPEC_BYTES:
            raise SpecTooLarge(
                f"the sweep must be <= {MAX_SPEC_BYTES:,} bytes, but is {spec.ByteSize():,}",
                metadata={"bytes": str(spec.ByteSize()), "most": str(MAX_SPEC_BYTES)},
            )
        filled, settings = await asyncio.to_thread(_read, spec)
        jobs = await self._jobs(filled, settings, caller)
        if repeated := list(_repeated(filled, jobs, settings)):
            raise refused(limited(repeated))
        _pin(filled, jobs[0])
        fill_objective(filled, jobs[0])
        if violations := list(check_objective(filled, jobs)):
            raise refused(violations)
        return Checked(Plan(filled), goal_of(jobs[0], filled.objective.metric))

    async def _jobs(
        self, spec: SweepSpec, settings: Sequence[Setting], caller: str
    ) -> list[JobSpec]:
        """Return a job of each setting, filled.

        Raises:
            InvalidSpec: Some of them break rules.
        """
        bare = SweepSpec()
        bare.CopyFrom(spec)
        # It is checked once the metrics of the jobs are known.
        bare.ClearField("objective")
        plan = Plan(bare)
        submissions = []
        for each in settings:
            job = plan.job(each, 0)
            # As they will have it, since a job has no more than so many tags.
            job.tags[TAG_SWEEP] = job.tags[TAG_TRIAL] = ""
            if spec.runs:
                job.tags[TAG_RUNS] = ""
            submissions.append(Submission(job, validate_only=True, of_sweep=True))
        answers = await self._submission.submit_many(submissions, caller=caller)
        violations: list[Violation] = []
        for answer, setting in zip(answers, settings, strict=True):
            if isinstance(answer, InvalidSpec):
                violations += _placed(answer, setting)
            elif isinstance(answer, ServerError):
                raise answer
        if violations:
            # What is wrong with the base is so in every setting.
            unique = {(each.field, each.found): each for each in reversed(violations)}
            raise refused(limited(list(reversed(unique.values()))))
        return [JobSpec.FromString(each.spec) for each in answers if isinstance(each, Preview)]


def _read(spec: SweepSpec) -> tuple[SweepSpec, list[Setting]]:
    try:
        filled = fill_sweep(spec)
        violations = check_sweep(filled)
    except SpecError as exc:
        violations = list(exc.violations)
    if violations:
        raise refused(violations)
    # The metric is checked once that of the task is known.
    return filled, first_settings(Plan(filled))


def _repeated(
    spec: SweepSpec, jobs: Sequence[JobSpec], settings: Sequence[Setting]
) -> Iterator[Violation]:
    """Refuse settings that are one job once its defaults are filled in, such as mse and mse: {}.

    Only of lists: an end of an interval may well be a default that is listed elsewhere. Two names
    of one version of data may be meant, as the newest one and a certain one.
    """
    roots = {path.partition(".")[0] for path in varied_paths(spec.space)}
    if roots & {"dataset", "weights"} or not all(map(is_listed, spec.space)):
        return
    first: dict[bytes, Setting] = {}
    for job, setting in zip(jobs, settings, strict=True):
        known = first.setdefault(job.SerializeToString(deterministic=True), setting)
        if known is not setting:
            found = f"{setting_text(setting)}, the same job as {setting_text(known)}"
            yield Violation("space", found, "each setting once")


def _pin(spec: SweepSpec, first: JobSpec) -> None:
    """Have all jobs read the version of stored data and weights that the first has read."""
    data = spec.base.dataset
    varied = set(varied_paths(spec.space))
    if spec.base.weights.stored and not varied & {"weights", "weights.stored"}:
        spec.base.weights.CopyFrom(first.weights)
    if not first.dataset.HasField("stored") or varied & {"dataset", "dataset.stored"}:
        return
    if data.HasField("stored") and not varied & {"dataset.stored.name", "dataset.stored.digest"}:
        data.stored.digest = first.dataset.stored.digest
    elif not data.HasField("stored") and not any(each.startswith("dataset.") for each in varied):
        # A file by its URI may change.
        data.CopyFrom(first.dataset)


def _placed(error: InvalidSpec, setting: Setting) -> list[Violation]:
    """Return what is wrong with a job, as a reader of the sweep file finds it."""
    placed = []
    for field in error.fields:
        found = Violation.from_description(field.field, field.description)
        hint = f"{found.hint} (in the setting {setting_text(setting)})".strip()
        placed.append(Violation(where(found.field, setting), found.found, found.allowed, hint))
    return placed


def _same(known: SweepRow, digest: bytes) -> SweepRow:
    if known.request_digest != digest:
        raise RequestIdReused(known.request_id or "", known.name)
    return known


def _create(tx: Transaction, row: SweepRow, plan: Plan) -> SweepRow:
    seconds = plan.max_seconds
    deadline = None if seconds is None else tx.now + seconds * SECOND
    created = sweeps.create(tx, replace(row, create_time=tx.now, deadline=deadline))
    if created is not None:
        register_sweep(tx, created, plan)
        return created
    # Another call has taken the request_id since.
    known = sweeps.by_request_id(tx.connection, row.request_id or "")
    assert known is not None
    return _same(known, row.request_digest or b"")
