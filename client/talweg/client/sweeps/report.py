"""The report of a sweep, as the client reads it."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from talweg.client._errors import NotFound
from talweg.reports import ReportContents, render
from talweg.reports import read as read_from
from talweg.v1.jobs_pb2 import Event
from talweg.v1.sweeps_pb2 import (
    AnswerSweepRequest,
    AnswerSweepResponse,
    GetSweepRequest,
    ListTrialsRequest,
    ListTrialsResponse,
)
from talweg.v1.sweeps_pb2 import Sweep as SweepMessage

if TYPE_CHECKING:
    from talweg.client._client import Client
    from talweg.client.sweeps._sweeps import Sweep

__all__ = ["read", "render"]


def read(client: "Client", sweep: "Sweep") -> ReportContents:
    """Read what a report of a sweep shows.

    Args:
        client: Reads the jobs.
        sweep: One that has ended, or that goes on.

    Raises:
        TalwegError: An error of the server.
    """
    return read_from(_Reader(client), sweep.name)


class _Reader:
    """The service by a client's connection."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._call, self._stubs = client._connection.call, client._connection.sweeps

    def sweep(self, name: str) -> SweepMessage:
        return self._call(self._stubs.GetSweep, GetSweepRequest(name=name))

    def answer(self, name: str) -> AnswerSweepResponse:
        return self._call(self._stubs.AnswerSweep, AnswerSweepRequest(name=name))

    def trials(self, request: ListTrialsRequest) -> ListTrialsResponse:
        return self._call(self._stubs.ListTrials, request)

    @contextmanager
    def events(self, job: str) -> Iterator[Iterator[Event]]:
        with closing(self._watch(job)) as events:
            yield events

    def _watch(self, job: str) -> Generator[Event]:
        try:
            with closing(self._client.job(job).watch()) as events:
                yield from events
        except NotFound:
            # It was deleted.
            return
