"""A few threads in which callers take turns."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from talweg.server.concurrency.fair_executor import FairExecutor

WAIT_S = 30


class Held:
    """Work that notes its beginning, and goes on once it may."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_go_on = threading.Event()
        self.first_has_begun = threading.Event()

    def work(self, name: str) -> str:
        self.begun.append(name)
        self.first_has_begun.set()
        assert self.may_go_on.wait(WAIT_S)
        return name


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def one_thread(held: Held) -> AsyncIterator[FairExecutor]:
    executor = FairExecutor(1, name="test")
    yield executor
    held.may_go_on.set()
    await asyncio.to_thread(executor.close)


async def begin(executor: FairExecutor, held: Held, caller: str, name: str) -> asyncio.Task[str]:
    """Have a call stand in the line."""
    task = asyncio.create_task(executor.run(caller, held.work, name))
    await asyncio.sleep(0)
    return task


async def test_callers_take_turns(one_thread: FairExecutor, held: Held) -> None:
    tasks = [await begin(one_thread, held, "a", f"a{number}") for number in range(5)]
    tasks += [await begin(one_thread, held, "b", f"b{number}") for number in range(2)]
    tasks += [await begin(one_thread, held, "c", "c0")]
    held.may_go_on.set()
    assert await asyncio.gather(*tasks) == ["a0", "a1", "a2", "a3", "a4", "b0", "b1", "c0"]
    assert held.begun == ["a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"]


async def test_what_is_cancelled_while_it_waits_never_begins(
    one_thread: FairExecutor, held: Held
) -> None:
    first = await begin(one_thread, held, "a", "first")
    left = await begin(one_thread, held, "a", "left")
    last = await begin(one_thread, held, "a", "last")
    left.cancel()
    held.may_go_on.set()
    assert [await first, await last] == ["first", "last"]
    assert held.begun == ["first", "last"]
    assert left.cancelled()


async def test_a_thread_stays_busy_though_its_caller_has_left(
    one_thread: FairExecutor, held: Held
) -> None:
    first = await begin(one_thread, held, "a", "first")
    assert await asyncio.to_thread(held.first_has_begun.wait, WAIT_S)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    left = await begin(one_thread, held, "b", "left")
    last = await begin(one_thread, held, "b", "last")
    # It waits for a turn still, and not for the thread: so it can leave.
    left.cancel()
    held.may_go_on.set()
    assert await last == "last"
    assert held.begun == ["first", "last"]


async def test_a_turn_that_comes_as_its_caller_leaves_is_passed_on(
    one_thread: FairExecutor, held: Held
) -> None:
    held.may_go_on.set()
    assert await one_thread.run("a", held.work, "first") == "first"
    # Idle again, or about to be: whoever comes now waits at most for that.
    for number in range(20):
        leaves = await begin(one_thread, held, "a", "leaves")
        stays = await begin(one_thread, held, "b", f"stays {number}")
        leaves.cancel()
        async with asyncio.timeout(WAIT_S):
            assert await stays == f"stays {number}"


async def test_an_exception_is_its_callers_and_frees_the_thread(one_thread: FairExecutor) -> None:
    def fails() -> None:
        raise ValueError("wrong")

    for _ in range(3):
        with pytest.raises(ValueError, match="wrong"):
            await one_thread.run("a", fails)
