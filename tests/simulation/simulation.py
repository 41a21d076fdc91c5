"""Runs schedules, and makes those smaller that show a fault."""

import asyncio
import gc
import logging
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from sqlalchemy import select
from tests.simulation.invariants import BrokenError, SeenJob
from tests.simulation.record import Record
from tests.simulation.schedules import Schedule, Step, make
from tests.simulation.server import Kinds, complete
from tests.simulation.worker import METRIC
from tests.simulation.world import World

from talweg.server.queueing.waiting import QueueStatus
from talweg.server.services.jobs import JobService
from talweg.server.store import events, leases
from talweg.server.store.record.database import Changes, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import jobs
from talweg.v1.jobs_pb2 import Job, Outcome

_IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Failure:
    """A schedule that shows a fault."""

    schedule: Schedule
    """With no step that is not needed, once it was made smaller."""
    problem: str
    """Which invariant does not hold, and where."""
    calls: Sequence[str]
    """Those that reached the server, in order."""

    def __str__(self) -> str:
        calls = "\n".join(self.calls)
        return f"seed {self.schedule.seed}: {self.problem}\n{self.schedule}\ncalls:\n{calls}"


@dataclass
class Tally:
    """What a run of many schedules has seen. Its numbers are those of a seed, on any machine."""

    schedules: int = 0
    steps: int = 0
    jobs: int = 0
    attempts: int = 0
    events: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count another run too."""
        for name in ("schedules", "steps", "jobs", "attempts", "events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.outcomes += other.outcomes

    def __str__(self) -> str:
        ends = ", ".join(f"{number:,} {name}" for name, number in sorted(self.outcomes.items()))
        return (
            f"{self.schedules:,} schedules with {self.steps:,} steps: {self.jobs:,} jobs in "
            f"{self.attempts:,} attempts with {self.events:,} events ended ({ends})"
        )


class Simulator:
    """Runs schedules one after another over one record in memory. A context manager."""

    def __init__(self, kinds: Kinds | None = None) -> None:
        self._kinds = kinds or Kinds()
        self._world: World | None = None
        self.tally = Tally()
        self.trace: Sequence[str] = ()
        """The calls of the last schedule that reached the server, in order."""

    def __enter__(self) -> Self:
        self._record = Record(self._now, self._monotonic, self._committed)
        self._folder = Path(
            tempfile.mkdtemp(
                prefix="talweg-simulation-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None
            )
        )
        self._level = logging.root.manager.disable
        # What goes wrong on purpose fills pages.
        logging.disable(logging.CRITICAL)
        self._random = random.getstate()
        # What is imported stays: no collection need look at it.
        gc.collect()
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        random.setstate(self._random)
        logging.disable(self._level)
        self._record.close()
        shutil.rmtree(self._folder)

    def run(self, schedule: Schedule) -> Failure | None:
        """Run a schedule; return what is wrong, if anything."""
        return asyncio.run(self._run_many([schedule]))

    def run_seeds(self, seeds: Sequence[int]) -> Failure | None:
        """Run the schedules of many seeds, up to the first that shows a fault."""
        return asyncio.run(self._run_many(map(make, seeds)))

    async def _run_many(
        self, schedules: "Iterator[Schedule] | Sequence[Schedule]"
    ) -> Failure | None:
        # Watches wait for futures of a running loop. Nothing else uses it.
        for schedule in schedules:
            failure = self._run(schedule)
            if failure is not None:
                return failure
        return None

    def _run(self, schedule: Schedule) -> Failure | None:
        self._record.clear()
        # What the workers add to their pauses.
        random.seed(schedule.seed)
        folder = self._folder / "world"
        self._world = world = World(schedule, self._record, self._kinds, folder)
        try:
            world.run()
            self._check_record(world)
        except Exception as exc:
            kind = "" if isinstance(exc, BrokenError) else f"{type(exc).__name__}: "
            return Failure(schedule, f"{kind}{exc}", world.trace)
        finally:
            world.close()
            shutil.rmtree(folder, ignore_errors=True)
            self._world = None
            self.trace = world.trace
            self.tally.schedules += 1
            self.tally.steps += len(schedule.steps)
        return None

    def _now(self) -> int:
        return 0 if self._world is None else self._world.now()

    def _monotonic(self) -> float:
        return 0.0 if self._world is None else self._world.elapsed

    def _committed(self, changes: Changes) -> None:
        if self._world is not None:
            self._world.committed(changes)

    def _check_record(self, world: World) -> None:
        """Compare the record with what was seen, once all is over."""
        with self._record.read() as connection:
            rows = [JobRow(*row) for row in connection.execute(select(jobs))]
            names = {row.name for row in rows}
            if names != set(world.jobs.values()) or len(names) != len(rows):
                raise BrokenError(
                    f"taken were {sorted(world.jobs.values())}, but there are {names}"
                )
            for row in rows:
                job = world.invariants.job(row.id)
                log = events.after(connection, row.seq, 0, limit=100_000)
                if [event.cursor for event in log] != list(range(1, row.last_cursor + 1)):
                    raise BrokenError(
                        f"{row.id}: its log has gaps, or other than {row.last_cursor}"
                    )
                if log[1:] != job.events:
                    raise BrokenError(f"{row.id}: its log is not what was told of it")
                self._check_row(row, job)
                attempts = leases.attempts_of(cast(Transaction, _Reading(connection)), row.seq)
                for each in attempts:
                    if each.ending is None:
                        raise BrokenError(f"{row.id}: attempt {each.attempt} has no end")
                self.tally.attempts += len(attempts)
                self.tally.events += len(log)
        for row in rows:
            self._check_metrics(row)

    def _check_row(self, row: JobRow, job: SeenJob) -> None:
        if row.state != job.state or not row.ended or row.lease_token or row.lease_until:
            raise BrokenError(f"{row.id} is {row.state} in the record, and {job.state} in its log")
        outcome = Outcome.FromString(row.outcome or b"")
        expected = {
            Job.SUCCEEDED: Outcome.CAUSE_UNSPECIFIED,
            Job.CANCELLED: Outcome.CANCEL_REQUEST,
            Job.FAILED: Outcome.WORKER_LOST,
        }
        if expected.get(outcome.state) != outcome.cause:
            raise BrokenError(f"{row.id} ended as nobody asked: {outcome}")
        self.tally.jobs += 1
        self.tally.outcomes[Job.State.Name(outcome.state)] += 1

    def _check_metrics(self, row: JobRow) -> None:
        service = JobService(self._record, cast(QueueStatus, None))
        found = complete(service.metrics(row.name, include_points=True))
        steps = [point.metrics.step for point in found.points if METRIC in point.metrics.values]
        if steps != sorted(set(steps)):
            raise BrokenError(f"{row.id}: steps are given twice: {steps}")
        if row.state != Job.SUCCEEDED:
            return
        total = row.job_spec.training.steps
        if steps != list(range(1, total + 1)):
            raise BrokenError(f"{row.id}: of {total} steps the record gives {steps}")
        (summary,) = (each for each in found.summaries if each.name == METRIC)
        if (summary.count, summary.first_step, summary.last_step) != (total, 1, total):
            raise BrokenError(f"{row.id}: of {total} steps the summary says {summary}")


@dataclass(frozen=True)
class _Reading:
    connection: Any


def shrink(failure: Failure, run: Callable[[Schedule], Failure | None]) -> Failure:
    """Leave out steps as long as what is left shows a fault.

    Args:
        failure: A schedule that shows one.
        run: Runs a schedule.

    Returns:
        A schedule in which no step can be left out.
    """
    size = max(1, len(failure.schedule.steps) // 2)
    while True:
        smaller = next(filter(None, map(run, _without(failure.schedule, size))), None)
        if smaller is not None:
            failure = smaller
        elif size == 1:
            return failure
        else:
            size = max(1, size // 2)


def _without(schedule: Schedule, size: int) -> Iterator[Schedule]:
    steps: Sequence[Step] = schedule.steps
    for begin in range(0, len(steps), size):
        left = [*steps[:begin], *steps[begin + size :]]
        if left:
            yield Schedule(schedule.seed, left)
