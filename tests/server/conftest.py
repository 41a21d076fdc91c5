"""Databases of both kinds, and the server in the tests' own process over real gRPC."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from tests._records import empty_record
from tests.server.postgres import running_postgres
from tests.server.samples import Rules

from talweg.server.serving import Server
from talweg.server.settings import Settings
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Changes, Database
from talweg.server.store.record.schema import metadata
from talweg.v1.catalog_pb2_grpc import CatalogServiceStub
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceStub
from talweg.v1.workers_pb2_grpc import WorkerServiceStub

if TYPE_CHECKING:
    from talweg.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from talweg.v1.jobs_pb2_grpc import JobServiceAsyncStub
    from talweg.v1.stored_datasets_pb2_grpc import StoredDatasetServiceAsyncStub
    from talweg.v1.workers_pb2_grpc import WorkerServiceAsyncStub


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of the session's own; its URL."""
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def emptied_postgres(postgres_url: str) -> Iterator[Callable[[], str]]:
    """A database there with the tables; each call empties them and gives its URL."""
    database = Database(postgres_url)
    migrate.upgrade(database)

    def emptied() -> str:
        with database.write() as tx:
            # Much faster than TRUNCATE for a few rows.
            for table in reversed(metadata.sorted_tables):
                tx.connection.execute(table.delete())
        return postgres_url

    yield emptied
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty record: each test that uses it runs over both databases."""
    if request.param == "sqlite":
        return empty_record(tmp_path / "talweg.db")
    emptied: Callable[[], str] = request.getfixturevalue("emptied_postgres")
    return emptied()


@pytest.fixture
def changes() -> list[Changes]:
    """What the database told after its commits."""
    return []


@pytest.fixture
def database(database_url: str, changes: list[Changes]) -> Iterator[Database]:
    """An empty record with its tables."""
    database = Database(database_url, on_commit=changes.append)
    yield database
    database.close()


@pytest.fixture
def rules(database: Database, changes: list[Changes]) -> Iterator[Rules]:
    """All services over one database."""
    rules = Rules(database, changes)
    yield rules
    rules.close()


@dataclass
class Running:
    """A server in this process, and a channel to it."""

    server: Server
    channel: grpc.aio.Channel
    jobs: "JobServiceAsyncStub"
    workers: "WorkerServiceAsyncStub"
    catalog: "CatalogServiceAsyncStub"
    data: "StoredDatasetServiceAsyncStub"


Start = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def start(tmp_path: Path, redis_url: str) -> AsyncIterator[Start]:
    """Starts servers, all of them over one database unless told otherwise."""
    database_url = empty_record(tmp_path / "talweg.db")
    async with AsyncExitStack() as stack:

        async def start(**settings: Any) -> Running:
            given = {
                "listen": "127.0.0.1:0",
                "database_url": database_url,
                "broker_url": redis_url,
                "blobs": str(tmp_path / "blobs"),
                "uploads": str(tmp_path / "uploads"),
            }
            server = Server(Settings(**(given | settings)))
            await server.start()
            stack.push_async_callback(server.stop, 0.2)
            channel = grpc.aio.insecure_channel(server.address)
            await stack.enter_async_context(channel)
            return Running(
                server,
                channel,
                JobServiceStub(channel),
                WorkerServiceStub(channel),
                CatalogServiceStub(channel),
                StoredDatasetServiceStub(channel),
            )

        yield start


@pytest.fixture
async def running(start: Start) -> Running:
    """A server over an empty SQLite record."""
    return await start()
