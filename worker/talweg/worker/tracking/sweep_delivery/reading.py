"""The record of a sweep, as the delivery reads it through the server."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager

import grpc

from talweg.v1.jobs_pb2 import Event, GetJobRequest, Job, WatchJobRequest
from talweg.v1.sweeps_pb2 import (
    AnswerSweepRequest,
    AnswerSweepResponse,
    GetSweepRequest,
    ListTrialsRequest,
    ListTrialsResponse,
    Sweep,
)
from talweg.worker.channels import Channel, ServerAwayError, call, is_away

_PATIENCE = 5.0
# Statistics of many values take the server's process some time.
_LONGEST_ANSWER = 120.0
_LONGEST_WATCH = 60.0


class SweepReader:
    """What a report is read by. Usable from several threads.

    Every method raises ServerAwayError where the server does not answer.
    """

    def __init__(self, channel: Channel) -> None:
        """Keep the channel; nothing is sent.

        Args:
            channel: To the server.
        """
        self._channel = channel

    def sweep(self, name: str) -> Sweep:
        """Return the sweep as it is now."""
        request = GetSweepRequest(name=name)
        return call(self._channel.sweeps.GetSweep, request, until=_in(_PATIENCE))

    def answer(self, name: str) -> AnswerSweepResponse:
        """Return what it has shown."""
        request = AnswerSweepRequest(name=name)
        method = self._channel.sweeps.AnswerSweep
        return call(method, request, until=_in(_LONGEST_ANSWER), timeout=_LONGEST_ANSWER)

    def trials(self, request: ListTrialsRequest) -> ListTrialsResponse:
        """Return a page of its trials."""
        return call(self._channel.sweeps.ListTrials, request, until=_in(_PATIENCE))

    def job(self, name: str) -> Job | None:
        """Return a job; None where it was deleted."""
        try:
            return call(self._channel.jobs.GetJob, GetJobRequest(name=name), until=_in(_PATIENCE))
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise

    @contextmanager
    def events(self, job: str) -> Iterator[Iterator[Event]]:
        """Return the events of a job that has ended; none of a deleted one."""
        with closing(self._watch(job)) as events:
            yield events

    def _watch(self, job: str) -> Generator[Event]:
        stream = self._channel.jobs.WatchJob(WatchJobRequest(name=job), timeout=_LONGEST_WATCH)
        try:
            for response in stream:
                yield response.event
        except grpc.RpcError as exc:
            if exc.code() == grpc.StatusCode.NOT_FOUND:
                return
            if is_away(exc):
                raise ServerAwayError(f"no answer: {exc.details()}") from exc
            raise
        finally:
            stream.cancel()


def _in(seconds: float) -> float:
    return time.monotonic() + seconds
