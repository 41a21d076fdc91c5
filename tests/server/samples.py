"""Specs and parts that server tests share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from tests.server.shared_helpers import SharedSearch, SharedStatistics

from talweg.server.errors import ServerError
from talweg.server.services.attempts.leases import LeaseClaim, LeaseService
from talweg.server.services.attempts.reaper import reap
from talweg.server.services.attempts.reports import Report
from talweg.server.services.attempts.tracking import TrackingService
from talweg.server.services.cancellation import CancellationService
from talweg.server.services.comparison.answer import AnswerService
from talweg.server.services.comparison.compare import ComparisonService
from talweg.server.services.jobs import JobService
from talweg.server.services.pausing import PauseService
from talweg.server.services.search.asking import AskingService
from talweg.server.services.sessions.closing import ClosingService
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.sweeps.answering import SweepAnswerService
from talweg.server.services.sweeps.control import SweepControlService
from talweg.server.services.sweeps.creation import CreationService
from talweg.server.services.sweeps.lookup import SweepService
from talweg.server.services.sweeps.running.runner import SweepRunner
from talweg.server.store import events, jobs, metrics
from talweg.server.store.record.database import Changes, Database
from talweg.server.store.record.rows import AttemptRow, JobRow
from talweg.server.store.record.schema import attempts
from talweg.server.store.record.schema import jobs as jobs_table
from talweg.spec import from_dict
from talweg.v1.jobs_pb2 import Environment, Event, Job, MetricPoint, MetricSummary, Outcome
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE
from talweg.v1.spec_pb2 import JobSpec

RELEASED = Outcome(state=Job.QUEUED, message="shutting down")

SUCCEEDED = Outcome(state=Job.SUCCEEDED, message="done")


def spec(**fields: Any) -> JobSpec:
    """Return a small, valid job; `fields` replace its own."""
    return from_dict(
        {
            "task": "regression",
            "dataset": "diabetes",
            "model": {"mlp": {"hidden": [8]}},
            "loss": "mse",
            "training": {"steps": 5},
            "outputs": {"model": False, "plots": False},
            **fields,
        }
    )


def point(step: int, **values: float) -> Event:
    """Return a metric event; `test_mae=1` becomes the metric test/mae."""
    named = {name.replace("_", "/", 1): value for name, value in values.items()}
    return Event(metrics=MetricPoint(step=step, values=named))


def summary(name: str, last: float, *, step: int = 5) -> MetricSummary:
    """Return a metric's summary."""
    goal = MAXIMIZE if name.endswith("accuracy") else MINIMIZE
    return MetricSummary(
        name=name, first=9, first_step=1, last=last, last_step=step, best=last, count=2, goal=goal
    )


def held(row: JobRow) -> LeaseClaim:
    """Return the lease that a claimed job's row holds."""
    return LeaseClaim(row.name, row.attempt, row.lease_token)


@dataclass
class Status:
    """What is known of broker and workers, as a test wishes."""

    broker_answers: bool = True
    served: dict[str, bool] = field(default_factory=dict)

    unfit: dict[str, str] = field(default_factory=dict)

    def has_worker(self, queue: str) -> bool | None:
        return self.served.get(queue)

    def why_unfit(self, queue: str) -> str:
        return self.unfit.get(queue, "")


