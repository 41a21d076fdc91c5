"""The record in memory: the real one, with a clock that is turned and statements that fail."""

import itertools
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from talweg.server.store.record import migrate
from talweg.server.store.record.database import Changes, Database
from talweg.server.store.record.outages import Availability

R = TypeVar("R")

# Records of one process are apart.
_NUMBERS = itertools.count()


class ServerCrashed(BaseException):
    """The server's process ends between two statements."""


class Conflict(Exception):
    """As psycopg tells that a transaction was ended in favour of another."""

    sqlstate = "40001"


class Record(Database):
    """A database whose work is done at once by its caller, instead of by threads."""

    def __init__(
        self,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
        on_commit: Callable[[Changes], None],
    ) -> None:
        file = f"file:/simulated-{next(_NUMBERS)}?vfs=memdb"
        super().__init__(f"sqlite:///{file}&uri=true", on_commit=on_commit, clock=clock)
        self._monotonic = monotonic
        self.availability = Availability(monotonic)
        # The last connection takes what is in memory with it.
        self._holder = sqlite3.connect(file, uri=True)
        migrate.upgrade(self)
        self._empty = sqlite3.connect(":memory:")
        self._holder.backup(self._empty)
        self._countdown: int | None = None
        self._conflicts = (0, 0)
        self._is_listening = False

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], R]) -> R:
        return work()

    def clear(self) -> None:
        """Have nothing but the tables, and no faults."""
        self.end_faults()
        self.availability = Availability(self._monotonic)
        self._empty.backup(self._holder)

    def crash_after(self, num_statements: int) -> None:
        """Have the server crash so many statements later."""
        self._countdown = num_statements
        self._listen()

    def conflict_after(self, num_statements: int, times: int) -> None:
        """Have transactions fail that write, so many times, after so many statements each."""
        self._conflicts = (num_statements, times)
        self._listen()

    def end_faults(self) -> None:
        """Let all statements succeed."""
        self._countdown, self._conflicts = None, (0, 0)
        if self._is_listening:
            event.remove(self.engine, "before_cursor_execute", self._before_statement)
            self._is_listening = False

    def _listen(self) -> None:
        # Only where something is to fail: it takes time.
        if not self._is_listening:
            event.listen(self.engine, "before_cursor_execute", self._before_statement)
            self._is_listening = True

    def _before_statement(
        self, connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> None:
        if self._countdown is None and not self._conflicts[1]:
            return
        if self._countdown is not None:
            self._countdown -= 1
            if self._countdown < 0:
                self._countdown = None
                raise ServerCrashed
        if self._conflicts[1] and connection.get_execution_options().get("talweg_write"):
            wait, times = self._conflicts
            done = connection.info.get("statements", (None, 0))
            transaction = connection.get_transaction()
            count = done[1] + 1 if done[0] is transaction else 0
            connection.info["statements"] = (transaction, count)
            if count >= wait:
                self._conflicts = (wait, times - 1)
                raise OperationalError(statement, None, Conflict("could not serialize access"))

    def close(self) -> None:
        """Forget everything."""
        super().close()
        self._holder.close()
        self._empty.close()
