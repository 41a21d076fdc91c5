"""A sweep over a record, and a worker that computes what a function says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.server.samples import Rules, held, spec, summary

from talweg.server.services.attempts.reports import Report
from talweg.server.services.sweeps.messages import SweepView, sweep_message
from talweg.server.store import jobs
from talweg.server.store.record.rows import JobRow
from talweg.spec import from_dict, job_id, to_dict
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, SweepSpec, Trial, UpdateSweepRequest

LOSSES = ["mse", "mae", "log_cosh"]
RATES = [0.001, 0.01, 0.1]
AT_RATE = "optimizer.adamw.learning_rate"

Result = Mapping[str, float] | int
"""Metrics of a job that SUCCEEDED; or the state in which it ended otherwise."""


def sweep_spec(**fields: Any) -> SweepSpec:
    """Return a small sweep over three losses; `fields` replace its own."""
    given = {"base": to_dict(spec()), "space": [{"path": "loss", "values": LOSSES}], **fields}
    return from_dict(given, SweepSpec, path="")


def loss_of(job: JobSpec) -> str:
    return str(job.loss.WhichOneof("kind"))


def rate_of(job: JobSpec) -> float:
    return float(job.optimizer.adamw.learning_rate)


def errors(job: JobSpec) -> dict[str, float]:
    """Return errors by loss and rate: mae is best, and each loss at 0.01."""
    of_loss = {"mse": 3.0, "mae": 1.0, "log_cosh": 2.0}[loss_of(job)]
    of_rate = abs(rate_of(job) - 0.01)
    noise = ((job.training.seed * 7919) % 13) / 100
    return {"val/mae": of_loss + of_rate + noise, "test/mae": 10 * of_loss + of_rate + 2 * noise}


@dataclass
class Worked:
    """What the worker has seen."""

    most_at_once: int = 0
    """Jobs that waited or ran."""


class Sweeping:
    """A sweep, its runner and its worker, in steps."""

    def __init__(
        self, rules: Rules, name: str, result: Callable[[JobSpec], Result] = errors
    ) -> None:
        """Keep them.

        Args:
            rules: All services.
            name: The sweep's.
            result: What the worker computes.
        """
        self.rules = rules
        self.name = name
        self.result = result
        self.worked = Worked()

    @classmethod
    async def begin(
        cls,
        rules: Rules,
        given: SweepSpec | None = None,
        result: Callable[[JobSpec], Result] = errors,
        **fields: Any,
    ) -> "Sweeping":
        row = await rules.creation.create(
            given or sweep_spec(**fields), "", validate_only=False, caller=""
        )
        return cls(rules, row.name, result)

    async def work(self, limit: int = 100) -> int:
        """Has the worker run jobs that wait; return how many."""
        open_states = (Job.QUEUED, Job.RUNNING, Job.PAUSED)
        counts = {each.state: each.count for each in (await self.get()).jobs}
        at_once = sum(counts.get(state, 0) for state in open_states)
        self.worked.most_at_once = max(self.worked.most_at_once, at_once)
        claimed = await self.rules.claim(limit)
        for row in claimed:
            await self.finish(row)
        return len(claimed)

    async def finish(self, row: JobRow) -> None:
        """Has a job that was claimed end as the function says."""
        result = self.result(row.job_spec)
        if isinstance(result, int):
            await self.rules.leases.finish(held(row), Outcome(state=result), None)  # type: ignore[arg-type]
            return
        # After whatever the test has reported.
        report = Report(99, [], [summary(name, value) for name, value in result.items()])
        await self.rules.leases.finish(held(row), Outcome(state=Job.SUCCEEDED), report)

    async def run(self, rounds: int = 60) -> Sweep:
        """Has runner and worker take turns until the sweep has ended."""
        for _ in range(rounds):
            await self.rules.runner.step()
            if (await self.get()).state in (Sweep.SUCCEEDED, Sweep.FAILED, Sweep.CANCELLED):
                return await self.get()
            await self.work()
        raise AssertionError(f"it goes on: {await self.get()}")

    async def get(self) -> Sweep:
        return sweep_message(await self.rules.sweeps.get(self.name))

    async def view(self) -> SweepView:
        return await self.rules.sweeps.get(self.name)

    async def trials(self, *, best_first: bool = False, states: Any = ()) -> list[Trial]:
        page = await self.rules.sweeps.list_trials(
            self.name, best_first=best_first, states=states, page_size=1000, page_token=""
        )
        return list(page.trials)

    async def events(self, after: int = 0) -> list[SweepEvent]:
        """Return the events of a sweep that has ended."""
        return [event async for event in self.rules.sweeps.watch(self.name, after)]

    def jobs(self, trial: Trial) -> list[JobSpec]:
        """Return the specs of a trial's jobs."""
        with self.rules.database.read() as connection:
            rows = [jobs.get(connection, job_id(name)) for name in trial.jobs]
        return [row.job_spec for row in rows]

    async def shape(self) -> list[Any]:
        """Return what must be the same however often the server was killed."""
        listed = await self.trials()
        ranked = await self.trials(best_first=True)
        return [
            [
                (
                    each.number,
                    each.label,
                    each.is_final,
                    Trial.State.Name(each.state),
                    each.value if each.HasField("value") else None,
                    [job.training.seed for job in self.jobs(each)],
                )
                for each in listed
            ],
            [each.number for each in ranked],
            Sweep.State.Name((await self.get()).state),
            [each.label for each in (await self.get()).best],
        ]


async def counts(sweeping: Sweeping) -> dict[str, int]:
    """Count the jobs of a sweep by the names of their states."""
    return {Job.State.Name(each.state): each.count for each in (await sweeping.get()).jobs}


async def update_sweep(rules: Rules, name: str, **values: int) -> Sweep.State.ValueType:
    """Extend a sweep; return its state then."""
    row = await rules.control.update(UpdateSweepRequest(name=name, **values))
    return row.state  # type: ignore[return-value]
