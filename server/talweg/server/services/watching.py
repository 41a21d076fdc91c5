"""Following a job: from the record first, then from memory as events happen."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing

from talweg.server.errors import InvalidRequest, TooManyWatches
from talweg.server.events.hub import Hub
from talweg.server.limits.shares import Shares
from talweg.server.services.arguments import job_of
from talweg.server.store import events, jobs
from talweg.server.store.record.database import Database
from talweg.v1.jobs_pb2 import Event

_PAGE = 500


class WatchLimit:
    """Counts the watches of each caller: of jobs and of sweeps together."""

    def __init__(self, most: int = 500) -> None:
        """Begin without watches.

        Args:
            most: How many one caller may have at once.
        """
        self._shares = Shares[str](most)

    @property
    def num_watches(self) -> int:
        """How many watches there are now, of all callers."""
        return self._shares.total

    def counted(self, caller: str) -> AbstractContextManager[None]:
        """Count a watch as long as it lasts.

        Args:
            caller: Who watches; equal texts are one caller.

        Raises:
            TooManyWatches: The caller has as many as it may.
        """
        return self._shares.one(
            caller,
            lambda: TooManyWatches(
                f"one caller may watch {self._shares.most} jobs and sweeps at once, and {caller} "
                "does: end other watches first, or ask for states by ListJobs and ListSweeps"
            ),
        )


class WatchService:
    """Gives watchers each event once, in order."""

    def __init__(self, database: Database, hub: Hub, limit: WatchLimit | None = None) -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            hub: Where new events are told.
            limit: Counts the watches of each caller.
        """
        self._database = database
        self._hub = hub
        self._limit = limit or WatchLimit()

    async def watch(self, name: str, after: int, *, caller: str = "") -> AsyncGenerator[Event]:
        """Yield a job's events after a cursor, and new ones as they come, up to the last.

        The record is the truth: whenever the number of an event shows a gap, or events were
        told faster than the watcher took them, it reads on in the record.

        Args:
            name: `jobs/{id}`.
            after: The last cursor not wanted; 0 for all.
            caller: Who asks; equal texts are one caller.

        Raises:
            TooManyWatches: The caller has as many as it may.
            JobNotFound: There is no such job.
            InvalidRequest: The cursor is one that the job does not have yet.
            ShuttingDown: The server is about to end; watch again from the last event.
        """
        id_ = job_of(name)
        with self._limit.counted(caller):
            async with aclosing(self._watch(id_, after)) as events:
                async for event in events:
                    yield event

    async def _watch(self, id_: str, after: int) -> AsyncGenerator[Event]:
        row = await self._database.reading(jobs.get, id_)
        if not 0 <= after <= row.last_cursor:
            raise InvalidRequest.of(
                "after_cursor",
                f"must be >= 0 and <= {row.last_cursor}, the job's latest event, but got {after}",
            )
        if row.ended and after == row.last_cursor:
            return
        # Told of everything from here on, so that nothing falls between record and memory.
        with self._hub.subscribe(id_, position=after) as subscription:
            behind = True
            while True:
                if behind:
                    new = await self._database.reading(
                        events.after, row.seq, subscription.position, limit=_PAGE
                    )
                    behind = len(new) == _PAGE
                else:
                    event = await subscription.next()
                    behind = event is None or event.cursor > subscription.position + 1
                    new = [event] if event is not None and not behind else []
                for event in new:
                    if event.cursor <= subscription.position:
                        continue
                    subscription.position = event.cursor
                    yield event
                    if event.HasField("finished"):
                        return
