"""Writes what is due of all sweeps, in a thread beside the delivery of jobs."""

import logging
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

from talweg.v1.sweeps_pb2 import Sweep
from talweg.v1.workers_pb2 import SweepRun
from talweg.worker.channels import Channel, ServerAwayError
from talweg.worker.tracking.errors import TrackingAwayError, TrackingError
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.sweep_delivery.reading import SweepReader
from talweg.worker.tracking.sweep_delivery.setting_delivery import SettingDelivery
from talweg.worker.tracking.sweep_delivery.summary import SummaryDelivery

_PERIOD, _LONGEST_PAUSE = 1.0, 60.0
_MOST_HELD = 50
# What is held may be handed to another after a minute: it is asked for again before.
_LONGEST_ROUND = 20.0
_MOST_SWEEPS = 10

Key = tuple[str, int]
"""A sweep's name, and the number of its trial; 0 for its summary."""

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
        self._writers: dict[Key, SummaryDelivery | SettingDelivery] = {}
        self._not_before: dict[Key, tuple[float, float]] = {}
        self._known: dict[str, Sweep] = {}
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
        until = time.monotonic() + _LONGEST_ROUND
        for due in self._record.sweep_runs(self._holder, limit=_MOST_HELD):
            if time.monotonic() > until:
                break
            key = (due.sweep, due.trial.number)
            if self._not_before.get(key, (0.0, 0.0))[0] > time.monotonic():
                continue
            try:
                if key not in self._writers:
                    self._writers[key] = self._writer(due)
                if self._writers[key].advance(due):
                    del self._writers[key]
                    self._not_before.pop(key, None)
                    done += 1
            except (ServerAwayError, TrackingAwayError):
                raise
            except (TrackingError, grpc.RpcError) as exc:
                self._try_later(key, str(exc))
            except Exception as exc:
                # One sweep's trouble must not keep the others' runs.
                log.exception("%s", due.sweep)
                self._try_later(key, repr(exc))
        return done

    def _writer(self, due: SweepRun) -> SummaryDelivery | SettingDelivery:
        if not due.HasField("trial"):
            return SummaryDelivery(
                due.sweep, record=self._record, runs=self._runs, reader=self._reader
            )
        if due.sweep not in self._known:
            while len(self._known) >= _MOST_SWEEPS:
                self._known.pop(next(iter(self._known)))
            # What is read of it never changes.
            self._known[due.sweep] = self._reader.sweep(due.sweep)
        sweep = self._known[due.sweep]
        return SettingDelivery(sweep, record=self._record, runs=self._runs, reader=self._reader)

    def _try_later(self, key: Key, why: str) -> None:
        _, pause = self._not_before.get(key, (0.0, _PERIOD / 2))
        pause = min(2 * pause, _LONGEST_PAUSE)
        of_trial = f", trial {key[1]}" if key[1] else ""
        log.warning("%s%s: its run is tried again in %.0f s: %s", key[0], of_trial, pause, why)
        self._not_before[key] = (time.monotonic() + pause, pause)

    def _end(self, over: "Future[int]") -> None:
        try:
            over.result()
        except (ServerAwayError, TrackingAwayError, grpc.RpcError) as exc:
            log.info("runs of sweeps wait: %s", exc)
