"""Telling the server how an attempt ended, while its lease is still good."""

import logging
from contextlib import suppress

import grpc

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.workers_pb2 import FinishJobRequest, Lease
from talweg.worker.channels import RECORD_PATIENCE, Channel, ServerAwayError, call
from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.execution import outcomes
from talweg.worker.execution.checkpoints.interface import Checkpoints
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.lease import LeaseKeeper

# A message that is too large is the second.
_REFUSALS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)

log = logging.getLogger(__name__)


class Ending:
    """The last calls of one attempt."""

    def __init__(
        self,
        channel: Channel,
        lease: Lease,
        *,
        control: JobControl,
        keeper: LeaseKeeper,
        checkpoints: Checkpoints,
        clock: Clock = SYSTEM,
    ) -> None:
        """Send nothing yet.

        Args:
            channel: To the server.
            lease: Of the attempt.
            control: Knows why it was to stop.
            keeper: Of its lease; has what is left to report.
            checkpoints: The attempt's.
            clock: This process's.
        """
        self._channel, self._lease, self._clock = channel, lease, clock
        self._control, self._keeper, self._checkpoints = control, keeper, checkpoints
        self.lease_is_good = False
        """Whether an attempt that is lost may still tell what it has reached."""

    def finish(self, outcome: Outcome) -> bool:
        """Tell the server; whether the attempt counts.

        Args:
            outcome: How it ended; changed where what is left to report cannot be kept.
        """
        stop = self._control.stopped
        if stop is not None and stop.reason == "lost":
            log.warning("%s: attempt %d is lost: %s", self._lease.job, self._lease.attempt, stop)
            if self.lease_is_good:
                with suppress(ServerAwayError, grpc.RpcError, OSError):
                    self._keeper.tell_before_leaving()
                    lost = Outcome(
                        state=Job.QUEUED, cause=Outcome.WORKER_LOST, message=stop.detail
                    )
                    self._send(FinishJobRequest(lease=self._lease, outcome=lost))
            return False
        if outcome.state not in (Job.QUEUED, Job.PAUSED):
            self._checkpoints.job_ends()
        try:
            self._send(self._last_request(outcome))
        except (ServerAwayError, grpc.RpcError) as exc:
            log.warning("%s: attempt %d is lost: %s", self._lease.job, self._lease.attempt, exc)
            return False
        return True

    def _last_request(self, outcome: Outcome) -> FinishJobRequest:
        try:
            report = self._keeper.last_report()
        except OSError as exc:
            # The spool's disk is full: results are lost, so the job has not succeeded.
            outcome.CopyFrom(outcomes.of_error(exc))
            report = None
        return FinishJobRequest(lease=self._lease, outcome=outcome, last_report=report)

    def _send(self, request: FinishJobRequest) -> None:
        tells_kept = request.last_report.HasField("kept")
        try:
            self._call(request)
        except grpc.RpcError as exc:
            if exc.code() not in _REFUSALS or not request.HasField("last_report"):
                raise
            log.error("%s: the last report was refused: %s", self._lease.job, exc.details())
            self._keeper.tell_the_rest()
            request.ClearField("last_report")
            self._call(request)
        else:
            self._keeper.last_was_taken()
        if tells_kept:
            self._checkpoints.clean_up()

    def _call(self, request: FinishJobRequest) -> None:
        call(
            self._channel.workers.FinishJob,
            request,
            until=self._keeper.end,
            record_patience=RECORD_PATIENCE,
            clock=self._clock,
        )
