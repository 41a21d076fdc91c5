"""Writes of several calls in one transaction: shared, ordered, and each with its own result."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests._records import empty_record

from talweg.server.errors import DatabaseUnavailable
from talweg.server.services.submission.grouped import MOST_TOGETHER, GroupedWrites
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.scope import acting_in, project_of


class Held:
    """Writes in a real transaction, the first time only once it is let go."""

    def __init__(self, database: Database) -> None:
        self.writes = GroupedWrites[int, str](database, self._write)
        self.groups: list[list[int]] = []
        self.projects: list[str | None] = []
        self.go_on = threading.Event()
        self.error: Exception | None = None

    def _write(self, tx: Transaction, items: Sequence[int]) -> list[str]:
        assert self.go_on.wait(180)
        self.groups.append(list(items))
        self.projects.append(project_of(tx.connection))
        if self.error is not None and 13 in items:
            raise self.error
        return [f"item {each}" for each in items]

    async def begun(self, *items: int) -> "asyncio.Task[list[str]]":
        """Begin a call, and return once it waits."""
        task = asyncio.create_task(self.writes.write(items))
        await asyncio.sleep(0)
        return task


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Held]:
    database = Database(empty_record(tmp_path / "talweg.db"))
    yield Held(database)
    database.close()


async def results(*tasks: Any) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 180)


async def test_what_comes_while_one_is_written_is_written_together(held: Held) -> None:
    tasks = [await held.begun(number) for number in range(4)]
    tasks.append(await held.begun(*range(10, 10 + MOST_TOGETHER)))
    tasks.append(await held.begun(5))
    held.go_on.set()
    found = await results(*tasks)
    assert found[:4] == [[f"item {number}"] for number in range(4)]
    assert found[5] == ["item 5"]
    # The first alone, since nothing waited yet; a large one by itself, in its turn.
    assert held.groups == [[0], [1, 2, 3], list(range(10, 10 + MOST_TOGETHER)), [5]]


async def test_projects_are_not_written_together(held: Held) -> None:
    tasks = []
    for project in ("a", "b", "a"):
        with acting_in(project):
            tasks.append(await held.begun(1))
    held.go_on.set()
    await results(*tasks)
    assert sorted(map(str, held.projects)) == ["a", "a", "b"]


async def test_an_error_is_of_the_call_that_it_is_of(held: Held) -> None:
    held.error = RuntimeError("unforeseen")
    tasks = [await held.begun(each) for each in (1, 2, 13, 4)]
    held.go_on.set()
    assert await results(*tasks) == [["item 1"], ["item 2"], held.error, ["item 4"]]


async def test_a_database_that_is_away_is_not_tried_once_for_each(held: Held) -> None:
    held.error = DatabaseUnavailable("away")
    tasks = [await held.begun(each) for each in (1, 2, 13, 4)]
    held.go_on.set()
    assert await results(*tasks) == [["item 1"], held.error, held.error, held.error]
    assert held.groups == [[1], [2, 13, 4]]


async def test_a_call_that_was_given_up_while_it_waited_is_not_written(held: Held) -> None:
    tasks = [await held.begun(each) for each in (1, 2, 3)]
    tasks[1].cancel()
    await asyncio.sleep(0)
    held.go_on.set()
    await results(*tasks)
    assert held.groups == [[1], [3]]
