"""Pausing, resuming, cancelling and extending sweeps."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from talweg.server.errors import InvalidRequest, SessionState, SweepEnded
from talweg.server.services.arguments import MAX_REASON_CHARS, sweep_of, text
from talweg.server.services.cancellation import cancel_for_sweep
from talweg.server.services.pausing import pause_job, resume_job
from talweg.server.services.submission.violations import refused
from talweg.server.services.sweeps.settling import num_seeds, too_many_failures
from talweg.server.store import sessions
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.sweeps import sweeps, trials
from talweg.spec.sweeps import Plan, check_sweep
from talweg.v1.jobs_pb2 import Job
from talweg.v1.sweeps_pb2 import Sweep, SweepSpec, Trial, UpdateSweepRequest

_RETRIED: Mapping[int, int] = {
    Trial.FAILED: Job.FAILED,
    Trial.DIVERGED: Job.DIVERGED,
    Trial.CANCELLED: Job.CANCELLED,
}


class SweepControlService:
    """Changes sweeps on request."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            wake: Has the runner look.
        """
        self._database = database
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
            SweepEnded: It was cancelled, its time is over, more has failed than may, or its final
                jobs have been submitted.
            SessionState: Its session is closed.
            InvalidRequest: A number is out of bounds, or falls.
            InvalidSpec: It is more than the algorithm takes.
        """
        id_ = sweep_of(request.name)
        row = await self._database.reading(sweeps.get, id_)
        # Takes a while, and so comes before the transaction that others wait for.
        new = _updated(row.sweep_spec, request)
        if violations := await asyncio.to_thread(check_sweep, new):
            raise refused(violations)
        row = await self._database.writing(_update, id_, request)
        self._wake()
        return row

    async def retry(self, name: str, states: Sequence[int]) -> tuple[SweepRow, int]:
        """Have the jobs of trials run again that have not succeeded.

        The runner submits them, as it does all jobs: no more at once than may be.

        Args:
            name: `sweeps/{id}`.
            states: Of the trials, and of their jobs.

        Returns:
            The sweep, and how many jobs are run again.

        Raises:
            SweepNotFound: There is no such sweep.
            SweepEnded: It was cancelled, or its time is over, or more has failed than may.
            SessionState: Its session is closed.
            InvalidRequest: The states are none, or others.
        """
        id_ = sweep_of(name)
        if not states or any(state not in _RETRIED for state in states):
            raise InvalidRequest.of(
                "states", "must be FAILED, DIVERGED or CANCELLED, at least one"
            )
        row, number = await self._database.writing(_retry, id_, states)
        self._wake()
        return row, number


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
    if Sweep.CANCELLED in (row.state, row.closing):
        return row
    _check_not_ended(row, "cancelled")
    why = f"cancelled: {reason}" if reason else "cancelled"
    row = sweeps.change(tx, row, closing=int(Sweep.CANCELLED), message=why)
    for job in trials.open_jobs(tx.connection, row.seq):
        cancel_for_sweep(tx, job, reason or "its sweep was cancelled")
    return row


def _going_on(tx: Transaction, id_: str, what: str) -> SweepRow:
    row = sweeps.lock(tx, id_)
    _check_not_ended(row, what)
    if row.closing:
        raise SweepEnded(
            f"{row.name} is about to end, {row.message}: it cannot be {what}",
            metadata={"sweep": row.name},
        )
    return row


def _check_not_ended(row: SweepRow, what: str) -> None:
    if row.ended:
        state = Sweep.State.Name(row.state)  # type: ignore[arg-type]
        raise SweepEnded(
            f"{row.name} has ended as {state}: it cannot be {what}",
            metadata={"sweep": row.name, "state": state},
        )


def _can_go_on(tx: Transaction, id_: str) -> SweepRow:
    """Return a locked sweep that more trials may be run of.

    Raises:
        SweepEnded: It was cancelled, or is about to end, or its time is over.
        SessionState: Its session is closed.
    """
    row = sweeps.lock(tx, id_)
    if row.sweep_spec.session:
        session = sessions.get(tx.connection, row.sweep_spec.session)
        if session.close_time is None:
            # Not of a closed one: the end of its last test locks sweeps after it.
            session = sessions.lock(tx, row.sweep_spec.session)
        if session.close_time is not None:
            raise SessionState(
                f"{row.name} cannot go on: {session.name} is closed, and its test data have been "
                "looked at",
                metadata={"sweep": row.name, "session": session.name},
            )
    if row.state == Sweep.CANCELLED or row.closing:
        raise SweepEnded(
            f"{row.name} was cancelled, or is about to end: it cannot go on",
            metadata={"sweep": row.name},
        )
    if row.deadline is not None and tx.now >= row.deadline:
        raise SweepEnded(
            f"the time of {row.name}, {row.sweep_spec.max_time}, is over: create another sweep",
            metadata={"sweep": row.name},
        )
    return row


