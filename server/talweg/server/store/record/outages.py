"""What is known of a record that is away: locked, full, frozen or unreachable."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from talweg.server.errors import DatabaseUnavailable

# Nothing at all is answered for so long: one statement that takes long lets others pass.
_SILENT_S = 10.0
# And where it was silent already: within the time that a worker waits for an answer.
_STILL_SILENT_S = 1.0
_ROUND_S = 0.5
# Another program may write for a moment. One that has kept the lock for longer is not waited for
# again by each of those that stand behind.
_LOCK_PATIENCE_MS = 3_000
_STILL_LOCKED_MS = 100

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_DAMAGED_WORDS = (
    "the record's file is damaged; who runs the server must end it and restore a backup"
)

R = TypeVar("R")


class Availability:
    """Whether the record answers, and since when.

    A database that hangs says nothing: its callers are told that it does not answer, and need not
    hang with it. What was begun may still be done.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take it for well.

        Args:
            monotonic: Gives seconds of a clock that never jumps.
        """
        self._monotonic = monotonic
        # By threads: where nothing can be written, what is read may still be answered.
        self._num_answers: Counter[object] = Counter()
        self._silent: set[object] = set()
        self._is_locked = False
        self._is_failing = False
        self._back_since = float("-inf")
        self._is_damaged = False

    @property
    def lock_patience_ms(self) -> int:
        """How long SQLite waits for another program's lock, in milliseconds."""
        return _STILL_LOCKED_MS if self._is_locked else _LOCK_PATIENCE_MS

    def has_been_back_for(self, seconds: float) -> bool:
        """Return whether the record can be written, and no outage has ended just now.

        Args:
            seconds: How long ago it must have ended.
        """
        return not self._is_failing and self._monotonic() - self._back_since >= seconds

    def check(self) -> None:
        """Check that no part of the record was found damaged: others may still be read.

        Raises:
            DatabaseUnavailable: One was. It stays so until the server is started anew.
        """
        if self._is_damaged:
            raise DatabaseUnavailable(_DAMAGED_WORDS)

    def failed(self, error: DatabaseUnavailable) -> None:
        """Note that something could not be written."""
        self._is_failing = True
        self._is_locked = _code(error) in _LOCKED

    def was_written(self) -> None:
        """Note that something was."""
        if self._is_failing:
            self._back_since = self._monotonic()
        self._is_failing = self._is_locked = False

    async def answer(self, work: asyncio.Future[R], *, threads: object) -> R:
        """Wait for an operation in a thread, unless the database says nothing to any of its kind.

        Args:
            work: The operation.
            threads: Those that do it and all of its kind, such as writers.

        Raises:
            DatabaseUnavailable: It says nothing; what has not begun is given up.
        """
        seen, silent = self._num_answers[threads], 0.0
        try:
            # By rounds: a machine that stood still is no database that does.
            while not (await asyncio.wait([work], timeout=_ROUND_S))[0]:
                silent = silent + _ROUND_S if seen == self._num_answers[threads] else 0.0
                seen = self._num_answers[threads]
                if silent >= (_STILL_SILENT_S if threads in self._silent else _SILENT_S):
                    self._silent.add(threads)
                    self._is_failing = True
                    raise DatabaseUnavailable(
                        "the database does not answer; whether the call was carried out is not "
                        "known. Try again, with the same request_id"
                    )
        finally:
            # Does nothing to what has begun.
            work.cancel()
        error = work.exception()
        if isinstance(error, DatabaseUnavailable):
            self._is_damaged |= _code(error) in _DAMAGED
        else:
            # A connection that could not be made is no answer: others may hang on those they have.
            self._num_answers[threads] += 1
            self._silent.discard(threads)
        return work.result()


def words(error: DBAPIError) -> str:
    """Say for callers why the record does not answer, without the driver's own words."""
    code = _sqlite_code(error)
    if code in _LOCKED:
        return (
            "the record is locked by another program, and nothing was changed; try again once "
            "that has ended"
        )
    if code == sqlite3.SQLITE_FULL:
        return "the record's disk is full, and nothing was changed; try again once it has room"
    if code in _DAMAGED:
        return _DAMAGED_WORDS
    return "the database is unreachable, or cannot be written; try again"


def _code(error: DatabaseUnavailable) -> int | None:
    cause = error.__cause__
    return _sqlite_code(cause) if isinstance(cause, DBAPIError) else None


def _sqlite_code(error: DBAPIError) -> int | None:
    code: int | None = getattr(error.orig, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
