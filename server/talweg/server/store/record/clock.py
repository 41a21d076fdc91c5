"""The database's clock, in microseconds since 1970, UTC.

Leases are compared by one clock alone, which all replicas of the server share. Times are whole
numbers so that both databases keep, compare and page through them alike and exactly.

PostgreSQL has a clock of its own. SQLite runs within the server's process, and takes the time from
the clock that its `Database` was given.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

SECOND = 1_000_000
"""Microseconds in a second."""

SQLITE_FUNCTION = "talweg_time"
"""The SQL function by which statements ask SQLite for the time."""

Clock = Callable[[], int]
"""Gives the time in microseconds since 1970."""


class current_time(FunctionElement[int]):  # noqa: N801 - named like the SQL functions
    """SQL: the database's time now, in microseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(current_time, "sqlite")
def _sqlite(element: current_time, compiler: SQLCompiler, **kw: object) -> str:
    return f"{SQLITE_FUNCTION}()"


@compiles(current_time, "postgresql")
def _postgresql(element: current_time, compiler: SQLCompiler, **kw: object) -> str:
    # clock_timestamp, since now() stands still within a transaction, which may have waited.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"


def system_time() -> int:
    """Return this machine's time, in microseconds since 1970."""
    return time.time_ns() // 1000


def microseconds(duration: timedelta) -> int:
    """Return a duration in microseconds."""
    return duration // timedelta(microseconds=1)


def from_datetime(moment: datetime) -> int:
    """Return a time in microseconds since 1970.

    Args:
        moment: A time with its zone.
    """
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def to_timestamp(time: int) -> Timestamp:
    """Return a time's proto form.

    Args:
        time: Microseconds since 1970.
    """
    return Timestamp(seconds=time // SECOND, nanos=time % SECOND * 1000)
