"""The services that client tests talk to: one in memory, and the real one as a process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests._parts import Server, running_server
from tests.client.commands import Done, Talweg
from tests.client.memory import MemoryServer
from tests.client.worker import Worker

from talweg.client import Client
from talweg.client.cli._root import run


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    """A server in this process that fails on request."""
    server = MemoryServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """`talweg server` on SQLite."""
    folder = tmp_path_factory.mktemp("server")
    # No job may go back to the queue in the middle of a test.
    with running_server(folder, redis_url, TALWEG_LEASE_SECONDS="600") as server:
        yield server


@pytest.fixture(params=["memory", "real"])
def service(request: pytest.FixtureRequest) -> Iterator[MemoryServer | Server]:
    """Each in turn: the same cases hold for both."""
    server: MemoryServer | Server = request.getfixturevalue(
        "memory" if request.param == "memory" else "real_server"
    )
    yield server
    with Client(server.address) as client:
        # Jobs that a test has left would be claimed by the next.
        for job in client.jobs(filter="state = QUEUED"):
            job.cancel()


@pytest.fixture
def client(service: MemoryServer | Server) -> Iterator[Client]:
    """A client of the service."""
    with Client(service.address) as client:
        yield client


@pytest.fixture
def worker(service: MemoryServer | Server) -> Iterator[Worker]:
    """A worker of the service."""
    with Worker(service.address) as worker:
        yield worker


@pytest.fixture
def talweg(
    service: MemoryServer | Server,
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
