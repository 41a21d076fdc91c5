"""Jobs on a real server, as a worker and a person see them."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc

from talweg.spec import CheckpointName, fill, from_dict
from talweg.v1.jobs_pb2 import (
    CancelJobRequest,
    Checkpoint,
    Event,
    GetJobRequest,
    Job,
    MetricPoint,
    Outcome,
    SubmitJobRequest,
    WatchJobRequest,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import (
    Assignment,
    ClaimJobsRequest,
    FinishJobRequest,
    Kept,
    ReportProgressRequest,
)
from talweg.worker.channels import Channel, call


def tiny_spec(**fields: Any) -> JobSpec:
    """Five steps without outputs."""
    spec = {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [8]}},
        "loss": {"huber": {"delta": 2.0}},
        "training": {"steps": 5},
        "outputs": {"model": False, "plots": False},
        **fields,
    }
    return fill(from_dict(spec))


class Jobs:
    """A server's jobs."""

    def __init__(self, address: str) -> None:
        self.channel = Channel(address)
        self._submitted: list[str] = []

    def submit(self, spec: JobSpec) -> str:
        request = SubmitJobRequest(spec=spec)
        submitted = call(self.channel.jobs.SubmitJob, request, until=time.monotonic() + 60)
        name = submitted.job.name
        self._submitted.append(name)
        return name

    def put_away(self) -> None:
        """End what still waits or runs, so that another test finds an empty queue."""
        for name in self._submitted:
            with suppress(grpc.RpcError):
                self.cancel(name, force=True)

    def get(self, name: str) -> Job:
        """Return the job now; a server that has just been started again is waited for."""
        until = time.monotonic() + 60
        return call(self.channel.jobs.GetJob, GetJobRequest(name=name), until=until)

    def claim(self, queue: str = "default", *, spool: str = "") -> Assignment:
        request = ClaimJobsRequest(queue=queue, worker="test", spool=spool)
        (assignment,) = self.channel.workers.ClaimJobs(request).assignments
        return assignment

    def begin(self, spec: JobSpec, *, spool: str = "") -> Assignment:
        """Submit a job and claim it; no other may wait."""
        name = self.submit(spec)
        assignment = self.claim(spool=spool)
        assert assignment.lease.job == name
        return assignment

    def finish(self, assignment: Assignment, outcome: Outcome) -> None:
        self.channel.workers.FinishJob(FinishJobRequest(lease=assignment.lease, outcome=outcome))

    @property
    def latest(self) -> str:
        """The name of the job that was submitted last."""
        return self._submitted[-1]

    def report_end(self, assignment: Assignment, evaluations: Mapping[int, float]) -> None:
        """End a job as a worker would that has evaluated it, tested it and kept its checkpoint.

        Args:
            assignment: The job.
            evaluations: Its `val/mae` by step.
        """
        lease, last = assignment.lease, max(evaluations)
        name = str(CheckpointName(lease.job, last, lease.attempt))
        kept = Checkpoint(
            name=name, step=last, epoch=assignment.spec.training.epochs, attempt=lease.attempt
        )
        points = [MetricPoint(step=at, values={"val/mae": v}) for at, v in evaluations.items()]
        points.append(MetricPoint(step=last, values={"test/mae": 1.0}))
        report = ReportProgressRequest(
            lease=lease,
            sequence=1,
            events=[Event(metrics=each) for each in points],
            kept=Kept(checkpoints=[kept]),
        )
        outcome = Outcome(state=Job.SUCCEEDED, weights_step=last)
        self.channel.workers.FinishJob(
            FinishJobRequest(lease=lease, outcome=outcome, last_report=report)
        )

    def cancel(self, name: str, **fields: Any) -> Job:
        request = CancelJobRequest(name=name, **fields)
        return call(self.channel.jobs.CancelJob, request, until=time.monotonic() + 60)

    def events(self, name: str) -> list[Event]:
        """Return all events of a job that has ended."""
        return [answer.event for answer in self.channel.jobs.WatchJob(WatchJobRequest(name=name))]


@contextmanager
def jobs_of(address: str) -> Iterator[Jobs]:
    jobs = Jobs(address)
    try:
        yield jobs
    finally:
        jobs.put_away()
        jobs.channel.close()
