"""MLflow's own SQLite database, written without its server.

Beside an embedded stack's MLflow the delivery need not ask its server: MLflow's own store classes
write what the server would write. A commit waits for the disk, so calls that come at the same time
share one (group commit): each caller is answered once what it asked for is on disk.
"""

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db.utils import _verify_schema
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking._tracking_service.utils import _tracking_store_registry
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from talweg.worker.tracking.errors import (
    NothingDoneError,
    TrackingAwayError,
    TrackingBusyError,
    TrackingError,
    answered,
)

_ARTIFACTS = "mlflow-artifacts:/"
_SCHEME = "talweg-sqlite"
_numbers = itertools.count()
# How long somebody else may hold the lock before it counts as standing still.
_BUSY_MS = 5_000
_PRAGMAS = (
    "foreign_keys = ON",
    "case_sensitive_like = true",
    "synchronous = FULL",
)

T = TypeVar("T")


class _Store(SqlAlchemyStore):
    """MLflow's store, each of whose sessions is a savepoint in the transaction under way."""

    def __init__(self, path: Path) -> None:
        self._connection: Connection | None = None
        uri = f"sqlite:///{path}"
        self._own_engine = self._make_engine(uri)
        try:
            # First: MLflow's store would bring an older file up to date itself.
            _verify_schema(self._own_engine)  # type: ignore[no-untyped-call]
            super().__init__(uri, _ARTIFACTS)  # type: ignore[no-untyped-call]
        except BaseException:
            # An open file would be in the way of whoever upgrades it.
            self._own_engine.dispose()
            raise
        self.ManagedSessionMaker = self._session

    def _get_or_create_engine(self, db_uri: str) -> Engine:  # type: ignore[override]
        # MLflow keeps its engines for good; this one ends with a file that was replaced.
        return self._own_engine

    @staticmethod
    def _make_engine(db_uri: str) -> Engine:
        engine = sqlalchemy.create_engine(db_uri)

        @event.listens_for(engine, "connect")
        def set_up(connection: Any, _: Any) -> None:
            # Otherwise the driver decides when a transaction begins.
            connection.isolation_level = None
            for pragma in (*_PRAGMAS, f"busy_timeout = {_BUSY_MS}"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # A transaction that reads first and writes then may find the database changed between.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Hold one transaction for all calls in the block."""
        with self.engine.begin() as self._connection:
            try:
                yield self._connection
            finally:
                self._connection = None

    @contextmanager
    def _session(self, read_only: bool = True) -> Iterator[Session]:
        assert self._connection is not None
        with Session(self._connection, join_transaction_mode="create_savepoint") as session:
            yield session
            session.commit()


class _Call(Generic[T]):
    """What a caller asks for, and what became of it."""

    def __init__(self, ask: Callable[[MlflowClient], T]) -> None:
        self._ask = ask
        self._result: list[T] = []
        self._error: TrackingError | None = None

    @property
    def is_over(self) -> bool:
        return bool(self._result) or self._error is not None

    def take(self, client: MlflowClient, connection: Connection) -> None:
        """Do it whole or not at all.

        Raises:
            SQLAlchemyError: The whole transaction is lost.
        """
        try:
            with connection.begin_nested():
                self._result = [self._ask(client)]
        except MlflowException as exc:
            self._error = answered(exc)
        except Exception as exc:
            # Others' calls in the same transaction must not suffer from it.
            self._error = TrackingBusyError(repr(exc))
        if self._error is not None and not _is_under_way(connection):
            raise SQLAlchemyError(str(self._error))

    def fail(self, error: TrackingError) -> None:
        """Say that it has not happened, for all that is known, whatever `take` has said."""
        self._result, self._error = [], error

    def answer(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


class Database:
    """MLflow's SQLite database. Usable from several threads."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet.

        Args:
            path: The file. One that is missing, or of another version of MLflow, is waited for:
                its server makes and upgrades it beside it, and then puts it there.
        """
        self._path = path.absolute()
        self._waiting: deque[_Call[Any]] = deque()
        self._lock = threading.Lock()
        self._store: _Store | None = None
        self._client: MlflowClient | None = None
        self._file: tuple[int, int] | None = None

    def ask(self, ask: Callable[[MlflowClient], T]) -> T:
        """Return what a client of MLflow answers, once it is on disk.

        Args:
            ask: Calls one method of the client it is given.

        Raises:
            TrackingError: What was asked for has not happened. Only where the disk failed at the
                end of the transaction may it have happened yet.
        """
        call = _Call(ask)
        self._waiting.append(call)
        with self._lock:
            # Whoever had the lock before has done this call too, if it waited by then.
            if not call.is_over:
                self._take([self._waiting.popleft() for _ in range(len(self._waiting))])
        return call.answer()

    def _take(self, calls: list[_Call[Any]]) -> None:
        is_begun = False
        try:
            store, client = self._opened()
            with store.transaction() as connection:
                is_begun = True
                for call in calls:
                    call.take(client, connection)
        except (SQLAlchemyError, MlflowException, OSError) as exc:
            kind = TrackingAwayError if is_begun else NothingDoneError
            for call in calls:
                call.fail(kind(f"{self._path}: {exc}"))
        except BaseException as exc:
            for call in calls:
                call.fail(TrackingBusyError(repr(exc)))
            raise

    def _opened(self) -> tuple[_Store, MlflowClient]:
        """Return the database as it stands at the path now."""
        status = os.stat(self._path)
        file = (status.st_dev, status.st_ino)
        if self._store is None or self._client is None or file != self._file:
            if self._store is not None:
                self._store.engine.dispose()
            self._store = None
            self._store = store = _Store(self._path)
            # MLflow's client finds its store by the scheme of an address.
            scheme = f"{_SCHEME}-{next(_numbers)}"
            _tracking_store_registry.register(  # type: ignore[no-untyped-call]
                scheme, lambda **_: store
            )
            self._client, self._file = MlflowClient(f"{scheme}:"), file
        return self._store, self._client


def _is_under_way(connection: Connection) -> bool:
    """Return whether SQLite still holds the transaction, which it ends where the disk fails."""
    driver: Any = connection.connection.dbapi_connection
    return bool(driver.in_transaction)
