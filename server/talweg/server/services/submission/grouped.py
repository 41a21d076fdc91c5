"""Writes what several calls bring in one transaction.

A durable commit waits for the disk, and a transaction of one job costs a third more of Python than
its share of a larger one. So what comes while one is written is written together, next.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from talweg.server.errors import DatabaseUnavailable
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.scope import current_project

Item = TypeVar("Item")
Result = TypeVar("Result")

# Reports of workers come between: they must not wait for long.
MOST_TOGETHER = 64


@dataclass(frozen=True)
class _Call(Generic[Item, Result]):
    items: Sequence[Item]
    results: "asyncio.Future[list[Result]]"


class GroupedWrites(Generic[Item, Result]):
    """Writes items of one project together, in the order in which they came.

    For the event loop's thread alone.
    """

    def __init__(
        self,
        database: Database,
        operation: Callable[[Transaction, Sequence[Item]], list[Result]],
    ) -> None:
        """Begin with nothing to write.

        Args:
            database: The record.
            operation: Writes items, and returns a result for each. It says by its results what is
                wrong with an item; what it raises is the fault of them all.
        """
        self._database = database
        self._operation = operation
        self._waiting: dict[str | None, list[_Call[Item, Result]]] = {}
        self._writing: dict[str | None, asyncio.Task[None]] = {}

    async def write(self, items: Sequence[Item]) -> list[Result]:
        """Write items in a durable transaction, and return their results.

        What has begun runs to its end even where the caller is cancelled.

        Args:
            items: Written together, whatever is written beside them.

        Raises:
            DatabaseUnavailable: The database does not answer, or stayed locked.
        """
        project = current_project()
        call = _Call[Item, Result](items, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(project, []).append(call)
        if project not in self._writing:
            # It inherits the project of this task, which is that of all of its calls.
            self._writing[project] = asyncio.create_task(self._write_all(project))
        return await call.results

    async def _write_all(self, project: str | None) -> None:
        try:
            while calls := self._next(project):
                await self._write_together(calls)
        finally:
            del self._writing[project]
            for call in self._waiting.pop(project, ()):
                call.results.cancel()

    def _next(self, project: str | None) -> list[_Call[Item, Result]]:
        waiting = [each for each in self._waiting[project] if not each.results.done()]
        num_items, num_calls = 0, 0
        for call in waiting:
            num_items += len(call.items)
            if num_calls and num_items > MOST_TOGETHER:
                break
            num_calls += 1
        self._waiting[project] = waiting[num_calls:]
        return waiting[:num_calls]

    async def _write_together(self, calls: Sequence[_Call[Item, Result]]) -> None:
        items = [item for call in calls for item in call.items]
        try:
            results = await self._database.writing(self._operation, items)
        except DatabaseUnavailable as exc:
            _fail(calls, exc)
        except Exception as exc:
            if len(calls) == 1:
                _fail(calls, exc)
                return
            # Nothing was written, and one of them may be at fault.
            for call in calls:
                await self._write_together([call])
        else:
            rest = iter(results)
            for call in calls:
                own = [next(rest) for _ in call.items]
                if not call.results.done():
                    call.results.set_result(own)


def _fail(calls: Sequence[_Call[Item, Result]], error: Exception) -> None:
    for call in calls:
        if not call.results.done():
            call.results.set_exception(error)
