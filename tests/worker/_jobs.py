"""Jobs on a real server, as a worker and a person see them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from talweg.spec import fill, from_dict
from talweg.v1.jobs_pb2 import (
    CancelJobRequest,
    Event,
    GetJobRequest,
    Job,
    Outcome,
    SubmitJobRequest,
    WatchJobRequest,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Assignment, ClaimJobsRequest, FinishJobRequest
from talweg.worker.channels import Channel


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

    def submit(self, spec: JobSpec) -> str:
        return self.channel.jobs.SubmitJob(SubmitJobRequest(spec=spec)).job.name

    def get(self, name: str) -> Job:
        return self.channel.jobs.GetJob(GetJobRequest(name=name))

    def claim(self, queue: str = "default") -> Assignment:
        request = ClaimJobsRequest(queue=queue, worker="test")
        (assignment,) = self.channel.workers.ClaimJobs(request).assignments
        return assignment

    def begin(self, spec: JobSpec) -> Assignment:
        """Submits a job and claims it; no other may wait."""
        name = self.submit(spec)
        assignment = self.claim()
        assert assignment.lease.job == name
        return assignment

    def finish(self, assignment: Assignment, outcome: Outcome) -> None:
        self.channel.workers.FinishJob(FinishJobRequest(lease=assignment.lease, outcome=outcome))

    def cancel(self, name: str, **fields: Any) -> Job:
        return self.channel.jobs.CancelJob(CancelJobRequest(name=name, **fields))

    def events(self, name: str) -> list[Event]:
        """All events of a job that has ended."""
        return [answer.event for answer in self.channel.jobs.WatchJob(WatchJobRequest(name=name))]


@contextmanager
def jobs_of(address: str) -> Iterator[Jobs]:
    jobs = Jobs(address)
    try:
        yield jobs
    finally:
        jobs.channel.close()
