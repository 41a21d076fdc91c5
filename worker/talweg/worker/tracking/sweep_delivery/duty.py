"""Writes what is due of all sweeps, in a thread beside the delivery of jobs."""

import logging
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

from talweg.worker.channels import Channel, ServerAwayError
from talweg.worker.tracking.errors import TrackingAwayError, TrackingError
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.sweep_delivery.reading import SweepReader
from talweg.worker.tracking.sweep_delivery.summary import SummaryDelivery

_PERIOD, _LONGEST_PAUSE = 1.0, 60.0
_MOST_HELD = 10

log = logging.getLogger(__name__)


class SweepDuty:
    """Asks the server for runs that are due, and writes them. Any machine may do it."""

    def __init__(self, record: Record, runs: Runs, channel: Channel) -> None:
        """Begin idle.

        Args:
            record: The server.
            runs: MLflow.
            channel: To the server.
        """
        self._record, self._runs, self._reader = record, runs, SweepReader(channel)
        self._holder = uuid.uuid4().hex
        self._summaries: dict[str, SummaryDelivery] = {}
        self._not_before: dict[str, tuple[float, float]] = {}
        # One at a time: a summary may take seconds, in which jobs' results are not to wait.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweeps")
        self._round: Future[int] | None = None
        self._next_at = 0.0

    def begin(self) -> None:
        """Begin a round where one is due, without waiting for it."""
        if self._round is not None:
            if not self._round.done():
                return
            self._end(self._round)
            self._round = None
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _PERIOD
            self._round = self._thread.submit(self.carry_out)

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def carry_out(self) -> int:
        """Write what is due, and return how many are done.

        Raises:
            ServerAwayError: The server does not answer.
            TrackingAwayError: MLflow does not answer.
        """
        done = 0
        for due in self._record.sweep_runs(self._holder, limit=_MOST_HELD):
            name = due.sweep
            if self._not_before.get(name, (0.0, 0.0))[0] > time.monotonic():
                continue
            if name not in self._summaries:
                self._summaries[name] = SummaryDelivery(
                    name, record=self._record, runs=self._runs, reader=self._reader
                )
            try:
                if self._summaries[name].advance(due):
                    del self._summaries[name]
                    self._not_before.pop(name, None)
                    done += 1
            except (ServerAwayError, TrackingAwayError):
                raise
            except (TrackingError, grpc.RpcError) as exc:
                self._try_later(name, str(exc))
            except Exception as exc:
                # One sweep's trouble must not keep the others' summaries.
                log.exception("%s", name)
                self._try_later(name, repr(exc))
        return done

    def _try_later(self, name: str, why: str) -> None:
        _, pause = self._not_before.get(name, (0.0, _PERIOD / 2))
        pause = min(2 * pause, _LONGEST_PAUSE)
        log.warning("%s: its summary is tried again in %.0f s: %s", name, pause, why)
        self._not_before[name] = (time.monotonic() + pause, pause)

    def _end(self, over: "Future[int]") -> None:
        try:
            over.result()
        except (ServerAwayError, TrackingAwayError, grpc.RpcError) as exc:
            log.info("summaries of sweeps wait: %s", exc)
