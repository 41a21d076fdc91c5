"""Connections and transactions, over SQLite and PostgreSQL.

SQLite takes one writer at a time. A transaction that reads first and writes later fails there
when another has written in between, so every writing transaction begins as a writer (BEGIN
IMMEDIATE), and within a process all of them run in one thread, which waits for nobody. Readers
run beside it (WAL) and see the state at their beginning.

`synchronous` is FULL where somebody was promised something: a job taken, cancelled or ended, a
run recorded. It is NORMAL for claims and reports, which come by the second (relaxed writes): after
a loss of power (a killed process loses nothing in either) the latest of those may be missing, and
a job then runs again, which the lease makes safe.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from talweg.server.concurrency.threads import started_threads
from talweg.server.errors import BadSetting, DatabaseUnavailable
from talweg.server.store.record.clock import (
    SQLITE_FUNCTION,
    Clock,
    current_time,
    system_time,
)
from talweg.server.store.record.outages import Availability, words
from talweg.server.store.record.scope import OPTION, current_project
from talweg.v1.jobs_pb2 import Event

# Of commands, which nobody else waits for; the server's own patience is `Availability`'s.
_BUSY_TIMEOUT_S = 30
_NUM_READERS = 4
_NUM_POSTGRES_WRITERS = 4
# How often an operation that PostgreSQL ended in favour of another is tried in all.
_TRIES = 5
# PostgreSQL's codes for that: serialization_failure, deadlock_detected.
_IN_FAVOUR_OF_ANOTHER = {"40001", "40P01"}
# Its code for a write where it takes none, as on a standby: read_only_sql_transaction.
_READ_ONLY = "25006"

# Of libpq. A machine that vanishes is noticed within about half a minute, and no statement or
# forgotten transaction holds the record's locks for good. What the URL says itself, holds.
_POSTGRES_ARGUMENTS: dict[str, str | int] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s",
    "application_name": "talweg-server",
}

_PASSING_IN_SQLITE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    # No statement mends it, but a backup does.
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class Changes:
    """What others must hear of once a transaction is committed."""

    events: dict[str, list[Event]] = field(default_factory=dict)
    """New events by job id, in the order of their cursors."""

    queues: set[str] = field(default_factory=set)
    """Queues that got a job to claim."""


@dataclass(frozen=True)
class Transaction:
    """A writing transaction."""

    connection: Connection
    """To run statements by."""

    now: int
    """The database's time at its beginning, in microseconds since 1970."""

    changes: Changes = field(default_factory=Changes)
    """To be told once it is committed."""


