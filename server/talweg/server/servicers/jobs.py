"""JobService over gRPC."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from talweg.server.errors import InvalidRequest, PermissionDenied
from talweg.server.identity.caller import current_caller
from talweg.server.limits.under_way import host_of
from talweg.server.servicers.convert import (
    LARGEST_MESSAGE,
    batch_message,
    comparison_message,
    duration_value,
    job_message,
    taken_message,
)
from talweg.server.services.cancellation import DEFAULT_GRACE, CancellationService
from talweg.server.services.comparison.answer import AnswerService
from talweg.server.services.comparison.compare import DEFAULT_GROUPING, ComparisonService
from talweg.server.services.jobs import JobService
from talweg.server.services.pausing import PauseService
from talweg.server.services.retention.collection import CollectionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.retention.folders import FolderService, UnknownFolder
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.watching import WatchService
from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.rows import JobRow
from talweg.spec import display_name, job_name
from talweg.v1 import jobs_pb2 as pb
from talweg.v1.jobs_pb2_grpc import JobServiceServicer


@dataclass(frozen=True)
class JobServices:
    """What JobService is made of."""

    submission: SubmissionService
    """Takes jobs."""

    jobs: JobService
    """Reads them."""

    watching: WatchService
    """Follows them."""

    comparison: ComparisonService
    """Compares them."""

    answers: AnswerService
    """Says how sure a comparison is."""

    cancellation: CancellationService
    """Cancels them."""

    pausing: PauseService
    """Pauses them."""

    deletion: DeletionService
    """Deletes them."""

    collection: CollectionService
    folders: FolderService
    """Deletes old ones."""


class JobServicer(JobServiceServicer):
    """What people use."""

    def __init__(self, services: JobServices) -> None:
        """Keep the services.

        Args:
            services: What the methods call.
        """
        self._services = services

    async def SubmitJob(  # noqa: D102 - documented in the proto
        self, request: pb.SubmitJobRequest, context: Any
    ) -> pb.SubmitJobResponse:
        answer = await self._services.submission.submit(
            _submission(request), caller=context.peer()
        )
        return pb.SubmitJobResponse(job=taken_message(answer))

    async def BatchSubmitJobs(  # noqa: D102
        self, request: pb.BatchSubmitJobsRequest, context: Any
    ) -> pb.BatchSubmitJobsResponse:
        answers = await self._services.submission.submit_many(
            [_submission(each) for each in request.requests], caller=context.peer()
        )
        return batch_message(answers)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.Job:  # noqa: D102
        return job_message(await self._services.jobs.get(request.name))

    async def ListJobs(  # noqa: D102
        self, request: pb.ListJobsRequest, context: Any
    ) -> pb.ListJobsResponse:
        page = await self._services.jobs.list_page(
            filter=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListJobsResponse(
            jobs=map(job_message, page.jobs), next_page_token=page.next_token
        )

    async def WatchJob(  # noqa: D102
        self, request: pb.WatchJobRequest, context: Any
    ) -> AsyncGenerator[pb.WatchJobResponse]:
        watching = self._services.watching.watch(
            request.name, request.after_cursor, caller=host_of(context.peer())
        )
        async with aclosing(watching) as events:
            async for event in events:
                yield pb.WatchJobResponse(event=event)

    async def GetJobMetrics(  # noqa: D102
        self, request: pb.GetJobMetricsRequest, context: Any
    ) -> pb.GetJobMetricsResponse:
        measured = await self._services.jobs.metrics(
            request.name,
            wanted=request.metrics,
            include_points=request.include_points,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.GetJobMetricsResponse(
            summaries=measured.summaries,
            points=[event.metrics for event in measured.points],
            next_page_token=measured.next_token,
        )

    async def GetJobLogs(  # noqa: D102
        self, request: pb.GetJobLogsRequest, context: Any
    ) -> pb.GetJobLogsResponse:
        logs = await self._services.jobs.logs(
            request.name, after=request.after_cursor, page_size=request.page_size
        )
        return pb.GetJobLogsResponse(events=logs.events, next_cursor=logs.next_cursor)

    async def CompareJobs(  # noqa: D102
        self, request: pb.CompareJobsRequest, context: Any
    ) -> pb.CompareJobsResponse:
        comparison = await self._services.comparison.compare(
            names=request.names,
            filter=request.filter,
            metric=request.metric,
            group_by=request.group_by,
        )
        response = comparison_message(comparison)
        if request.HasField("question"):
            answer = await self._services.answers.answer(
                comparison, request.question, request.group_by or DEFAULT_GROUPING
            )
            response.answer.CopyFrom(answer)
        if response.ByteSize() > LARGEST_MESSAGE:
            raise InvalidRequest.of(
                "group_by",
                f"must have a response of <= {LARGEST_MESSAGE:,} bytes, but the labels of "
                f"{len(response.groups):,} groups take {response.ByteSize():,}: compare fewer "
                "jobs, or group by paths with shorter values",
            )
        return response

    async def CancelJob(self, request: pb.CancelJobRequest, context: Any) -> pb.Job:  # noqa: D102
        grace = DEFAULT_GRACE
        if request.HasField("grace_period"):
            grace = duration_value(request.grace_period, field="grace_period")
        row = await self._services.cancellation.cancel(
            request.name,
            grace=grace,
            force=request.force,
            reason=request.reason,
        )
        return job_message(await self._services.jobs.view(row))

    async def PauseJob(self, request: pb.PauseJobRequest, context: Any) -> pb.Job:  # noqa: D102
        row = await self._services.pausing.pause(request.name, reason=request.reason)
        return job_message(await self._services.jobs.view(row))

    async def ResumeJob(  # noqa: D102
        self, request: pb.ResumeJobRequest, context: Any
    ) -> pb.Job:
        row = await self._services.pausing.resume(request.name)
        return job_message(await self._services.jobs.view(row))

    async def RetryJob(self, request: pb.RetryJobRequest, context: Any) -> pb.Job:  # noqa: D102
        row = await self._services.submission.retry(
            request.name, request.request_id, caller=context.peer()
        )
        return job_message(await self._services.jobs.view(row))

    async def DeleteJob(  # noqa: D102
        self, request: pb.DeleteJobRequest, context: Any
    ) -> pb.DeleteJobResponse:
        await self._services.deletion.delete(
            request.name, force=request.force, validate_only=request.validate_only
        )
        return pb.DeleteJobResponse()

    async def CollectJobs(  # noqa: D102
        self, request: pb.CollectJobsRequest, context: Any
    ) -> pb.CollectJobsResponse:
        if request.keep not in pb.CollectJobsRequest.Keep.values():
            raise InvalidRequest.of("keep", f"must be BEST, LAST or NONE, but got {request.keep}")
        older_than = duration_value(request.older_than, field="older_than")
        if request.unknown_folders:
            if not current_caller().sees_all:
                raise PermissionDenied(
                    "folders that belong to no job are of no project: it takes an admin of all"
                )
            folders = await self._services.folders.collect(
                older_than=older_than, validate_only=request.validate_only
            )
            return pb.CollectJobsResponse(folders=map(_folder, folders))
        collected = await self._services.collection.collect(
            older_than=older_than,
            keep=request.keep,
            filter=request.filter,
            validate_only=request.validate_only,
        )
        return pb.CollectJobsResponse(
            jobs=map(_collected, collected.rows), kept=collected.num_kept
        )


def _collected(row: JobRow) -> pb.CollectJobsResponse.Collected:
    return pb.CollectJobsResponse.Collected(
        name=row.name,
        display_name=display_name(row.job_spec),
        experiment=row.experiment,
        checkpoint_bytes=sum(checkpoint.bytes for checkpoint in row.kept),
    )


def _folder(folder: UnknownFolder) -> pb.CollectJobsResponse.Folder:
    return pb.CollectJobsResponse.Folder(
        name=job_name(folder.id),
        bytes=folder.bytes,
        write_time=to_timestamp(folder.write_time),
        project=folder.project,
    )


def _submission(request: pb.SubmitJobRequest) -> Submission:
    return Submission(request.spec, request.request_id, request.validate_only)
