"""WorkerService over gRPC."""

from typing import Any

from google.protobuf.duration_pb2 import Duration

from talweg.server.identity.caller import current_caller
from talweg.server.services.attempts.leases import LeaseClaim, LeaseService, PauseOrder
from talweg.server.services.attempts.ownership import check_owner, check_queue
from talweg.server.services.attempts.reports import Report
from talweg.server.services.attempts.tracking import TrackingService
from talweg.server.services.plugins import PluginService
from talweg.server.services.predictions import PredictionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.sweep_runs import SweepRunService
from talweg.server.store.record.rows import JobRow
from talweg.spec import job_name, sweep_name
from talweg.v1 import workers_pb2 as pb
from talweg.v1.workers_pb2_grpc import WorkerServiceServicer


class WorkerServicer(WorkerServiceServicer):
    """What workers use."""

    def __init__(
        self,
        leases: LeaseService,
        tracking: TrackingService,
        deletion: DeletionService,
        plugins: PluginService,
        predictions: PredictionService,
        sweep_runs: SweepRunService,
    ) -> None:
        """Keep the services.

        Args:
            leases: Hands out jobs.
            tracking: Keeps each job's run.
            deletion: Knows which jobs were deleted.
            plugins: Knows what is installed beside the workers.
            predictions: Hands out predictions.
            sweep_runs: Hands out runs that are written from the record of sweeps.
        """
        self._leases = leases
        self._tracking = tracking
        self._deletion = deletion
        self._plugins = plugins
        self._predictions = predictions
        self._sweep_runs = sweep_runs
        self._time_to_live = Duration()
        self._time_to_live.FromTimedelta(leases.lease)

    async def ClaimJobs(  # noqa: D102 - documented in the proto
        self, request: pb.ClaimJobsRequest, context: Any
    ) -> pb.ClaimJobsResponse:
        check_queue(request.queue, current_caller())
        rows = await self._leases.claim(
            queue=request.queue,
            worker=request.worker,
            devices=request.capabilities.devices,
            limit=request.limit,
            request_id=request.request_id,
            spool=request.spool,
            owner=current_caller().token,
        )
        return pb.ClaimJobsResponse(assignments=[await self._assignment(row) for row in rows])

    async def ReportProgress(  # noqa: D102
        self, request: pb.ReportProgressRequest, context: Any
    ) -> pb.ReportProgressResponse:
        order = await self._leases.report(_lease_claim(request.lease), _report(request))
        response = pb.ReportProgressResponse(time_to_live=self._time_to_live)
        if isinstance(order, PauseOrder):
            response.pause.reason = order.reason
            response.pause.SetInParent()
        elif order is not None:
            response.cancel.grace_period.FromTimedelta(order.grace)
            response.cancel.reason = order.reason
        return response

    async def FinishJob(  # noqa: D102
        self, request: pb.FinishJobRequest, context: Any
    ) -> pb.FinishJobResponse:
        last = _report(request.last_report) if request.HasField("last_report") else None
        await self._leases.finish(_lease_claim(request.lease), request.outcome, last)
        return pb.FinishJobResponse()

    async def SetTrackingRun(  # noqa: D102
        self, request: pb.SetTrackingRunRequest, context: Any
    ) -> pb.SetTrackingRunResponse:
        run = await self._tracking.set_run(
            request.job, expected=request.expected_run_id, run=request.tracking
        )
        return pb.SetTrackingRunResponse(tracking=run)

    async def ReportDelivery(  # noqa: D102
        self, request: pb.ReportDeliveryRequest, context: Any
    ) -> pb.ReportDeliveryResponse:
        state = await self._tracking.report_delivery(
            request.job,
            spool=request.spool,
            attempt=request.delivered_attempt,
            left_out=request.left_out,
        )
        return pb.ReportDeliveryResponse(
            pending=[
                pb.ReportDeliveryResponse.Attempt(attempt=each.attempt, worker=each.worker)
                for each in state.pending
            ],
            unknown_attempt=state.unknown_attempt,
            holds_latest=state.holds_latest,
        )

    async def ListRemovals(  # noqa: D102
        self, request: pb.ListRemovalsRequest, context: Any
    ) -> pb.ListRemovalsResponse:
        pending = await self._deletion.pending(request.limit)
        return pb.ListRemovalsResponse(
            removals=[
                pb.Removal(
                    job=job_name(each.id),
                    run_id=each.run_id,
                    experiment_id=each.experiment_id,
                    project=each.project,
                )
                for each in pending
            ]
        )

    async def FinishRemoval(  # noqa: D102
        self, request: pb.FinishRemovalRequest, context: Any
    ) -> pb.FinishRemovalResponse:
        await self._deletion.finish(request.job)
        return pb.FinishRemovalResponse()

    async def ClaimSweepRuns(  # noqa: D102
        self, request: pb.ClaimSweepRunsRequest, context: Any
    ) -> pb.ClaimSweepRunsResponse:
        claimed = await self._sweep_runs.claim(
            request.holder, request.limit, with_trials=request.with_trials
        )
        return pb.ClaimSweepRunsResponse(
            runs=[
                pb.SweepRun(
                    sweep=sweep_name(each.sweep),
                    cursor=each.cursor,
                    attempt=each.attempt,
                    tracking=each.tracking,
                    trial=each.content,
                )
                for each in claimed
            ]
        )

    async def SetSweepRun(  # noqa: D102
        self, request: pb.SetSweepRunRequest, context: Any
    ) -> pb.SetSweepRunResponse:
        run = await self._sweep_runs.set_run(
            request.sweep,
            request.trial,
            expected=request.expected_run_id,
            run=request.tracking,
            cursor=request.cursor,
        )
        return pb.SetSweepRunResponse(tracking=run)

    async def ReportPlugins(  # noqa: D102
        self, request: pb.ReportPluginsRequest, context: Any
    ) -> pb.ReportPluginsResponse:
        await self._plugins.report(request, owner=current_caller().token)
        return pb.ReportPluginsResponse()

    async def TakePrediction(  # noqa: D102
        self, request: pb.TakePredictionRequest, context: Any
    ) -> pb.TakePredictionResponse:
        return await self._predictions.take(
            request.prediction, token=request.token, worker=request.worker
        )

    async def FinishPrediction(  # noqa: D102
        self, request: pb.FinishPredictionRequest, context: Any
    ) -> pb.FinishPredictionResponse:
        await self._predictions.finish(request)
        return pb.FinishPredictionResponse()

    async def _assignment(self, row: JobRow) -> pb.Assignment:
        return pb.Assignment(
            lease=pb.Lease(job=row.name, attempt=row.attempt, token=row.lease_token),
            spec=row.job_spec,
            time_to_live=self._time_to_live,
            checkpoints=row.kept,
            project=row.project,
            root_digests=await self._leases.root_digests(row),
        )


def _lease_claim(lease: pb.Lease) -> LeaseClaim:
    """Return a lease that the caller may act on.

    Raises:
        StaleLease: It was given to the holder of another token.
    """
    check_owner(lease.token, job=lease.job, caller=current_caller())
    return LeaseClaim(job=lease.job, attempt=lease.attempt, token=lease.token)


def _report(request: pb.ReportProgressRequest) -> Report:
    return Report(
        sequence=request.sequence,
        events=request.events,
        summaries=request.summaries,
        progress=request.progress if request.HasField("progress") else None,
        kept=request.kept if request.HasField("kept") else None,
    )
