"""Attempts in this process, under real leases of a real server."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests._parts import Server, running_server
from tests.worker._jobs import Jobs, jobs_of

from talweg.worker.channels import Channel
from talweg.worker.execution.answering import Answering
from talweg.worker.execution.attempt import WorkerContext
from talweg.worker.execution.lease import LeaseKeeper

SHORT_LEASE_SECONDS = 4.0
"""Long enough for an attempt on a busy machine, and short enough to wait for its end."""


@pytest.fixture(scope="session", autouse=True)
def like_a_child() -> None:
    """One thread."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy for a whole lease it would end the tests' own process."""
    monkeypatch.setattr(LeaseKeeper, "_arm", lambda self: None)


@pytest.fixture(scope="session")
def lender(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """A server whose leases outlast any pause of a busy machine.

    A test may kill it as long as it starts it again.
    """
    folder = tmp_path_factory.mktemp("lender")
    with running_server(folder, redis_url, TALWEG_LEASE_SECONDS="60") as server:
        yield server


@pytest.fixture(scope="session")
def short_lender(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Server]:
    """A server for tests that outlast a lease; else as `lender`."""
    folder = tmp_path_factory.mktemp("short_lender")
    lease = f"{SHORT_LEASE_SECONDS:g}"
    with running_server(folder, redis_url, TALWEG_LEASE_SECONDS=lease) as server:
        yield server


@pytest.fixture
def jobs(lender: Server) -> Iterator[Jobs]:
    with jobs_of(lender.address) as jobs:
        yield jobs


@pytest.fixture
def short_jobs(short_lender: Server) -> Iterator[Jobs]:
    with jobs_of(short_lender.address) as jobs:
        yield jobs


class Worker:
    """Answers wake-up messages in this process; by other means where a test says so."""

    def __init__(self, address: str, spool_dir: Path) -> None:
        self.spool_dir = spool_dir
        self.channel = Channel(address)
        self.shutdown = threading.Event()
        self._threads: list[threading.Thread] = []
        self.ended_with: list[int] = []

    def answer(self, **context: Any) -> int:
        """Answer one wake-up message, to its end."""
        here = WorkerContext(
            channel=self.channel,
            spool_dir=self.spool_dir,
            blobs=str(self.spool_dir.parent / "blobs"),
            worker="here",
            has_cuda=False,
            shutting_down=self.shutdown.is_set,
            end_process=self.ended_with.append,
            **context,
        )
        return Answering(here).answer("default")

    def begin(self, **context: Any) -> threading.Thread:
        """Answer one wake-up message beside the test."""
        thread = threading.Thread(target=self.answer, kwargs=context, daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def close(self) -> None:
        self.shutdown.set()
        for thread in self._threads:
            thread.join(120)
        self.channel.close()


@pytest.fixture
def worker(lender: Server, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(lender.address, tmp_path / "spool")
    yield worker
    worker.close()


@pytest.fixture
def short_worker(short_lender: Server, tmp_path: Path) -> Iterator[Worker]:
    worker = Worker(short_lender.address, tmp_path / "spool")
    yield worker
    worker.close()


def join(thread: threading.Thread, *, timeout: float = 120) -> None:
    """Wait for a thread; fails where it does not end."""
    thread.join(timeout)
    assert not thread.is_alive()