def _go_on(tx: Transaction, row: SweepRow, why: str) -> SweepRow:
    """Have a sweep go on, if it has ended.

    Raises:
        SweepEnded: More has failed than may, so that it would end again at once.
    """
    if not row.ended:
        return row
    if failures := too_many_failures(tx.connection, row, Plan(row.sweep_spec)):
        raise SweepEnded(
            f"{row.name} cannot go on: {failures}; run these again by RetryTrials of FAILED",
            metadata={"sweep": row.name},
        )
    return sweeps.move(tx, row, Sweep.RUNNING, why)


def _update(tx: Transaction, id_: str, request: UpdateSweepRequest) -> SweepRow:
    row = _can_go_on(tx, id_)
    spec = row.sweep_spec
    grows = request.HasField("trials") or request.HasField("seeds")
    if grows and row.is_final:
        raise SweepEnded(
            f"the final jobs of {row.name} have been submitted, with the settings that its trials "
            "chose: create another sweep",
            metadata={"sweep": row.name},
        )
    new = _updated(spec, request)
    if new == spec:
        return row
    # Of the message alone: trials that have begun keep their numbers and settings.
    plan = Plan(new)
    row = sweeps.change(
        tx,
        row,
        spec=new.SerializeToString(deterministic=True),
        num_trials=plan.num_trials,
        num_jobs=plan.num_jobs,
    )
    if not grows:
        return row
    reopened = trials.reopen(tx, row.seq, new.seeds.count, int(Trial.RUNNING))
    if row.num_begun == row.num_trials and not reopened:
        return row  # The space has no more settings.
    return _go_on(tx, row, "extended")


def _updated(spec: SweepSpec, request: UpdateSweepRequest) -> SweepSpec:
    """Return a spec as it is to be.

    Raises:
        InvalidRequest: A number is out of bounds, or falls.
    """
    new = SweepSpec()
    new.CopyFrom(spec)
    if request.HasField("trials"):
        plan = Plan(spec)
        if plan.is_grid:
            raise InvalidRequest.of("trials", "must be absent: a grid has all its trials already")
        _check_grows("trials", request.trials, max(each.num_trials for each in plan.searches))
        new.trials = request.trials
    if request.HasField("seeds"):
        _check_grows("seeds", request.seeds, spec.seeds.count)
        if request.seeds > spec.seeds.count and not spec.seeds.vary:
            raise InvalidRequest.of("seeds", "must be absent: the sweep has no seed to raise")
        new.seeds.count = request.seeds
    if request.HasField("parallel"):
        if not 1 <= request.parallel <= 10_000:
            raise InvalidRequest.of(
                "parallel", f"must be >= 1 and <= 10,000, but got {request.parallel}"
            )
        new.parallel = request.parallel
    return new


def _check_grows(field: str, new: int, old: int) -> None:
    most = 1_000_000 if field == "trials" else 1000
    if not old <= new <= most:
        raise InvalidRequest.of(
            field, f"must be >= {old}, as it is now, and <= {most:,}, but got {new}"
        )


def _retry(tx: Transaction, id_: str, states: Sequence[int]) -> tuple[SweepRow, int]:
    row = _can_go_on(tx, id_)
    found = trials.in_states(tx.connection, row.seq, states)
    if row.is_final:
        # What its trials chose is settled.
        found = [trial for trial in found if trial.is_final]
    plan = Plan(row.sweep_spec)
    jobs = trials.jobs_of(tx.connection, row.seq, [trial.number for trial in found])
    known = trials.states_of(
        tx.connection, [job.job for of_trial in jobs.values() for job in of_trial]
    )
    wanted = {_RETRIED[state] for state in states}
    number = 0
    for trial in found:
        own = jobs.get(trial.number, ())
        # What has been deleted counts as cancelled, as it does where a trial ends.
        again = [job for job in own if known.get(job.job, Job.CANCELLED) in wanted]
        left = len(own) - len(again)
        # With what was refused, or what the end of the sweep left out.
        due = num_seeds(trial, plan) - left
        if not due:
            continue
        trials.remove_jobs(tx, row.seq, again)
        trials.change(
            tx,
            trial,
            state=int(Trial.RUNNING),
            num_seeds=left,
            value=None,
            sd=None,
            count=0,
            message="",
            pruned_at=0,
        )
        number += due
    return _go_on(tx, row, "trials are run again") if number else row, number
