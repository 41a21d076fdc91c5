"""Settings of a session, and a worker that ends their jobs with the errors that a test wants."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.server.samples import Rules, held, spec, summary

from talweg.server.services.attempts.reports import Report
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Checkpoint, Job, Outcome
from talweg.v1.sessions_pb2 import SessionAnswer
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Kept

NAME = "sessions/s"
Values = Callable[[int], float | None]
"""An error by the seed; None of a job that diverges."""
# Of what is no question of transactions.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def job(loss: str, seed: int, **fields: Any) -> JobSpec:
    return spec(loss=loss, session="s", training={"steps": 5, "seed": seed}, **fields)


async def submit(rules: Rules, loss: str, seeds: Sequence[int], **fields: Any) -> list[JobRow]:
    return await rules.submit_many([job(loss, seed, **fields) for seed in seeds])


async def finish(rules: Rules, row: JobRow, value: float | None) -> None:
    """Have a claimed job end with an error, or diverge."""
    metrics = [] if value is None else [summary("val/mae", value)]
    state = Job.DIVERGED if value is None else Job.SUCCEEDED
    await rules.leases.finish(held(row), Outcome(state=state), Report(9, [], metrics))


async def end(rules: Rules, values: Values) -> None:
    """Have the worker end all jobs that wait, with an error by their seed."""
    for row in await rules.claim(100):
        await finish(rules, row, values(row.job_spec.training.seed))


async def proposed(rules: Rules, loss: str, values: Values, num: int = 12) -> SessionAnswer:
    """Submit a setting, have its jobs end, and return its answer."""
    await submit(rules, loss, range(num))
    await end(rules, values)
    return (await rules.sessions.get(NAME)).answers[-1]


def keep_checkpoint(rules: Rules, row: JobRow) -> None:
    """Let a job have kept its last checkpoint."""
    last = Checkpoint(name=f"{row.name}/checkpoints/000000000005-1", step=5)
    rules.alter(row, checkpoints=Kept(checkpoints=[last]).SerializeToString())
