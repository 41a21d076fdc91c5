"""Tells the watchers of this process what happened, from memory."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from talweg.server.errors import ShuttingDown
from talweg.v1.jobs_pb2 import Event

_CAPACITY = 256


class Subscription:
    """What one watcher has yet to take. Holds a bounded number of events: a watcher who is slower
    than its job is told to read the record instead."""

    def __init__(self, position: int) -> None:
        """Begin empty.

        Args:
            position: The number of the event that the watcher has seen last.
        """
        self.position = position
        """The number of the event that the watcher has seen last; the watcher's to write."""
        self._events: deque[Event] = deque()
        self._behind = False
        self._closed = False
        self._has_news = asyncio.Event()

    async def next(self) -> Event | None:
        """Wait for an event.

        Returns:
            The next one that was told; None where the record holds more than was told.

        Raises:
            ShuttingDown: The server is about to end.
        """
        await self._has_news.wait()
        if self._closed:
            raise ShuttingDown("the server is shutting down; watch again from the last event")
        if self._behind:
            # All that was told is in the record too.
            self._events.clear()
            self._behind = False
            self._has_news.clear()
            return None
        event = self._events.popleft()
        if not self._events:
            self._has_news.clear()
        return event

    def tell(self, events: Sequence[Event]) -> None:
        """Add events."""
        if len(self._events) + len(events) > _CAPACITY:
            self.nudge()
            return
        self._events.extend(events)
        self._has_news.set()

    def nudge(self) -> None:
        """Say that the record holds more than was told."""
        self._events.clear()
        self._behind = True
        self._has_news.set()

    def close(self) -> None:
        """End the watcher's wait."""
        self._closed = True
        self._has_news.set()


class Hub:
    """All watchers of this process, by job. For the event loop's thread alone."""

    def __init__(self) -> None:
        """Begin without watchers."""
        self._watchers: dict[str, set[Subscription]] = {}
        self._closed = False

    @contextmanager
    def subscribe(self, job: str, *, position: int) -> Iterator[Subscription]:
        """Tell of a job's events from here on.

        Args:
            job: The job's id.
            position: The number of the event that the watcher has seen last.

        Raises:
            ShuttingDown: The server is about to end.
        """
        if self._closed:
            raise ShuttingDown("the server is shutting down; watch again from the last event")
        subscription = Subscription(position)
        self._watchers.setdefault(job, set()).add(subscription)
        try:
            yield subscription
        finally:
            watchers = self._watchers[job]
            watchers.remove(subscription)
            if not watchers:
                del self._watchers[job]

    @property
    def watched(self) -> Sequence[str]:
        """The ids of jobs that have watchers."""
        return list(self._watchers)

    def tell(self, job: str, events: Sequence[Event]) -> None:
        """Tell a job's watchers of events that are committed.

        Args:
            job: The job's id.
            events: In the order of their cursors. Watchers may be told of one twice.
        """
        if events:
            for subscription in self._watchers.get(job, ()):
                subscription.tell(events)

    def check(self, last_cursors: Mapping[str, int]) -> None:
        """Nudge watchers who have missed something, by what the record holds.

        Args:
            last_cursors: The number of the latest event, by job id.
        """
        for job, cursor in last_cursors.items():
            for subscription in self._watchers.get(job, ()):
                if subscription.position < cursor:
                    subscription.nudge()

    def close(self) -> None:
        """End all watchers' waits."""
        self._closed = True
        for watchers in self._watchers.values():
            for subscription in watchers:
                subscription.close()
