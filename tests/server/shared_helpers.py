"""The server's helper processes, shared by the tests of a session.

Each takes half a second of a core to start, and a test asks it one or two questions. They run in
an event loop of their own, since each test has another.
"""

import asyncio
import atexit
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from talweg.server.concurrency.helper_process import HelperProcess
from talweg.server.services.comparison.process import StatisticsProcess
from talweg.server.services.search.process import SearchProcess


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@cache
def _started(kind: Callable[[], HelperProcess]) -> HelperProcess:
    process = kind()
    atexit.register(lambda: asyncio.run_coroutine_threadsafe(process.close(), _loop()).result(60))
    return process


class SharedStatistics(StatisticsProcess):
    """Statistics by the session's process."""

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Have a question answered."""
        return await _ask(StatisticsProcess, question)


class SharedSearch(SearchProcess):
    """Search by the session's process."""

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Have a question answered."""
        return await _ask(SearchProcess, question)


async def _ask(kind: Callable[[], HelperProcess], question: Mapping[str, Any]) -> dict[str, Any]:
    asked = _started(kind).ask(question)
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asked, _loop()))
