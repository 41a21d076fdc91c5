"""Pausing, resuming, cancelling and extending sweeps."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from talweg.server.errors import InvalidRequest, SweepEnded
from talweg.server.services.arguments import MAX_REASON_CHARS, sweep_of, text
from talweg.server.services.cancellation import cancel_for_sweep
from talweg.server.services.pausing import pause_job, resume_job
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.submission.violations import refused
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.server.store.sweeps.trials import TrialJob
from talweg.spec import job_name
from talweg.spec.sweeps import Plan, check_sweep
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Sweep, Trial, UpdateSweepRequest

_RETRIED = {Trial.FAILED: Job.FAILED, Trial.DIVERGED: Job.DIVERGED, Trial.CANCELLED: Job.CANCELLED}
_MAX_RETRIED = 1000


class SweepControlService:
    """Changes sweeps on request."""

    def __init__(
        self, database: Database, submission: SubmissionService, wake: Callable[[], None]
    ) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            submission: Submits jobs again.
            wake: Has the runner look.
        """
        self._database = database
        self._submission = submission
        self._wake = wake

    async def pause(self, name: str, *, reason: str) -> SweepRow:
        """Pause a sweep and its jobs. Pausing a PAUSED sweep changes nothing.

        Args:
            name: `sweeps/{id}`.
            reason: For the record.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It is over.
            InvalidRequest: An argument is out of bounds.
        """
        text(reason, field="reason", most=MAX_REASON_CHARS)
        return await self._database.writing(_pause, sweep_of(name), reason)

    async def resume(self, name: str) -> SweepRow:
        """Resume a paused sweep and its jobs; one that is RUNNING goes on as it does.

        Args:
            name: `sweeps/{id}`.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It is over.
            InvalidRequest: That is not a sweep's name.
        """
        row = await self._database.writing(_resume, sweep_of(name))
        self._wake()
        return row

    async def cancel(self, name: str, *, reason: str) -> SweepRow:
        """Cancel a sweep and its jobs; it is CANCELLED once they have ended.

        Args:
            name: `sweeps/{id}`.
            reason: For the record.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It has ended otherwise.
            InvalidRequest: An argument is out of bounds.
        """
        text(reason, field="reason", most=MAX_REASON_CHARS)
        row = await self._database.writing(_cancel, sweep_of(name), reason)
        self._wake()
        return row

    async def update(self, request: UpdateSweepRequest) -> SweepRow:
        """Give a sweep more trials, more seeds, or another number of jobs at once.

        Args:
            request: What changes.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It was cancelled, or its final jobs have been submitted.
            InvalidRequest: A number is out of bounds, or falls.
        """
        row = await self._database.writing(_update, sweep_of(request.name), request)
        self._wake()
        return row

    async def retry(
        self, name: str, states: Sequence[int], *, caller: str
    ) -> tuple[SweepRow, int]:
        """Submit the jobs of trials again that have not succeeded.

        Args:
            name: `sweeps/{id}`.
            states: Of the trials.
            caller: Who asks.

        Returns:
            The sweep, and how many jobs were submitted.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It was cancelled.
            InvalidRequest: The states are none, or others.
        """
        id_ = sweep_of(name)
        if not states or any(state not in _RETRIED for state in states):
            raise InvalidRequest.of(
                "states", "must be FAILED, DIVERGED or CANCELLED, at least one"
            )
        row = await self._database.reading(sweeps.get, id_)
        _check_not_cancelled(row)
        jobs = await self._database.reading(_to_retry, row, states)
        submitted = 0
        for job in jobs:
            # Its own id is in the request's: the same call again submits nothing twice.
            again = await self._submission.retry(
                job_name(job.job), f"retry-{job.job}", caller=caller
            )
            new = TrialJob(job.trial, job.seed, again.id)
            await self._database.writing(_take_again, id_, new)
            submitted += 1
        row = await self._database.writing(_go_on, id_) if submitted else row
        self._wake()
        return row, submitted


def _pause(tx: Transaction, id_: str, reason: str) -> SweepRow:
    row = _going_on(tx, id_, "paused")
    if row.state == Sweep.PAUSED:
        return row
    for job in trials.open_jobs(tx.connection, row.seq):
        pause_job(tx, job, reason)
    return sweeps.move(tx, row, Sweep.PAUSED, f"paused: {reason}" if reason else "paused")


