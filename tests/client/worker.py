"""A worker that trains nothing: it claims jobs and reports what a test tells it to."""

from typing import Self

import grpc
from tests._parts import wait_until

from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE
from talweg.v1.workers_pb2_grpc import WorkerServiceStub


class Attempt:
    """A claimed job."""

    def __init__(self, stub: WorkerServiceStub, assignment: workers_pb2.Assignment) -> None:
        self._stub = stub
        self._lease = assignment.lease
        self.spec = assignment.spec
        self.job = assignment.lease.job
        self._sequence = 0

    def report(
        self,
        *,
        step: int = 0,
        total_steps: int = 10,
        metrics: dict[str, float] | None = None,
        log: str = "",
        warning: str = "",
    ) -> None:
        self._stub.ReportProgress(self._report(step, total_steps, metrics or {}, log, warning))

    def finish(
        self,
        state: jobs_pb2.Job.State.ValueType = jobs_pb2.Job.SUCCEEDED,
        *,
        message: str = "",
        cause: jobs_pb2.Outcome.Cause.ValueType = jobs_pb2.Outcome.CAUSE_UNSPECIFIED,
        divergence: jobs_pb2.Divergence | None = None,
        metrics: dict[str, float] | None = None,
        step: int = 10,
        weights_step: int = 0,
    ) -> None:
        outcome = jobs_pb2.Outcome(
            state=state,
            message=message,
            cause=cause,
            divergence=divergence,
            weights_step=weights_step,
        )
        self._stub.FinishJob(
            workers_pb2.FinishJobRequest(
                lease=self._lease,
                outcome=outcome,
                last_report=self._report(step, 10, metrics or {}, "", ""),
            )
        )

    def over(self, worker: "Worker") -> "Attempt":
        """Go on over another worker's connection."""
        self._stub = worker.stub
        return self

    def deliver(self, url: str, run_id: str, experiment_id: str = "1") -> None:
        """Say that all results have arrived in MLflow."""
        tracking = jobs_pb2.TrackingRun(
            run_id=run_id, experiment_id=experiment_id, complete=True, url=url
        )
        self._stub.SetTrackingRun(
            workers_pb2.SetTrackingRunRequest(job=self.job, tracking=tracking)
        )

    def _report(
        self, step: int, total_steps: int, metrics: dict[str, float], log: str, warning: str
    ) -> workers_pb2.ReportProgressRequest:
        self._sequence += 1
        events = []
        if metrics:
            events.append(jobs_pb2.Event(metrics=jobs_pb2.MetricPoint(step=step, values=metrics)))
        if log:
            line = jobs_pb2.LogLine(level=jobs_pb2.LogLine.INFO, text=log)
            events.append(jobs_pb2.Event(log=line))
        if warning:
            events.append(jobs_pb2.Event(warning=jobs_pb2.Warning(message=warning)))
        summaries = [
            jobs_pb2.MetricSummary(
                name=name, first=value, last=value, best=value, first_step=step, last_step=step,
                best_step=step, count=1, goal=MAXIMIZE if "acc" in name else MINIMIZE,
            )
            for name, value in metrics.items()
        ]  # fmt: skip
        progress = jobs_pb2.Progress(
            step=step, total_steps=total_steps, epoch=step // 2, total_epochs=total_steps // 2
        )
        return workers_pb2.ReportProgressRequest(
            lease=self._lease,
            sequence=self._sequence,
            events=events,
            summaries=summaries,
            progress=progress if step else None,
        )


class Worker:
    """Claims jobs, one at a time, in the order of the server."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self.stub = WorkerServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def claim(self, job: str = "") -> Attempt:
        """Claim the next job, which must be `job` where it is given."""
        attempt = wait_until(self.try_claim, timeout=10, what="a job to claim")
        assert attempt is not None
        assert job in ("", attempt.job)
        return attempt

    def summarise(self, sweep: str, *, run_id: str, url: str, experiment_id: str = "7") -> None:
        """Say that the summary of a sweep is in MLflow."""
        tracking = jobs_pb2.TrackingRun(
            run_id=run_id, experiment_id=experiment_id, complete=True, url=url
        )
        request = workers_pb2.ClaimSweepRunsRequest(holder="tester", limit=100)
        [due] = [each for each in self.stub.ClaimSweepRuns(request).runs if each.sweep == sweep]
        self.stub.SetSweepRun(
            workers_pb2.SetSweepRunRequest(sweep=sweep, tracking=tracking, cursor=due.cursor)
        )

    def try_claim(self) -> Attempt | None:
        """Claim the next job; None where there is none."""
        request = workers_pb2.ClaimJobsRequest(
            queue="default",
            worker="tester",
            capabilities=workers_pb2.Capabilities(devices=["cpu"]),
            limit=1,
        )
        assignments = self.stub.ClaimJobs(request).assignments
        return Attempt(self.stub, assignments[0]) if assignments else None
