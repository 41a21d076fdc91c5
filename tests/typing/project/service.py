"""A service that follows jobs by asyncio: what each call gives."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import assert_type

from talweg.client import (
    AsyncClient,
    AsyncComparison,
    AsyncJob,
    AsyncStoredDataset,
    AsyncSweep,
    AsyncSweepAnswer,
    JobMetrics,
    JobResult,
    JobState,
    TalwegError,
    Trial,
)
from talweg.v1.catalog_pb2 import LossEntry
from talweg.v1.jobs_pb2 import Event
from talweg.v1.sweeps_pb2 import SweepEvent

SPEC = {"task": "regression", "dataset": "diabetes", "loss": "huber"}


async def submit(client: AsyncClient) -> list[AsyncJob]:
    """Submit jobs."""
    assert_type(await client.submit("job.yaml"), AsyncJob)
    with_errors = await client.submit_many([SPEC], return_errors=True)
    assert_type(with_errors, list[AsyncJob | TalwegError])
    return await client.submit_many([SPEC])


async def follow(client: AsyncClient, job: AsyncJob) -> float:
    """Follow a job to its result."""
    watched: AsyncGenerator[Event] = job.watch()
    async for event in watched:
        assert_type(event, Event)
    assert_type(job.logs(), AsyncIterator[Event])
    assert_type(client.jobs(), AsyncIterator[AsyncJob])
    assert_type(await job.wait(30), AsyncJob)
    assert_type(await client.wait([job]), list[AsyncJob])
    assert_type(job.state, JobState)
    assert_type(await job.metrics(), JobMetrics)
    assert_type(await job.cancel(), AsyncJob)
    assert_type(await job.download(), list[Path])
    result = await job.result()
    assert_type(result, JobResult)
    return result.metrics["test/mae"]


async def look(client: AsyncClient, job: AsyncJob) -> None:
    """Compare, upload, and ask for the catalogue."""
    comparison = await client.compare([job])
    assert_type(comparison, AsyncComparison)
    assert_type(await comparison.series(), list[list[list[tuple[int, float]]]])
    assert_type(await client.upload("houses.csv"), AsyncStoredDataset)
    assert_type(client.stored_datasets(), AsyncIterator[AsyncStoredDataset])
    assert_type(await client.losses(), list[LossEntry])


async def sweep(client: AsyncClient) -> None:
    """Create a sweep, follow it, and read its answer."""
    created = await client.sweep("sweep.yaml")
    assert_type(created, AsyncSweep)
    assert_type(client.sweeps(), AsyncIterator[AsyncSweep])
    watched: AsyncGenerator[SweepEvent] = created.watch()
    async for event in watched:
        assert_type(event, SweepEvent)
    assert_type(await created.wait(30), AsyncSweep)
    assert_type(created.trials(), AsyncIterator[Trial])
    assert_type(created.jobs(), AsyncIterator[AsyncJob])
    assert_type(await created.pause(), AsyncSweep)
    answer = await created.answer()
    assert_type(answer, AsyncSweepAnswer)
    assert_type(answer.comparison, AsyncComparison | None)


async def main() -> list[float]:
    """Follow all jobs at once."""
    async with AsyncClient() as client:
        assert_type(client, AsyncClient)
        jobs = await submit(client)
        return await asyncio.gather(*(follow(client, job) for job in jobs))


if __name__ == "__main__":
    asyncio.run(main())
