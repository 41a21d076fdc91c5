"""A few threads in which callers take turns."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import ParamSpec, TypeVar

from talweg.server.concurrency.threads import started_threads

P = ParamSpec("P")
R = TypeVar("R")


class FairExecutor:
    """Runs functions in a few threads; where more wait than run, callers take turns.

    So a caller with a thousand calls is served beside one with a single call, and not before it.
    To be used on one event loop.
    """

    def __init__(self, num_threads: int, *, name: str) -> None:
        """Start the threads.

        Args:
            num_threads: How many functions may run at once.
            name: What the threads' names begin with.
        """
        self._threads = started_threads(num_threads, name=name)
        self._num_idle = num_threads
        # Those that wait, by caller; the caller whose turn is next stands first.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(
        self, caller: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a function in a thread, once it is the caller's turn.

        Where this is cancelled before the function has begun, it never begins.

        Args:
            caller: Who asks; equal texts are one caller.
            function: What is run.
            *args: Its arguments.
            **kwargs: Its arguments by name.

        Returns:
            What the function returns.
        """
        loop = asyncio.get_running_loop()
        await self._turn(caller)
        work = self._threads.submit(function, *args, **kwargs)

        def ended(_: Future[R]) -> None:
            # In the thread. A function that nobody waits for any more still keeps its thread busy.
            with suppress(RuntimeError):  # The loop has ended.
                loop.call_soon_threadsafe(self._free)

        work.add_done_callback(ended)
        return await asyncio.wrap_future(work)

    def close(self) -> None:
        """Wait for the functions that run."""
        self._threads.shutdown()

    async def _turn(self, caller: str) -> None:
        if self._num_idle:
            self._num_idle -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The turn came in the same moment: it is the next one's.
                self._free()
            raise

    def _free(self) -> None:
        while self._waiting:
            caller, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[caller] = turns
            if not turn.done():
                turn.set_result(None)
                return
        self._num_idle += 1