class Rules:
    """All services over one database, as one object."""

    def __init__(self, database: Database, changes: list[Changes]) -> None:
        self.database = database
        self.changes = changes
        self.status = Status()
        self.statistics = SharedStatistics()
        self.sessions = SessionService(database, self.statistics)
        self.submission = SubmissionService(database, take_looks=self.sessions.take_looks)
        self.jobs = JobService(database, self.status)
        self.leases = LeaseService(database, lease=timedelta(seconds=30), max_lost_attempts=5)
        self.cancellation = CancellationService(database)
        self.pausing = PauseService(database)
        self.comparison = ComparisonService(database)
        self.answers = AnswerService(self.statistics)
        self.tracking = TrackingService(database)
        self.search = SharedSearch()
        self.asking = AskingService(self.search)
        self.runner = SweepRunner(database, self.submission, self.asking, self.statistics)
        self.creation = CreationService(database, self.submission, self.runner.wake)
        self.sweeps = SweepService(database)
        self.control = SweepControlService(database, self.runner.wake)
        self.closing = ClosingService(database, self.sessions)
        self.sweep_answers = SweepAnswerService(
            database, self.comparison, self.answers, self.sessions
        )

    async def submit(self, given: JobSpec | None = None, request_id: str = "") -> JobRow:
        answer = await self.submission.submit(Submission(given or spec(), request_id))
        assert isinstance(answer, JobRow)
        return answer

    async def submit_many(self, specs: Sequence[JobSpec]) -> list[JobRow]:
        answers = await self.submission.submit_many([Submission(each) for each in specs])
        rows = [answer for answer in answers if isinstance(answer, JobRow)]
        assert len(rows) == len(specs), [str(a) for a in answers if isinstance(a, ServerError)]
        return rows

    async def claim(self, limit: int = 1, **more: Any) -> list[JobRow]:
        arguments: dict[str, Any] = {
            "queue": "default",
            "worker": "w1",
            "devices": ["cpu"],
            "request_id": "",
            "limit": limit,
        }
        return await self.leases.claim(**(arguments | more))

    async def running(self, given: JobSpec | None = None) -> JobRow:
        """Return a job that a worker has just claimed."""
        row = await self.submit(given)
        (claimed,) = await self.claim(
            queue=row.queue, devices=["cpu", "cuda"], worker=f"worker of {row.id}"
        )
        assert claimed.id == row.id
        return claimed

    async def finished(
        self,
        given: JobSpec | None = None,
        *,
        state: int = Job.SUCCEEDED,
        beside: Mapping[str, float] | None = None,
        environment: Environment | None = None,
        **values: float,
    ) -> JobRow:
        """Return a job that has ended.

        Args:
            given: Its spec.
            state: In which it ends.
            beside: Metrics of other predictors, under their whole names.
            environment: What it ran on.
            **values: Metrics, as in `point`.
        """
        row = await self.running(given)
        summaries = [
            summary(n if "/" in n else n.replace("_", "/", 1), v) for n, v in values.items()
        ]
        last = Report(1, [point(5, **values)] if values else [], summaries)
        outcome = Outcome(state=state, environment=environment)  # type: ignore[arg-type]
        await self.leases.finish(held(row), outcome, last)
        return self.get(row)

    def get(self, row: JobRow) -> JobRow:
        with self.database.read() as connection:
            return jobs.get(connection, row.id)

    def events(self, row: JobRow) -> list[Event]:
        with self.database.read() as connection:
            return events.after(connection, row.seq, 0, limit=100_000)

    def kinds(self, row: JobRow) -> list[str]:
        """Return what happened to a job, a word an event; states by their names."""
        found = []
        for event in self.events(row):
            kind = str(event.WhichOneof("kind"))
            if kind == "state":
                kind = Job.State.Name(event.state.state)
            found.append(kind)
        return found

    def attempts(self, row: JobRow) -> list[AttemptRow]:
        """Return all attempts of a job, the first one first."""
        statement = select(attempts).where(attempts.c.job == row.seq).order_by(attempts.c.attempt)
        with self.database.read() as connection:
            return [AttemptRow(*attempt) for attempt in connection.execute(statement)]

    def alter(self, row: JobRow, **values: Any) -> None:
        """Change the record behind the services' back."""
        with self.database.write() as tx:
            tx.connection.execute(
                update(jobs_table).where(jobs_table.c.seq == row.seq).values(**values)
            )

    def lose_worker(self, row: JobRow) -> None:
        """Has a job's lease run out."""
        self.alter(row, lease_until=1)

    def close(self) -> None:
        self.submission.close()


def reap_now(database: Database, max_lost: int = 5) -> list[JobRow]:
    with database.write() as tx:
        return reap(tx, max_lost)


def summaries(rules: Rules, row: JobRow) -> dict[str, float]:
    with rules.database.read() as connection:
        return {each.name: each.last for each in metrics.of_job(connection, row.seq)}
