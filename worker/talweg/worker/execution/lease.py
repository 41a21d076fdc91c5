"""Keeping a lease while a job runs: a thread that reports once a second.

The attempt must not go on where another may have begun:

- a call that is refused as stale (ABORTED) stops the attempt at its next step;
- so does a server that cannot be reached for 0.9 of the lease. While it answers that its record
  is away the attempt goes on, since nobody can be given the job, but removes no checkpoint;
- code that never comes to its next step is cut off with its process, after its grace period, or
  5 s after its time limit;
- and so is code that holds the interpreter's lock, and with it this thread, for a whole lease.

A report that is refused for what it holds does not end the attempt, nor keep its lease from being
renewed.
"""

import logging
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

import grpc

from talweg.v1.jobs_pb2 import LogLine
from talweg.v1.workers_pb2 import Lease, ReportProgressRequest, ReportProgressResponse
from talweg.worker.channels import RECORD_PATIENCE, Channel, call, is_away, is_record_away
from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.execution.checkpoints.interface import Checkpoints
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.outbox import Outbox
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.training import Stop
from talweg.worker.training.interface import StopReason

SAFE_SHARE = 0.9
"""Of the lease: not renewed for so long, the attempt stops."""
EXIT_STATUS = 70

_PERIOD = 1.0
# Long enough that a tiny job needs no report before its last one.
_FIRST_LOOK, _FIRST_REPORT = 0.05, 0.25
# How long an attempt may take to end once it must stop; who cancels says so.
_PATIENCE: dict[StopReason, float] = {
    "pause": 300.0,
    "shutdown": 20.0,
    "lost": 10.0,
    "time_limit": 30.0,
}
# And how long until it has seen that: no result is lost with the rest of a step. A limit that the
# spec sets must hold within one long operation too.
_TIME_TO_SEE: dict[StopReason, float] = {"time_limit": 5.0}

log = logging.getLogger(__name__)