class Database:
    """The record's database.

    Methods that block are for threads; `reading`, `writing` and `writing_relaxed` are for the
    event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        on_commit: Callable[[Changes], None] | None = None,
        clock: Clock = system_time,
    ) -> None:
        """Open nothing yet.

        Args:
            url: `sqlite:///FILE` or `postgresql://…`.
            on_commit: Called in the writing thread after each commit that changed something.
            clock: SQLite's; PostgreSQL goes by its own.

        Raises:
            BadSetting: The URL names no database that is supported.
        """
        self._engine = _engine(url, clock)
        self._on_commit = on_commit
        sqlite = self._engine.dialect.name == "sqlite"
        # The same connections. What SQLite does always, PostgreSQL must be asked for.
        self._reading_engine = (
            self._engine
            if sqlite
            else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )
        num_writers = 1 if sqlite else _NUM_POSTGRES_WRITERS
        self._writers = started_threads(num_writers, name="sql-write")
        self._readers = started_threads(_NUM_READERS, name="sql-read")
        self.availability = Availability()
        """Whether it answers, as far as `reading` and `writing` know."""

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, for migrations."""
        return self._engine

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Return a connection whose reads see one state.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        with _translated(), self._reading_engine.connect() as connection:
            yield connection

    @contextmanager
    def write(
        self,
        *,
        durable: bool = True,
        project: str | None = None,
        patience_ms: int = _BUSY_TIMEOUT_S * 1000,
    ) -> Iterator[Transaction]:
        """Return a writing transaction; commits it, unless an exception leaves it.

        Args:
            durable: It must outlive a loss of power once this returns.
            project: Whose rows it sees; all if None.
            patience_ms: How long SQLite waits for another program's lock, in milliseconds.

        Raises:
            DatabaseUnavailable: The database does not answer, or stayed locked.
        """
        with _translated(), self._engine.connect() as connection:
            options = {"talweg_write": True, "talweg_durable": durable, OPTION: project}
            connection = connection.execution_options(**options, talweg_patience_ms=patience_ms)
            with connection.begin():
                transaction = Transaction(connection, connection.scalar(_NOW) or 0)
                yield transaction
        changes = transaction.changes
        if self._on_commit is not None and (changes.events or changes.queues):
            self._on_commit(changes)

    async def reading(
        self,
        operation: Callable[Concatenate[Connection, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run an operation on one state of the record, in a thread.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """

        project = current_project()

        def work() -> R:
            with self.read() as connection:
                connection = connection.execution_options(**{OPTION: project})
                return operation(connection, *args, **kwargs)

        return await self._in_thread(self._readers, work)

    async def writing(
        self,
        operation: Callable[Concatenate[Transaction, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run an operation in a durable transaction, in a thread.

        It runs to its end, and others hear of it, even where the caller is cancelled.

        Raises:
            DatabaseUnavailable: The database does not answer, or stayed locked.
        """
        return await self._write_in_thread(True, lambda tx: operation(tx, *args, **kwargs))

    async def writing_relaxed(
        self,
        operation: Callable[Concatenate[Transaction, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Run an operation as `writing` does, for what may be lost with the machine's power.

        Raises:
            DatabaseUnavailable: The database does not answer, or stayed locked.
        """
        return await self._write_in_thread(False, lambda tx: operation(tx, *args, **kwargs))

    async def _write_in_thread(self, durable: bool, operation: Callable[[Transaction], R]) -> R:
        project = current_project()

        def work() -> R:
            for left in reversed(range(_TRIES)):
                patience_ms = self.availability.lock_patience_ms
                try:
                    with self.write(
                        durable=durable, project=project, patience_ms=patience_ms
                    ) as transaction:
                        result = operation(transaction)
                except DatabaseUnavailable as exc:
                    # Nothing of it was done: the other one is through, and it may be tried again.
                    if not left or not _in_favour_of_another(exc.__cause__):
                        self.availability.failed(exc)
                        raise
                else:
                    self.availability.was_written()
                    return result
            raise AssertionError("the last try returns or raises")

        return await self._in_thread(self._writers, work)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], R]) -> R:
        loop = asyncio.get_running_loop()
        return await self.availability.answer(loop.run_in_executor(threads, work), threads=threads)

    async def check(self) -> None:
        """Read and write the record, changing nothing.

        Raises:
            DatabaseUnavailable: It does not answer, cannot be written, or is damaged.
        """
        self.availability.check()
        # A real write: a full disk or a file that is read-only shows in nothing less.
        await self.writing_relaxed(lambda tx: tx.connection.execute(_SAME_VERSION))

    def close(self) -> None:
        """Wait for running operations and close all connections."""
        self._writers.shutdown()
        self._readers.shutdown()
        self._engine.dispose()


_NOW = select(current_time())
_SAME_VERSION = text("UPDATE alembic_version SET version_num = version_num")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as exc:
        if not _is_passing(exc):
            raise
        raise DatabaseUnavailable(words(exc)) from exc


def _is_passing(error: DBAPIError) -> bool:
    """Tell a database that does not answer now from a statement that it does not take."""
    # SQLite's driver has one class for both, and a code in it.
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _PASSING_IN_SQLITE
    return (
        error.connection_invalidated
        or isinstance(error, (OperationalError, InterfaceError))
        or getattr(error.orig, "sqlstate", None) == _READ_ONLY
    )


def _in_favour_of_another(error: BaseException | None) -> bool:
    return (
        isinstance(error, DBAPIError)
        and getattr(error.orig, "sqlstate", None) in _IN_FAVOUR_OF_ANOTHER
    )


def _engine(url: str, clock: Clock) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise BadSetting(
            "TALWEG_DATABASE_URL must be sqlite:///FILE or postgresql://…, but is malformed"
        ) from exc
    if parsed.drivername == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise BadSetting("TALWEG_DATABASE_URL must name a file: sqlite:///talweg.db")
        engine = create_engine(
            parsed,
            hide_parameters=True,
            poolclass=QueuePool,
            pool_size=_NUM_READERS + 1,
            connect_args={"timeout": _BUSY_TIMEOUT_S},
        )
        event.listen(engine, "do_connect", _create_sqlite)
        event.listen(engine, "connect", partial(_prepare_sqlite, clock))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            # They hold specs and leases, and errors are logged.
            hide_parameters=True,
            # Whatever the database's own default: a writer that has waited for a job's lock must
            # see what the other one wrote.
            isolation_level="READ COMMITTED",
            pool_size=_NUM_READERS + _NUM_POSTGRES_WRITERS,
            pool_pre_ping=True,
            connect_args=_postgres_arguments(parsed),
        )
    raise BadSetting(
        "TALWEG_DATABASE_URL must begin with sqlite:/// or postgresql://, "
        f"but begins with {parsed.drivername}://"
    )


def _postgres_arguments(url: URL) -> dict[str, str | int]:
    return {name: value for name, value in _POSTGRES_ARGUMENTS.items() if name not in url.query}


def _create_sqlite(dialect: Any, record: Any, arguments: list[Any], named: Any) -> None:
    # The record holds secrets of leases. SQLite gives its -wal and -shm files the mode of the file
    # itself, so that it is enough to create that for its owner alone.
    if arguments[0].startswith("file:"):
        return  # A URI, whose parameters may say that nothing is to be created.
    with suppress(OSError):
        os.close(os.open(arguments[0], os.O_RDWR | os.O_CREAT, 0o600))


def _prepare_sqlite(clock: Clock, connection: Any, record: Any) -> None:
    # The driver would begin transactions by itself, and only before the first write.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")
    # "Deterministic" within a statement, as SQLite's own times are: asked once, not for each row.
    connection.create_function(SQLITE_FUNCTION, 0, clock, deterministic=True)


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("talweg_write"):
        connection.exec_driver_sql("BEGIN")
        return
    synchronous = "FULL" if options["talweg_durable"] else "NORMAL"
    if connection.info.get("synchronous") != synchronous:
        connection.exec_driver_sql(f"PRAGMA synchronous = {synchronous}")
        connection.info["synchronous"] = synchronous
    patience_ms = options["talweg_patience_ms"]
    if connection.info.get("patience_ms") != patience_ms:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience_ms}")
        connection.info["patience_ms"] = patience_ms
    connection.exec_driver_sql("BEGIN IMMEDIATE")
