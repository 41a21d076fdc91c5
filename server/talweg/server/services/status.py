"""What works, what does not, and what to do about it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from talweg.server.errors import DatabaseUnavailable
from talweg.server.queueing.presence import WorkerAnswer
from talweg.server.store import overview
from talweg.server.store.overview import Backlog
from talweg.server.store.record.database import Database
from talweg.spec.local.room import why_no_room
from talweg.v1.jobs_pb2 import Job

# A result is under way for a while before this says that MLflow does not take it.
_PATIENCE_S = 60.0

NO_BROKER = (
    "the broker is unreachable: jobs are accepted, but workers are not told of them",
    "Start Redis or Valkey, and check TALWEG_BROKER_URL of server and workers. `talweg up` "
    "restarts its own broker; see logs/broker.log in its data folder.",
)
"""What is wrong, and what to do."""


class Workers(Protocol):
    """Asks the workers."""

    async def workers(self) -> Mapping[str, WorkerAnswer] | None:
        """Return those that answer by name; None without a broker."""


class Deliveries(Protocol):
    """Knows how fast results arrive in MLflow."""

    @property
    def per_second(self) -> float:
        """How many jobs were delivered per second lately; 0 if none in the last minute."""


@dataclass(frozen=True)
class Component:
    """A part that the service needs."""

    name: str
    """Such as broker."""

    problem: str = ""
    """What is wrong; empty if nothing is."""

    remedy: str = ""
    """What to do about it."""


@dataclass(frozen=True)
class WorkerState:
    """A worker that answers."""

    name: str
    """Its name, with that of its machine."""

    queues: Sequence[str]
    """The queues that it takes jobs from."""

    problem: str
    """Why it takes none now; empty if it does."""

    jobs: Sequence[str]
    """The names of the jobs that it runs."""


@dataclass(frozen=True)
class Status:
    """The state of everything that the server knows."""

    version: str
    """Of the server."""

    components: Sequence[Component]
    """All that it needs."""

    workers: Sequence[WorkerState]
    """By name; none without a broker."""

    backlog: Backlog
    """Results that are not in MLflow yet."""

    delivered_per_second: float
    """How fast they arrive there."""

    jobs: Mapping[int, int]
    """How many jobs that have not ended are in each state."""


@dataclass(frozen=True)
class _Record:
    running: Mapping[str, Sequence[str]]
    backlog: Backlog
    jobs: Mapping[int, int]


class StatusService:
    """Finds out what works."""

    def __init__(
        self,
        database: Database,
        workers: Workers,
        deliveries: Deliveries,
        *,
        folders: Sequence[Path] = (),
    ) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            workers: Asks the workers.
            deliveries: Knows how fast results arrive in MLflow.
            folders: Of the blob store and of uploads, where they are on this machine.
        """
        self._folders = folders
        self._database = database
        self._workers = workers
        self._deliveries = deliveries

    async def status(self) -> Status:
        """Ask every part; trouble of one is in the answer."""
        database = Component("database")
        record = _Record({}, Backlog(0, 0.0), {})
        try:
            # First: on a full disk the record can be read, and tells what runs and what waits.
            record = await self._database.reading(_read)
            await self._database.check()
        except (DatabaseUnavailable, DBAPIError) as exc:
            database = Component(
                "database",
                f"the record cannot be read or written: {getattr(exc.__cause__, 'orig', exc)}",
                "Check that its disk has free space and its folder can be written, or that "
                "PostgreSQL runs (TALWEG_DATABASE_URL), and that no other program holds a lock on "
                "it. Jobs that run go on for ten minutes meanwhile. Where its file is damaged, "
                "restore a backup (`talweg restore`).",
            )
        answers = await self._workers.workers()
        workers = _states(answers or {}, record.running)
        broker = Component("broker") if answers is not None else Component("broker", *NO_BROKER)
        rate = self._deliveries.per_second
        return Status(
            version=version("talweg"),
            components=(
                database,
                broker,
                await asyncio.to_thread(_blobs, self._folders),
                _workers(workers, record.jobs, knows_workers=answers is not None),
                _delivery(record.backlog, rate),
            ),
            workers=workers,
            backlog=record.backlog,
            delivered_per_second=rate,
            jobs=record.jobs,
        )

    async def workers(self) -> Sequence[WorkerState] | None:
        """Return the workers that answer, by name; None if there is no broker to ask them by.

        Raises:
            DatabaseUnavailable: The record does not answer.
        """
        answers = await self._workers.workers()
        if answers is None:
            return None
        return _states(answers, await self._database.reading(overview.running))


def _read(connection: Connection) -> _Record:
    return _Record(
        overview.running(connection), overview.backlog(connection), overview.open_jobs(connection)
    )


def _blobs(folders: Sequence[Path]) -> Component:
    problems = []
    for folder in folders:
        try:
            why = why_no_room(folder)
        except OSError as exc:
            why = f"{folder} cannot be read: {exc.strerror}"
        if why:
            problems.append(why)
    if not problems:
        return Component("blobs")
    return Component(
        "blobs",
        f"{'; '.join(problems)}: checkpoints, models and uploads may not be stored",
        "Free space there. Jobs go on; what they could not store, their next checkpoint included, "
        "is then stored by itself.",
    )


def _states(
    answers: Mapping[str, WorkerAnswer], running: Mapping[str, Sequence[str]]
) -> Sequence[WorkerState]:
    return [
        WorkerState(name, answer.queues, answer.unfit, running.get(name, ()))
        for name, answer in answers.items()
    ]


def _workers(
    workers: Sequence[WorkerState], jobs: Mapping[int, int], *, knows_workers: bool
) -> Component:
    if not knows_workers:
        return Component("workers", "unknown: they are asked through the broker")
    if not workers:
        if jobs.get(Job.RUNNING):
            # One that trains on all cores may be slow to answer.
            return Component("workers")
        return Component(
            "workers",
            "no worker answers",
            "Start one with `talweg worker`, with TALWEG_ADDRESS and TALWEG_BROKER_URL of this "
            "server. `talweg up` restarts its own; see logs/worker-0.log in its data folder.",
        )
    unfit = [worker for worker in workers if worker.problem]
    if not unfit:
        return Component("workers")
    return Component(
        "workers",
        "; ".join(f"{worker.name} takes no jobs: {worker.problem}" for worker in unfit[:3]),
        "Free space there, or start a worker elsewhere.",
    )


def _delivery(backlog: Backlog, rate: float) -> Component:
    if not backlog.num_jobs or rate or backlog.oldest_seconds < _PATIENCE_S:
        return Component("delivery")
    return Component(
        "delivery",
        f"the results of {backlog.num_jobs} ended jobs are not in MLflow, and none arrived in the "
        "last minute",
        "Check that MLflow answers at the workers' TALWEG_TRACKING_URI, and that their machines "
        "run; results wait in the spool of the worker and are not lost. See its log.",
    )
