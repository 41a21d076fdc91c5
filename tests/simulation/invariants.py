"""What must hold whatever happens, seen from the server's commits and answers."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.simulation.worker import METRIC, Worker

from talweg.server.store.record.database import Changes
from talweg.spec import job_id
from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Event, Job
from talweg.v1.workers_pb2 import Assignment, Lease, ReportProgressRequest


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass
class SeenJob:
    """A job as its events tell of it."""

    id: str
    state: int = Job.QUEUED
    attempt: int = 0
    """The last one."""
    last_cursor: int = 1
    events: list[Event] = field(default_factory=list)
    """From the second on: the first one is written with the job."""
    tokens: dict[int, str] = field(default_factory=dict)
    """By attempt, those that the server has given out."""
    sequences: dict[int, int] = field(default_factory=dict)
    """By attempt, the last report that was taken."""
    points: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How often each attempt and step is in the log."""

    @property
    def ended(self) -> bool:
        return has_ended(self.state)


_BEFORE: dict[int, Sequence[int]] = {
    Job.RUNNING: (Job.QUEUED,),
    Job.QUEUED: (Job.RUNNING, Job.PAUSED),
    Job.PAUSED: (Job.RUNNING, Job.QUEUED),
}


class Invariants:
    """Follows all jobs of a simulation."""

    def __init__(self, workers: Callable[[], Sequence[Worker]], blobs: Path) -> None:
        self.jobs: dict[str, SeenJob] = {}
        self.clocks_run_alike = True
        """Whether no machine's clock has jumped or stood still: else workers may err on leases."""
        self._workers, self._blobs = workers, blobs

    def job(self, id_: str) -> SeenJob:
        """Return a job, which is QUEUED where nothing was told of it."""
        return self.jobs.setdefault(id_, SeenJob(id_))

    def committed(self, changes: Changes) -> None:
        """Take what a transaction has changed."""
        for id_, new in changes.events.items():
            job = self.job(id_)
            for event in new:
                self._event(job, event)

    def _event(self, job: SeenJob, event: Event) -> None:
        what = event.WhichOneof("kind")
        if event.cursor != job.last_cursor + 1:
            raise BrokenError(
                f"{job.id}: the event after {job.last_cursor} is {event.cursor} ({what})"
            )
        if job.ended:
            raise BrokenError(f"{job.id} has ended, but has a new event: {what}")
        job.last_cursor = event.cursor
        job.events.append(event)
        if what == "state":
            self._state(job, event.state.state, event.attempt)
        elif what == "finished":
            job.state = event.finished.state
        elif job.state != Job.RUNNING or event.attempt != job.attempt:
            state = Job.State.Name(job.state)  # type: ignore[arg-type]
            raise BrokenError(
                f"{job.id} is {state} in attempt {job.attempt}, but takes {what} of attempt "
                f"{event.attempt}"
            )
        elif what == "metrics" and METRIC in event.metrics.values:
            point = (event.attempt, event.metrics.step)
            job.points[point] += 1
            if job.points[point] > 1:
                raise BrokenError(
                    f"{job.id}: step {point[1]} of attempt {point[0]} is counted twice"
                )

    def _state(self, job: SeenJob, state: int, attempt: int) -> None:
        if job.state not in _BEFORE[state]:
            names = [Job.State.Name(each) for each in (job.state, state)]  # type: ignore[arg-type]
            raise BrokenError(f"{job.id} goes from {names[0]} to {names[1]}")
        job.state = state
        if state == Job.RUNNING:
            if attempt <= job.attempt:
                raise BrokenError(
                    f"{job.id}: attempt {attempt} begins after attempt {job.attempt}"
                )
            job.attempt = attempt

    def answered(self, method: str, request: Any, response: Any) -> None:
        """Take what the server has granted."""
        if method == "ClaimJobs":
            for assignment in response.assignments:
                self._granted(assignment, request.worker)
        elif method == "ReportProgress":
            job = self._owned(request.lease, "reports")
            if job.state != Job.RUNNING:
                state = Job.State.Name(job.state)  # type: ignore[arg-type]
                raise BrokenError(f"{job.id} is {state}, but a report was taken")
            self._kept(job, request)
            if request.sequence > job.sequences.get(job.attempt, 0):
                job.sequences[job.attempt] = request.sequence
                self._named_are_there(request)
        elif method == "FinishJob":
            job = self.job(job_id(request.lease.job))
            if job.state == Job.RUNNING and job.attempt == request.lease.attempt:
                raise BrokenError(f"{job.id} was finished, but is RUNNING")
            if request.HasField("last_report"):
                self._kept(job, request.last_report)

    def _granted(self, assignment: Assignment, worker: str) -> None:
        lease = assignment.lease
        job = self._owned(lease, "is given to a worker")
        if job.state != Job.RUNNING:
            raise BrokenError(f"{job.id} is given to {worker}, but is not RUNNING")
        job.tokens.setdefault(lease.attempt, lease.token)
        for checkpoint in assignment.checkpoints:
            self._is_there(job.id, checkpoint.name)
        if not self.clocks_run_alike:
            return
        for each in self._workers():
            if each.training is None or each.process.is_dead or each.name == worker:
                continue
            name, control = each.training
            if name == lease.job and control.holds_lease():
                raise BrokenError(
                    f"{job.id} is given to {worker} while {each.name} holds a good lease"
                )

    def _owned(self, lease: Lease, does: str) -> SeenJob:
        job = self.job(job_id(lease.job))
        if lease.attempt != job.attempt:
            raise BrokenError(
                f"{job.id}: attempt {lease.attempt} {does}, though attempt {job.attempt} owns it"
            )
        if job.tokens.get(lease.attempt, lease.token) != lease.token:
            raise BrokenError(f"{job.id}: attempt {lease.attempt} {does} by another's token")
        return job

    def _kept(self, job: SeenJob, report: ReportProgressRequest) -> None:
        """Check that what was taken is in the log."""
        for event in report.events:
            point = (report.lease.attempt, event.metrics.step)
            if METRIC in event.metrics.values and not job.points[point]:
                raise BrokenError(
                    f"{job.id}: step {point[1]} of attempt {point[0]} was taken, and is not in "
                    "its log"
                )

    def _named_are_there(self, report: ReportProgressRequest) -> None:
        for checkpoint in report.kept.checkpoints:
            self._is_there(job_id(report.lease.job), checkpoint.name)

    def _is_there(self, id_: str, name: str) -> None:
        if not (self._blobs / f"{name}.json").exists():
            raise BrokenError(f"{id_}: the record names {name}, which is not stored")
