"""A server in the tests' own process: real gRPC, jobs in memory, and failures on request.

It answers as the real one does, as far as clients can tell; the same cases run against both.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, stdev
from typing import Any

import grpc
from tests.client.memory_record import FINAL, Context, Record, Refusal

from talweg import spec as specs
from talweg.v1 import catalog_pb2, catalog_pb2_grpc, jobs_pb2, jobs_pb2_grpc, workers_pb2
from talweg.v1.workers_pb2_grpc import WorkerServiceServicer, add_WorkerServiceServicer_to_server

# Few, so that a client must follow the pages.
POINTS_A_PAGE = 2


class _Jobs(jobs_pb2_grpc.JobServiceServicer):
    def __init__(self, server: "MemoryServer") -> None:
        self.server = server
        self.record = server.record

    def SubmitJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("SubmitJob", context) as record:
            response = jobs_pb2.SubmitJobResponse(job=record.submit(request))
        # An answer that gets lost after the work was done.
        self.server.fail("after SubmitJob", context)
        return response

    def BatchSubmitJobs(self, request: Any, context: Any) -> Any:
        response = jobs_pb2.BatchSubmitJobsResponse()
        with self.server.serving("BatchSubmitJobs", context) as record:
            for single in request.requests:
                try:
                    response.results.add(job=record.submit(single))
                except Refusal as refusal:
                    response.results.add(error=refusal.status)
        return response

    def GetJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("GetJob", context) as record:
            return record.find(request.name)

    def ListJobs(self, request: Any, context: Any) -> Any:
        with self.server.serving("ListJobs", context) as record:
            found = record.select(request.filter)
            start = int(request.page_token or 0)
            end = start + request.page_size
            token = str(end) if end < len(found) else ""
            return jobs_pb2.ListJobsResponse(jobs=found[start:end], next_page_token=token)

    def WatchJob(self, request: Any, context: Any) -> Iterator[Any]:
        with self.server.serving("WatchJob", context) as record:
            record.find(request.name)
        cursor = max(0, request.after_cursor - self.server.overlap)
        while context.is_active():
            with self.record.changed:
                events = self.record.events[request.name][cursor:]
                if not events:
                    if self.record.jobs[request.name].state in FINAL:
                        return
                    self.record.changed.wait(0.05)
            for event in events:
                self.server.fail("WatchJob event", context)
                yield jobs_pb2.WatchJobResponse(event=event)
                cursor = event.cursor
                if event.HasField("finished"):
                    return

    def GetJobMetrics(self, request: Any, context: Any) -> Any:
        with self.server.serving("GetJobMetrics", context) as record:
            record.find(request.name)
            prefixes = tuple(request.metrics) or ("",)
            summaries = record.summaries[request.name]
            points = [e.metrics for e in record.events[request.name] if e.HasField("metrics")]
            begin = int(request.page_token or 0)
            end = begin + POINTS_A_PAGE
            response = jobs_pb2.GetJobMetricsResponse()
            if request.include_points:
                response.points.extend(points[begin:end])
                response.next_page_token = str(end) if end < len(points) else ""
            if not begin:
                found = (s for name, s in summaries.items() if name.startswith(prefixes))
                response.summaries.extend(found)
            return response

    def CompareJobs(self, request: Any, context: Any) -> Any:
        with self.server.serving("CompareJobs", context) as record:
            jobs = [record.find(n) for n in request.names] or record.select(request.filter)
            metric = request.metric or specs.primary_metric(jobs[0].spec)
            goal = specs.goal_of(jobs[0].spec, metric)
            response = jobs_pb2.CompareJobsResponse(metric=metric, goal=goal)
            by_label: dict[str, list[jobs_pb2.Job]] = {}
            for job in jobs:
                by_label.setdefault(specs.label(job.spec.loss), []).append(job)
            for label, members in by_label.items():
                group = response.groups.add(labels=[label], total=len(members))
                for job in members:
                    row = group.rows.add(job=job.name, state=job.state)
                    row.seed = job.spec.training.seed
                    if metric in record.summaries[job.name]:
                        row.value = record.summaries[job.name][metric].last
                values = [row.value for row in group.rows if row.HasField("value")]
                group.count = len(values)
                group.succeeded = sum(j.state == jobs_pb2.Job.SUCCEEDED for j in members)
                if values:
                    group.mean, group.min, group.max = mean(values), min(values), max(values)
                if len(values) > 1:
                    group.sd = stdev(values)
            ranked = sorted(response.groups, key=lambda g: (not g.count, g.mean))
            del response.groups[:]
            response.groups.extend(ranked)
            return response

    def CancelJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("CancelJob", context) as record:
            job = record.find(request.name)
            if job.state in FINAL and job.state != jobs_pb2.Job.CANCELLED:
                raise Refusal("FAILED_PRECONDITION", "JOB_ENDED", f"{job.name} has ended")
            job.cancel_requested = True
            if job.state == jobs_pb2.Job.QUEUED:
                record.finish(job.name, jobs_pb2.Outcome(
                    state=jobs_pb2.Job.CANCELLED, message=request.reason,
                    cause=jobs_pb2.Outcome.CANCEL_REQUEST,
                ))  # fmt: skip
            return job

    def PauseJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("PauseJob", context) as record:
            job = record.find(request.name)
            if job.state in FINAL:
                raise Refusal("FAILED_PRECONDITION", "JOB_ENDED", f"{job.name} has ended")
            if job.state == jobs_pb2.Job.RUNNING:
                job.pause_requested = True
            else:
                job.state = jobs_pb2.Job.PAUSED
            return job

    def ResumeJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("ResumeJob", context) as record:
            job = record.find(request.name)
            if job.state in FINAL:
                raise Refusal("FAILED_PRECONDITION", "JOB_ENDED", f"{job.name} has ended")
            job.pause_requested = False
            if job.state == jobs_pb2.Job.PAUSED:
                job.state = jobs_pb2.Job.QUEUED
            return job

    def RetryJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("RetryJob", context) as record:
            old = record.find(request.name)
            if old.state not in FINAL:
                raise Refusal("FAILED_PRECONDITION", "JOB_NOT_ENDED", f"{old.name} goes on")
            job = record.submit(
                jobs_pb2.SubmitJobRequest(spec=old.spec, request_id=request.request_id)
            )
            job.retry_of = old.name
            return job


class _Catalogue(catalog_pb2_grpc.CatalogServiceServicer):
    def ListLosses(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListLossesResponse(losses=specs.losses(request.task or None))

    def ListTasks(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListTasksResponse(tasks=specs.tasks())

    def ListModels(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListModelsResponse(models=specs.models())

    def ListDatasets(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListDatasetsResponse(datasets=specs.datasets())

    def ListOptimizers(self, request: Any, context: Any) -> Any:
        return catalog_pb2.ListOptimizersResponse(optimizers=specs.optimizers())

    def RecommendLoss(self, request: Any, context: Any) -> Any:
        try:
            return specs.recommend(request.task, request.facts)
        except specs.SpecError as exc:
            refusal = Refusal(
                "INVALID_ARGUMENT", "INVALID_REQUEST", str(exc), list(exc.violations)
            )
            refusal.abort(context)


class _Workers(WorkerServiceServicer):
    def __init__(self, server: "MemoryServer") -> None:
        self.server = server

    def ClaimJobs(self, request: Any, context: Any) -> Any:
        response = workers_pb2.ClaimJobsResponse()
        with self.server.serving("ClaimJobs", context) as record:
            for job in record.jobs.values():
                if job.state == jobs_pb2.Job.QUEUED and not response.assignments:
                    job.state, job.attempt = jobs_pb2.Job.RUNNING, job.attempt + 1
                    job.worker, job.waiting_reason = request.worker, ""
                    job.start_time.GetCurrentTime()
                    record.add(job.name, state=jobs_pb2.StateChange(state=job.state))
                    lease = workers_pb2.Lease(job=job.name, attempt=job.attempt)
                    response.assignments.add(lease=lease, spec=job.spec)
        return response

    def ReportProgress(self, request: Any, context: Any) -> Any:
        with self.server.serving("ReportProgress", context):
            self._take(request)
        return workers_pb2.ReportProgressResponse()

    def FinishJob(self, request: Any, context: Any) -> Any:
        with self.server.serving("FinishJob", context) as record:
            self._take(request.last_report)
            record.finish(request.lease.job, request.outcome)
        return workers_pb2.FinishJobResponse()

    def SetTrackingRun(self, request: Any, context: Any) -> Any:
        with self.server.serving("SetTrackingRun", context) as record:
            record.find(request.job).tracking.CopyFrom(request.tracking)
        return workers_pb2.SetTrackingRunResponse(tracking=request.tracking)

    def _take(self, report: workers_pb2.ReportProgressRequest) -> None:
        name = report.lease.job
        for event in report.events:
            kind = event.WhichOneof("kind")
            assert kind
            self.server.record.add(name, **{kind: getattr(event, kind)})
        for summary in report.summaries:
            self.server.record.summaries[name][summary.name] = summary
        if report.HasField("progress"):
            self.server.record.jobs[name].progress.CopyFrom(report.progress)
            self.server.record.add(name, progress=report.progress)


class _Serving:
    """Holds the record while a method runs, and turns refusals into statuses."""

    def __init__(self, server: "MemoryServer", context: Context) -> None:
        self.record, self.context = server.record, context

    def __enter__(self) -> Record:
        self.record.changed.acquire()
        return self.record

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.record.changed.notify_all()
        self.record.changed.release()
        if isinstance(error, Refusal):
            error.abort(self.context)


class MemoryServer:
    """The server; its record outlives a restart."""

    def __init__(self) -> None:
        self.record = Record()
        self.calls: list[str] = []
        self.failures: dict[str, deque[grpc.StatusCode | Refusal | None]] = {}
        self.address = "127.0.0.1:0"
        # So many events before the cursor are sent again, as a faulty server might.
        self.overlap = 0
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(40))
        jobs_pb2_grpc.add_JobServiceServicer_to_server(_Jobs(self), self._server)
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(_Catalogue(), self._server)
        add_WorkerServiceServicer_to_server(_Workers(self), self._server)
        port = self._server.add_insecure_port(self.address)
        self.address = f"127.0.0.1:{port}"
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()

    kill = stop

    def fail_next(self, call: str, *failures: grpc.StatusCode | Refusal | None) -> None:
        """Make the next calls fail, one after another; None stands for one that works."""
        self.failures[call] = deque(failures)

    def serving(self, call: str, context: Context) -> _Serving:
        self.calls.append(call)
        self.fail(call, context)
        return _Serving(self, context)

    def fail(self, call: str, context: Context) -> None:
        failure = self.failures[call].popleft() if self.failures.get(call) else None
        if isinstance(failure, Refusal):
            failure.abort(context)
        elif failure is not None:
            context.abort(failure, "on request")
