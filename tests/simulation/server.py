"""The server's services as they are, called one after another, over the record in memory."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import grpc

from talweg.server.calls.statuses import code_of, to_status
from talweg.server.errors import ServerError
from talweg.server.events.hub import Hub
from talweg.server.queueing.dispatcher import MAX_WAKE_UPS
from talweg.server.servicers.workers import WorkerServicer
from talweg.server.services.attempts.leases import LeaseService
from talweg.server.services.attempts.reaper import Reaper
from talweg.server.services.cancellation import CancellationService
from talweg.server.services.pausing import PauseService
from talweg.server.services.submission.grouped import GroupedWrites, Item, Result
from talweg.server.services.submission.preparing import (
    Prepared,
    Submission,
    prepare,
    request_digest,
)
from talweg.server.services.submission.stored_data import NOTHING_KNOWN
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.submission.uri_data import ReadSpec
from talweg.server.services.watching import WatchService
from talweg.server.store import events, queues
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import (
    CancelJobRequest,
    PauseJobRequest,
    ResumeJobRequest,
    SubmitJobRequest,
)
from talweg.v1.spec_pb2 import JobSpec

R = TypeVar("R")

LEASE = timedelta(seconds=6)
MAX_LOST_ATTEMPTS = 5


class RpcFailure(grpc.RpcError):
    """A call that was not answered, or refused."""

    def __init__(self, code: grpc.StatusCode, details: str, status: bytes = b"") -> None:
        super().__init__(f"{code.name}: {details}")
        self._code, self._details, self.status = code, details, status

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return (("grpc-status-details-bin", self.status),) if self.status else ()


class AtOnce(GroupedWrites[Item, Result]):
    """Writes each call for itself: one call comes at a time, and nothing here runs tasks."""

    async def write(self, items: Sequence[Item]) -> list[Result]:
        return await self._database.writing(self._operation, items)


class QuickSubmission(SubmissionService):
    """Takes specs as checked: they differ in numbers that do not matter to the checks."""

    def __init__(self, database: Database, new_id: Callable[[], str]) -> None:
        super().__init__(database)
        self._writes = AtOnce(database, self._writes._operation)
        self._new_id = new_id

    async def _prepare(
        self, submissions: Any, caller: str, retry_of: str
    ) -> list[Prepared | ServerError]:
        return [
            replace(
                _prepared(),
                job=replace(
                    _prepared().job,
                    id=self._new_id(),
                    spec=each.spec.SerializeToString(deterministic=True),
                    request_id=each.request_id,
                    request_digest=request_digest(each, ""),
                ),
            )
            for each in submissions
        ]


@cache
def _prepared() -> Prepared:
    prepared = prepare(Submission(job_spec()), ReadSpec(job_spec()), NOTHING_KNOWN, (), "")
    assert isinstance(prepared, Prepared), prepared
    return prepared


@cache
def job_spec() -> JobSpec:
    """Return a job of which every part has a default, or is not asked for by what is simulated.

    It is left as it is, since workers write a whole spec into each checkpoint.
    """
    return from_dict(
        {
            "task": "regression",
            "dataset": "diabetes",
            "model": {"mlp": {"hidden": [8]}},
            "loss": "mse",
            "training": {"steps": 5},
            "outputs": {"model": False, "plots": False, "checkpoint": True},
        }
    )


@dataclass(frozen=True)
class Kinds:
    """Of which classes the services are: those of the server, or others with a fault in them."""

    leases: type[LeaseService] = LeaseService
    reaper: type[Reaper] = Reaper
    watching: type[WatchService] = WatchService
    cancellation: type[CancellationService] = CancellationService


class Server:
    """One run of the server's process."""

    def __init__(self, record: Database, kinds: Kinds, new_id: Callable[[], str]) -> None:
        self._record = record
        leases = kinds.leases(record, lease=LEASE, max_lost_attempts=MAX_LOST_ATTEMPTS)
        nothing: Any = None
        self._workers = WorkerServicer(leases, nothing, nothing, nothing, nothing, nothing)
        self._submission = QuickSubmission(record, new_id)
        self._cancellation = kinds.cancellation(record)
        self._pausing = PauseService(record)
        self._reaper = kinds.reaper(record, max_lost_attempts=MAX_LOST_ATTEMPTS, lease=LEASE)
        self.hub = Hub()
        self.watching = kinds.watching(record, self.hub)

    def answer(self, method: str, request: Any) -> Any:
        """Return what a call gives.

        Raises:
            RpcFailure: It is refused.
        """
        of_people: Any = getattr(self, f"_{method}", None)
        try:
            if of_people is not None:
                return complete(of_people(request))
            return complete(getattr(self._workers, method)(request, None))
        except ServerError as exc:
            status = to_status(exc)
            raise RpcFailure(code_of(status), status.message, status.SerializeToString()) from exc

    async def _SubmitJob(self, request: SubmitJobRequest) -> str:
        row = await self._submission.submit(Submission(request.spec, request.request_id))
        assert isinstance(row, JobRow)
        return row.name

    async def _CancelJob(self, request: CancelJobRequest) -> None:
        await self._cancellation.cancel(
            request.name,
            grace=request.grace_period.ToTimedelta(),
            force=request.force,
            reason=request.reason,
        )

    async def _PauseJob(self, request: PauseJobRequest) -> None:
        await self._pausing.pause(request.name, reason="")

    async def _ResumeJob(self, request: ResumeJobRequest) -> None:
        await self._pausing.resume(request.name)

    def reap(self) -> None:
        """Take jobs from workers that are lost."""
        complete(self._reaper.look())

    def num_wake_ups(self) -> int:
        """Return how many wake-up messages should lie on the queue."""
        waiting = complete(self._record.reading(queues.waiting))
        return min(sum(each.num_jobs for each in waiting.values()), MAX_WAKE_UPS)

    def nudge_watchers(self) -> None:
        """Tell watchers who have missed something."""
        watched = self.hub.watched
        self.hub.check(complete(self._record.reading(events.last_cursors, watched)))

    def close(self) -> None:
        self._submission.close()


def complete(work: Coroutine[Any, Any, R]) -> R:
    """Return what a coroutine gives that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        result: R = done.value
        return result
    work.close()
    raise AssertionError("it waits, though all is there")
