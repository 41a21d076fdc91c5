"""The server's record of a job, as the delivery needs it."""

import logging
import time

import grpc

from talweg.spec import is_web_address, job_name
from talweg.v1.jobs_pb2 import GetJobRequest, Job, TrackingRun, WatchJobRequest
from talweg.v1.workers_pb2 import (
    ClaimSweepRunsRequest,
    FinishRemovalRequest,
    ListRemovalsRequest,
    Removal,
    ReportDeliveryRequest,
    ReportDeliveryResponse,
    SetSweepRunRequest,
    SetTrackingRunRequest,
    SweepRun,
)
from talweg.worker.channels import Channel, ServerAwayError, call, is_away
from talweg.worker.tracking.runs import RunId
from talweg.worker.tracking.spool import Point

_PATIENCE = 2.0
# A first part may have thousands of points.
_LONGEST_WATCH = 60.0
log = logging.getLogger(__name__)


class Record:
    """Which run a job has, and how the job ended.

    Every method raises ServerAwayError where the server does not answer within two seconds.
    """

    def __init__(self, channel: Channel) -> None:
        """Keep the channel; nothing is sent.

        Args:
            channel: To the server.
        """
        self._channel = channel

    def job(self, job_id: str) -> Job | None:
        """Return the job; None where the server does not know it."""
        try:
            return call(
                self._channel.jobs.GetJob,
                GetJobRequest(name=job_name(job_id)),
                until=time.monotonic() + _PATIENCE,
            )
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    def first_part(self, name: str) -> list[Point]:
        """Return the points that a job has taken over from the one that it goes on from.

        They were written down with the job, before its first attempt; of a job that the server
        does not know there are none.

        Args:
            name: `jobs/{id}`, with an attempt.
        """
        points: list[Point] = []
        stream = self._channel.jobs.WatchJob(WatchJobRequest(name=name), timeout=_LONGEST_WATCH)
        try:
            for event in (response.event for response in stream):
                if event.attempt:
                    break
                if event.HasField("metrics"):
                    at = event.time.ToMilliseconds()
                    points.append((event.metrics.step, at, dict(event.metrics.values)))
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return []
            if is_away(exc):
                raise ServerAwayError(f"no answer: {exc.details()}") from exc
            raise
        finally:
            stream.cancel()
        return points

    def removals(self) -> list[Removal]:
        """Return deleted jobs whose files are still to go; none of an older server."""
        try:
            response = call(
                self._channel.workers.ListRemovals,
                ListRemovalsRequest(),
                until=time.monotonic() + _PATIENCE,
            )
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.UNIMPLEMENTED:
                return []
            raise
        return list(response.removals)

    def report_delivery(
        self, job_id: str, *, spool: str, attempt: int, left_out: str = ""
    ) -> ReportDeliveryResponse | None:
        """Say how much of a job a spool has delivered, and return what others still hold.

        Args:
            job_id: The job.
            spool: The spool's id.
            attempt: All that the spool holds of attempts up to this one is delivered; 0 for none.
            left_out: What of it will not arrive, and why; empty for nothing.

        Returns:
            Nothing is pending where the server does not know the job; None by an older server,
            which does not know what others hold.
        """
        request = ReportDeliveryRequest(
            job=job_name(job_id), spool=spool, delivered_attempt=attempt, left_out=left_out
        )
        try:
            return call(
                self._channel.workers.ReportDelivery, request, until=time.monotonic() + _PATIENCE
            )
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return ReportDeliveryResponse()
            raise

    def finish_removal(self, job_id: str) -> None:
        """Say that everything of a deleted job is gone."""
        call(
            self._channel.workers.FinishRemoval,
            FinishRemovalRequest(job=job_name(job_id)),
            until=time.monotonic() + _PATIENCE,
        )

    def sweep_runs(self, holder: str, *, limit: int) -> list[SweepRun]:
        """Return runs that this holder is to write from the record; none of an older server.

        Args:
            holder: Who asks; what it was given before stays its own.
            limit: At most so many in all.
        """
        try:
            response = call(
                self._channel.workers.ClaimSweepRuns,
                ClaimSweepRunsRequest(holder=holder, limit=limit, with_trials=True),
                until=time.monotonic() + _PATIENCE,
            )
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.UNIMPLEMENTED:
                return []
            raise
        return list(response.runs)

    def set_sweep_run(self, request: SetSweepRunRequest) -> TrackingRun:
        """Say which run it is, and whether it is written; return what the record holds."""
        return call(
            self._channel.workers.SetSweepRun, request, until=time.monotonic() + _PATIENCE
        ).tracking

    def set_run(
        self,
        job_id: str,
        run: RunId,
        *,
        expected: str,
        url: str = "",
        complete: bool = False,
        missing: str = "",
        left_out: str = "",
        deleted: bool = False,
    ) -> RunId | None:
        """Say which run holds the job's results, unless the record holds another by now.

        Args:
            job_id: The job.
            run: The run.
            expected: The run id that the record is believed to hold; empty for none.
            url: The run's page; one that the record would refuse is left out.
            complete: All results have arrived, or nobody waits for the others.
            missing: Which have not; empty for none.
            left_out: What will not arrive, and why; empty for nothing.
            deleted: Somebody deleted the run before they had.

        Returns:
            The run that the record holds; None where the server does not know the job.
        """
        if url and not is_web_address(url):
            log.warning("%s: %a is not a usable URL, and is left out", job_id, url)
            url = ""
        request = SetTrackingRunRequest(
            job=job_name(job_id),
            expected_run_id=expected,
            tracking=TrackingRun(
                run_id=run.run_id,
                experiment_id=run.experiment_id,
                url=url,
                complete=complete,
                missing=missing,
                left_out=left_out,
                deleted=deleted,
            ),
        )
        try:
            recorded = call(
                self._channel.workers.SetTrackingRun,
                request,
                until=time.monotonic() + _PATIENCE,
            ).tracking
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return RunId(recorded.run_id, recorded.experiment_id)
