"""The servers of the client tests: in this process with failures on request, and as a process."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from tests._parts import Server, running_server
from tests._records import empty_record
from tests.client.commands import Done, Talweg
from tests.client.faulty import FaultyServer
from tests.client.worker import Worker
from tests.server.shared_helpers import SharedSearch, SharedStatistics

from talweg.client import Client
from talweg.client.cli._root import run
from talweg.server import parts
from talweg.server.settings import Settings


@pytest.fixture
def faulty(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyServer]:
    """The server in this process, on SQLite, which fails on request."""
    monkeypatch.setattr(parts, "StatisticsProcess", SharedStatistics)
    monkeypatch.setattr(parts, "SearchProcess", SharedSearch)
    server = FaultyServer(
        Settings(
            listen="127.0.0.1:0",
            database_url=empty_record(tmp_path / "faulty.db"),
            broker_url=redis_url,
            blobs=str(tmp_path / "blobs"),
            uploads=str(tmp_path / "uploads"),
            # No job may go back to the queue in the middle of a test.
            lease=timedelta(seconds=600),
        )
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def server_process(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """`talweg server` on SQLite."""
    folder = tmp_path_factory.mktemp("server")
    # No job may go back to the queue in the middle of a test.
    settings = {
        "TALWEG_LEASE_SECONDS": "600",
        "TALWEG_BLOBS": str(folder / "blobs"),
        "TALWEG_UPLOADS": str(folder / "uploads"),
    }
    with running_server(folder, redis_url, **settings) as server:
        yield server


@pytest.fixture(params=["faulty", "server_process"])
def service(request: pytest.FixtureRequest) -> Iterator[FaultyServer | Server]:
    """Each in turn: the same cases hold for both."""
    server: FaultyServer | Server = request.getfixturevalue(request.param)
    yield server
    with Client(server.address) as client:
        # Jobs that a test has left, or its sweep submits, would be claimed by the next.
        for sweep in client.sweeps(states=["RUNNING", "PAUSED"]):
            sweep.cancel()
        for job in client.jobs(filter="state = QUEUED"):
            job.cancel()


@pytest.fixture
def store(service: FaultyServer | Server) -> Path:
    """The folder that is the blob store of the service."""
    return Path(
        service.blobs if isinstance(service, FaultyServer) else service.env["TALWEG_BLOBS"]
    )


@pytest.fixture
def client(service: FaultyServer | Server) -> Iterator[Client]:
    """A client of the service."""
    with Client(service.address) as client:
        yield client


@pytest.fixture
def worker(service: FaultyServer | Server) -> Iterator[Worker]:
    """A worker of the service."""
    with Worker(service.address) as worker:
        yield worker


@pytest.fixture
def talweg(
    service: FaultyServer | Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Talweg:
    """Runs the command line against the service."""
    monkeypatch.setenv("TALWEG_ADDRESS", service.address)

    def call(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(status, captured.out, captured.err)

    return call


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a job file."""

    def write(value: object, name: str = "job.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(value))
        return path

    return write
