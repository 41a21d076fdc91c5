"""What the client for asyncio does beside its event loop, and what it leaves behind."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.client.faulty import FaultyServer
from tests.client.samples import sample

from talweg.client import AsyncClient, AsyncComparison, FailedPrecondition, NotFound
from talweg.v1 import jobs_pb2


async def test_what_a_worker_is_to_predict_for_is_read_in_a_thread(
    faulty: FaultyServer,
) -> None:
    readers: list[threading.Thread] = []

    class Column(list[float]):
        def __iter__(self) -> Iterator[float]:
            readers.append(threading.current_thread())
            return super().__iter__()

    class Frame:
        columns, index = ("age",), (0,)

        def to_csv(self, *, index: bool) -> str:
            readers.append(threading.current_thread())
            return "age\n0.5\n"

    async with AsyncClient(faulty.address) as client:
        job = await client.submit(sample())
        for data in ({"age": Column([0.5])}, Frame()):
            with pytest.raises(FailedPrecondition):
                await job.predict(data, remote=True)
    assert len(readers) == 2
    assert threading.main_thread() not in readers


async def test_points_that_cannot_be_read_leave_nothing_behind() -> None:
    rows = [
        jobs_pb2.CompareJobsResponse.Row(job=f"jobs/{name}", state=jobs_pb2.Job.SUCCEEDED)
        for name in "ab"
    ]
    response = jobs_pb2.CompareJobsResponse(
        metric="val/mae",
        groups=[jobs_pb2.CompareJobsResponse.Group(rows=[row]) for row in rows],
    )
    open_reads = 0

    async def read(job: str, metric: str) -> list[tuple[int, float]]:
        nonlocal open_reads
        open_reads += 1
        try:
            if job == "jobs/b":
                raise NotFound(f"there is no {job}")
            await asyncio.sleep(60)
        finally:
            open_reads -= 1
        return []

    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    with pytest.raises(NotFound):
        await asyncio.wait_for(AsyncComparison.of(response, ["loss"], read).series(), 30)
    assert open_reads == 0
    gc.collect()
    assert complaints == []
