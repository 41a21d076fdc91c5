"""Watch several jobs at once, with their events in one stream: a task each, and no threads."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from talweg.client.aio._jobs import AsyncJob
    from talweg.v1.jobs_pb2 import Event


# Servers allow 500 to one address, of which other clients need some. Further jobs are watched from
# their beginning when a watch has ended: no event is missed.
MAX_WATCHES: Final = 250


@dataclass(frozen=True)
class Watched:
    """An event of a job."""

    job: "AsyncJob"
    """The job."""
    event: "Event"
    """The event."""


class Watchers:
    """Watch jobs from start to end; an async context manager."""

    def __init__(
        self, jobs: Sequence["AsyncJob"], *, only_new: bool = False, until: float | None = None
    ) -> None:
        """Take the jobs; the watches start on entry.

        Args:
            jobs: The jobs.
            only_new: Leave out the events that the jobs already reflect.
            until: When to give up, on the monotonic clock; never if None.
        """
        self._jobs, self._only_new, self._until = jobs, only_new, until
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Watchers":
        """Start the watches."""
        import asyncio

        self._free = asyncio.Semaphore(MAX_WATCHES)
        # None when the watch of a job is over.
        self._came: asyncio.Queue[Watched | Exception | None] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._watch(job)) for job in self._jobs]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Cancel the watches."""
        import asyncio

        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def events(self) -> AsyncGenerator[Watched]:
        """Yield events until all jobs have ended.

        Raises:
            WaitTimeout: At `until`.
            TalwegError: A job can no longer be watched.
        """
        num_open = len(self._tasks)
        while num_open:
            came = await self._came.get()
            if isinstance(came, Exception):
                raise came
            if came is None:
                num_open -= 1
            else:
                yield came

    async def _watch(self, job: "AsyncJob") -> None:
        after = job.message.last_cursor if self._only_new else 0
        try:
            async with (
                self._free,
                aclosing(job.follow(after=after, until=self._until)) as events,
            ):
                async for event in events:
                    self._came.put_nowait(Watched(job, event))
        except Exception as error:
            self._came.put_nowait(error)
        else:
            self._came.put_nowait(None)
