"""What the client for asyncio does beside its event loop, and what it leaves behind."""

import threading
from collections.abc import Iterator

import pytest
from tests.client.faulty import FaultyServer
from tests.client.samples import sample

from talweg.client import AsyncClient, FailedPrecondition


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