def _resume(tx: Transaction, id_: str) -> SweepRow:
    row = _going_on(tx, id_, "resumed")
    if row.state == Sweep.RUNNING:
        return row
    for job in trials.open_jobs(tx.connection, row.seq):
        resume_job(tx, job)
    return sweeps.move(tx, row, Sweep.RUNNING, "resumed")


def _cancel(tx: Transaction, id_: str, reason: str) -> SweepRow:
    row = sweeps.lock(tx, id_)
    if row.state == Sweep.CANCELLED:
        return row
    row = _going_on(tx, id_, "cancelled")
    why = f"cancelled: {reason}" if reason else "cancelled"
    row = sweeps.change(tx, row, closing=int(Sweep.CANCELLED), message=why)
    left = trials.open_jobs(tx.connection, row.seq)
    for job in left:
        cancel_for_sweep(tx, job, reason or "its sweep was cancelled")
    return row


def _going_on(tx: Transaction, id_: str, what: str) -> SweepRow:
    row = sweeps.lock(tx, id_)
    if row.ended:
        state = Sweep.State.Name(row.state)  # type: ignore[arg-type]
        raise SweepEnded(
            f"{row.name} has ended as {state}: it cannot be {what}",
            metadata={"sweep": row.name, "state": state},
        )
    return row


def _check_not_cancelled(row: SweepRow) -> None:
    if row.state == Sweep.CANCELLED or row.closing:
        raise SweepEnded(
            f"{row.name} was cancelled, or is about to end: it cannot go on",
            metadata={"sweep": row.name},
        )


def _update(tx: Transaction, id_: str, request: UpdateSweepRequest) -> SweepRow:
    row = sweeps.lock(tx, id_)
    _check_not_cancelled(row)
    spec = row.sweep_spec
    plan = Plan(spec)
    grows = request.HasField("trials") or request.HasField("seeds")
    if grows and row.is_final:
        raise SweepEnded(
            f"the final jobs of {row.name} have been submitted, with the settings that its trials "
            "chose: create another sweep",
            metadata={"sweep": row.name},
        )
    if request.HasField("trials"):
        if plan.is_grid:
            raise InvalidRequest.of("trials", "must be absent: a grid has all its trials already")
        _check_grows("trials", request.trials, max(each.num_trials for each in plan.searches))
        spec.trials = request.trials
    if request.HasField("seeds"):
        _check_grows("seeds", request.seeds, spec.seeds.count)
        spec.seeds.count = request.seeds
    if request.HasField("parallel"):
        if not 1 <= request.parallel <= 10_000:
            raise InvalidRequest.of(
                "parallel", f"must be >= 1 and <= 10,000, but got {request.parallel}"
            )
        spec.parallel = request.parallel
    if violations := check_sweep(spec):
        raise refused(violations)
    # Of the message alone: trials that have begun keep their numbers and settings.
    plan = Plan(spec)
    row = sweeps.change(
        tx,
        row,
        spec=spec.SerializeToString(deterministic=True),
        num_trials=plan.num_trials,
        num_jobs=plan.num_jobs,
    )
    trials.reopen(tx, row.seq, spec.seeds.count, int(Trial.RUNNING))
    return sweeps.move(tx, row, Sweep.RUNNING, "extended") if row.ended and grows else row


def _check_grows(field: str, new: int, old: int) -> None:
    most = 1_000_000 if field == "trials" else 1000
    if not old <= new <= most:
        raise InvalidRequest.of(
            field, f"must be >= {old}, as it is now, and <= {most:,}, but got {new}"
        )


def _to_retry(connection: Connection, row: SweepRow, states: Sequence[int]) -> list[TrialJob]:
    found = trials.in_states(connection, row.seq, states)
    jobs = trials.jobs_of(connection, row.seq, [trial.number for trial in found])
    of_trials = [job for of_trial in jobs.values() for job in of_trial]
    wanted = set(_RETRIED.values())
    known = trials.states_of(connection, [job.job for job in of_trials])
    return [job for job in of_trials if known.get(job.job) in wanted][:_MAX_RETRIED]


def _take_again(tx: Transaction, id_: str, job: TrialJob) -> None:
    row = sweeps.lock(tx, id_)
    trials.add_jobs(tx, row.seq, [job])
    trials.reopen_one(tx, row.seq, job.trial, int(Trial.RUNNING))


def _go_on(tx: Transaction, id_: str) -> SweepRow:
    row = sweeps.lock(tx, id_)
    return sweeps.move(tx, row, Sweep.RUNNING, "trials were submitted again") if row.ended else row