class LeaseKeeper:
    """Renews one attempt's lease and carries its news. A context manager."""

    def __init__(
        self,
        channel: Channel,
        lease: Lease,
        *,
        time_to_live: float,
        claimed_at: float,
        control: JobControl,
        reporter: JobReporter,
        checkpoints: Checkpoints,
        cut_off: Callable[[Stop], None],
        end_process: Callable[[int], None] = os._exit,
        clock: Clock = SYSTEM,
    ) -> None:
        """Do nothing yet.

        Args:
            channel: To the server.
            lease: Of the attempt.
            time_to_live: Seconds that the lease lasts without renewal.
            claimed_at: `clock.monotonic()` before it was claimed.
            control: Told what stops the attempt.
            reporter: Asked for news.
            checkpoints: Asked for what the record should hold of them.
            cut_off: Tells the server and the spool how an attempt ends that does not come to its
                next step. The process ends right after it.
            end_process: Ends the process.
            clock: This process's.
        """
        self._channel, self._lease, self._clock = channel, lease, clock
        self._time_to_live = time_to_live
        self.renewed_at = claimed_at
        """`clock.monotonic()` before the last successful renewal."""
        self._record_away_at = float("-inf")
        self._control, self._reporter = control, reporter
        self._checkpoints = checkpoints
        self._cut_off, self._end_process = cut_off, end_process
        self._over = clock.signal()
        self._thread = clock.task(self._keep, name="lease")
        self._outbox = Outbox(
            lease,
            taken=checkpoints.taken,
            left_out=lambda text: reporter.log(LogLine.ERROR, text),
        )
        self._stopping: Stop | None = None
        self._cut_off_at = self._cancel_by = self._see_by = float("inf")

    def __enter__(self) -> Self:
        """Begin to keep the lease."""
        self._arm()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End with the attempt; what is left to say is `last_report`'s."""
        self._over.set()
        self._thread.join()
        self._clock.disarm()

    def renew(self) -> None:
        """Renew the lease now, before the attempt has anything to tell.

        Raises:
            ServerAwayError: No answer while the lease lasts.
            grpc.RpcError: The lease is not ours any more.
        """
        until = self.renewed_at + self._time_to_live
        sent_at, response = self._ask(ReportProgressRequest(lease=self._lease), until=until)
        self._renewed(sent_at, response)

    def last_report(self) -> ReportProgressRequest:
        """Return what is left to tell, for the call that ends the attempt.

        To be called once the keeper has ended. What waited for an answer is sent first, until the
        lease has run out.

        Raises:
            ServerAwayError: No answer while the lease lasts.
            grpc.RpcError: The lease is not ours any more.
            OSError: The spool cannot be written.
        """
        self._empty_outbox()
        self._take_news(last=True)
        return self._outbox.first()

    def last_was_taken(self) -> None:
        """Note that the server has taken the last report with the end."""
        self._outbox.was_taken()

    def tell_the_rest(self) -> None:
        """Send the last report for itself, since it was refused with the end.

        Raises:
            ServerAwayError: No answer while the lease lasts.
            grpc.RpcError: The lease is not ours any more.
            OSError: The spool cannot be written.
        """
        self._empty_outbox()
        # What was left out, mostly.
        self._outbox.add(self._reporter.take_news(last=True), None)
        self._empty_outbox()

    def tell_before_leaving(self) -> None:
        """Send what there is to tell of an attempt that ends while its lease is still good.

        The next attempt goes on from the checkpoints that the record names by then. To be called
        once the keeper has ended.

        Raises:
            ServerAwayError: No answer while the lease lasts.
            grpc.RpcError: The lease is not ours any more.
            OSError: The spool cannot be written.
        """
        self._empty_outbox()
        self._take_news()
        self._empty_outbox()

    def _take_news(self, *, last: bool = False) -> None:
        # In this order: the report that names a checkpoint holds all that was told before it.
        kept = self._checkpoints.take_news()
        self._outbox.add(self._reporter.take_news(last=last), kept)

    def _empty_outbox(self) -> None:
        while self._outbox:
            try:
                self._call(self._outbox.first())
            except grpc.RpcError as exc:
                # Raises unless it was for what the report holds.
                self._call(ReportProgressRequest(lease=self._lease))
                self._outbox.was_refused(_words(exc))
            else:
                self._outbox.was_taken()

    def _call(self, report: ReportProgressRequest) -> None:
        self.renewed_at, _ = self._ask(report, until=self.end)

    def _ask(
        self, report: ReportProgressRequest, *, until: float
    ) -> tuple[float, ReportProgressResponse]:
        """Report until the server answers, and return when that try began, and the answer."""
        sent_at = self._clock.monotonic()

        def ask(
            request: ReportProgressRequest, /, *, timeout: float | None = None
        ) -> ReportProgressResponse:
            # The lease counts from the try that was answered: the first may be minutes old.
            nonlocal sent_at
            sent_at = self._clock.monotonic()
            response: ReportProgressResponse = self._channel.workers.ReportProgress(
                request, timeout=timeout
            )
            return response

        response = call(
            ask,
            report,
            until=until,
            timeout=self._timeout,
            record_patience=RECORD_PATIENCE,
            clock=self._clock,
        )
        return sent_at, response

    @property
    def end(self) -> float:
        """`clock.monotonic()` at which another attempt may begin, as far as is known."""
        return max(self.renewed_at, self._record_away_at) + self._time_to_live

    @property
    def _timeout(self) -> float:
        return min(5.0, self._time_to_live / 3)

    def _keep(self) -> None:
        waited = 0.0
        while waited < _FIRST_REPORT and not self._over.wait(_FIRST_LOOK):
            waited += _FIRST_LOOK
            if self._reporter.has_begun:
                break
        period = min(_PERIOD, self._time_to_live / 5)
        while not self._over.is_set():
            self._beat()
            self._over.wait(period)

    def _beat(self) -> None:
        try:
            if not self._outbox:
                self._take_news()
        except Exception as exc:
            # A full disk, mostly. Results that cannot be kept must not be taken for results.
            self._control.fail(exc)
        until = self._clock.monotonic() + _PERIOD
        while self._report() and self._outbox:
            if self._over.is_set() or self._clock.monotonic() > until:
                break
        self._look_at_the_clock()

    def _report(self) -> bool:
        """Send what comes first, and renew the lease; whether more may be sent at once."""
        report = self._outbox.first()
        refusal = self._send(report)
        if refusal is None:
            self._outbox.was_taken()
            return True
        if is_away(refusal):
            return False
        if refusal.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.NOT_FOUND):
            self._control.stop("lost", refusal.details() or "another attempt holds the lease")
            return False
        log.error("%s: a report was refused: %s", self._lease.job, _words(refusal))
        # Whatever it was, the lease must not run out for it.
        bare = ReportProgressRequest(lease=self._lease)
        if not report.sequence or self._send(bare) is not None:
            return False
        self._outbox.was_refused(_words(refusal))
        return True

    def _send(self, report: ReportProgressRequest) -> grpc.RpcError | None:
        """Return what the server says against it; None where it has taken it."""
        sent_at = self._clock.monotonic()
        try:
            response = self._channel.workers.ReportProgress(report, timeout=self._timeout)
        except grpc.RpcError as exc:
            if is_record_away(exc) and sent_at < self.renewed_at + RECORD_PATIENCE:
                self._record_away_at = sent_at
                self._control.go_on_until(sent_at + SAFE_SHARE * self._time_to_live)
                self._arm()
            return exc
        self._renewed(sent_at, response)
        return None

    def _renewed(self, sent_at: float, response: ReportProgressResponse) -> None:
        self._time_to_live = response.time_to_live.ToTimedelta().total_seconds()
        self.renewed_at = sent_at
        self._control.extend(sent_at + SAFE_SHARE * self._time_to_live)
        self._arm()
        if response.HasField("cancel"):
            grace = response.cancel.grace_period.ToTimedelta().total_seconds()
            self._cancel_by = sent_at + grace
            self._control.stop("cancel", response.cancel.reason)
        elif response.HasField("pause"):
            self._control.stop("pause", response.pause.reason)

    def _look_at_the_clock(self) -> None:
        """End the process where the attempt should have stopped and did not."""
        stop, now = self._control.stopped, self._clock.monotonic()
        if stop is None:
            return
        if stop != self._stopping:
            patience = _PATIENCE.get(stop.reason)
            by = self._cancel_by if patience is None else now + patience
            self._cut_off_at = min(self._cut_off_at, by)
            self._see_by = now + _TIME_TO_SEE.get(stop.reason, float("inf"))
            self._stopping = stop
        is_late = now >= self._cut_off_at
        is_unseen = now >= self._see_by and not self._control.is_answered
        if not (is_late or is_unseen) or self._over.is_set():
            return
        log.error(
            "%s: attempt %d was asked to stop (%s) but has not reached its next step; ending its "
            "process",
            self._lease.job, self._lease.attempt, stop.reason,
        )  # fmt: skip
        try:
            self._cut_off(stop)
        except Exception:
            log.exception("%s: aborted", self._lease.job)
        finally:
            self._end_process(EXIT_STATUS)

    def _arm(self) -> None:
        """Arm the watchdog, which ends the process unless the lease is renewed in time."""
        self._clock.arm(max(0.1, self.end - self._clock.monotonic()))


def _words(error: grpc.RpcError) -> str:
    return error.details() or error.code().name
