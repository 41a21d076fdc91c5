"""The process that computes statistics: killed, idle, and left by a caller."""

import asyncio

import pytest

from talweg.server.errors import InternalError
from talweg.server.services.comparison.process import StatisticsProcess


async def test_a_caller_that_leaves_takes_no_answer_from_the_next() -> None:
    process = StatisticsProcess()
    slow = {"groups": [{"values": [float(each % 7) for each in range(10_000)]}]}
    try:
        first = asyncio.create_task(process.ask(slow))
        others = [
            asyncio.create_task(process.ask({"groups": [{"values": [float(number), 9.0]}]}))
            for number in range(4)
        ]
        while process.pid is None:
            await asyncio.sleep(0)
        first.cancel()
        others[1].cancel()
        answers = await asyncio.gather(first, *others, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in answers] == [
            *(True, False, True, False, False)
        ]
        means = [each["groups"][0]["mean"] for each in answers if isinstance(each, dict)]
        assert means == [4.5, 5.5, 6.0]
    finally:
        await process.close()


async def test_a_process_that_fails_is_started_again() -> None:
    process = StatisticsProcess()
    good = {"groups": [{"values": [1.0, 2.0]}]}
    with pytest.raises(InternalError):
        await process.ask({"groups": "none"})
    first = process._process
    assert (await process.ask(good))["groups"][0]["mean"] == 1.5
    assert process._process is first
    assert first is not None
    first.kill()
    with pytest.raises(InternalError):
        await process.ask(good)
    assert (await process.ask(good))["groups"][0]["n"] == 2
    # As after a time without questions.
    process._kill()
    assert process.pid is None
    assert (await process.ask(good))["groups"][0]["n"] == 2
    last = process._process
    await process.close()
    assert last is not None
    assert last.returncode is not None
