"""The record is locked, frozen or away for longer than a lease. Minutes long: `make faults`."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import create_engine, text
from tests._parts import wait_until
from tests.integration.stack import Stack, start_stack, tiny_spec
from tests.server.postgres import running_postgres

from talweg.client import Client, Job, Unavailable

pytestmark = pytest.mark.faults

LEASE_SECONDS = 20
AWAY_SECONDS = 30.0

_BECOME = """
import os, sys
user, group = map(int, sys.argv[1:3])
os.setgroups([])
os.setgid(group)
os.setuid(user)
os.execv(sys.argv[3], sys.argv[3:])
"""
_restarted: list[subprocess.Popen[bytes]] = []


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url
    for process in _restarted:
        process.wait(120)


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sqlite")
    stack = start_stack(folder, TALWEG_LEASE_SECONDS=str(LEASE_SECONDS))
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Stack]:
    stack = start_stack(
        tmp_path_factory.mktemp("postgres"),
        TALWEG_LEASE_SECONDS=str(LEASE_SECONDS),
        TALWEG_DATABASE_URL=postgres_url,
    )
    yield stack
    stack.stop()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of a SQLite file, as another program may."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def postmaster(url: str) -> psutil.Process:
    """Find the process that all others of a PostgreSQL server are children of."""
    engine = create_engine(url)
    with engine.connect() as connection:
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        assert isinstance(backend, int)
        parent = psutil.Process(backend).parent()
    engine.dispose()
    assert parent is not None
    return parent


@contextmanager
def frozen(url: str) -> Iterator[None]:
    """Stop all processes of a PostgreSQL server; the kernel still takes what is sent to them."""
    server = postmaster(url)
    processes = [server, *server.children()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def restarted(url: str) -> Iterator[None]:
    """End a PostgreSQL server at once, and start it again at the end."""
    server = postmaster(url)
    command, folder = server.cmdline(), server.cwd()
    user, group = server.uids().real, server.gids().real
    server.send_signal(signal.SIGQUIT)
    try:
        yield
    finally:
        wait_until(lambda: not server.is_running(), timeout=60, what="it has ended")
        # Popen would fork this process for another user, and gRPC's threads do not bear that.
        become = [sys.executable, "-c", _BECOME, str(user), str(group)]
        process = subprocess.Popen(
            [*(become if os.getuid() == 0 else []), *command],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        _restarted.append(process)


@dataclass
class Watcher:
    """Watches a job beside the test."""

    job: Job
    cursors: list[int] = field(default_factory=list)
    finished: int = 0

    def watch(self) -> None:
        for event in self.job.watch():
            self.cursors.append(event.cursor)
            self.finished += event.HasField("finished")


def long_job(client: Client) -> Job:
    return client.submit(
        tiny_spec(
            experiment="record",
            training={
                # More than it gets to before it is cancelled.
                "steps": 1_000_000,
                "evaluate_every_epochs": 500,
                "checkpoints": {"every_steps": 1_000},
            },
            resources={"time_limit_seconds": 1800},
        )
    )


def cancelled_at_last(job: Job) -> None:
    """The rest of its steps would tell nothing more."""
    job.cancel("enough was seen")
    assert job.wait(timedelta(minutes=6)).state in ("CANCELLED", "SUCCEEDED")


@pytest.mark.parametrize("fault", ["locked", "frozen", "restarted"])
def test_jobs_go_on_and_nothing_accepted_is_lost(
    fault: str, request: pytest.FixtureRequest
) -> None:
    stack: Stack = request.getfixturevalue("on_sqlite" if fault == "locked" else "on_postgres")
    with ExitStack() as stop:
        client = stop.enter_context(Client(stack.address))
        hasty = stop.enter_context(Client(stack.address, timeout=timedelta(seconds=25)))
        job, waiting = long_job(client), client.submit(tiny_spec(experiment="record"))
        watcher = Watcher(client.job(job.name))
        thread = threading.Thread(target=watcher.watch, daemon=True)
        thread.start()
        wait_until(
            lambda: job.refresh().state == "RUNNING" and job.message.progress.step > 500,
            timeout=120,
            what="the job trains",
        )
        began = time.monotonic()
        with (
            locked(stack.data / "talweg.db")
            if fault == "locked"
            else {"frozen": frozen, "restarted": restarted}[fault](
                request.getfixturevalue("postgres_url")
            )
        ):
            with pytest.raises(Unavailable) as refused:
                hasty.submit(tiny_spec(experiment="record"))
            assert refused.value.reason == "DATABASE_UNAVAILABLE", refused.value
            assert "ry again" in str(refused.value)
            status = stack.run("status")
            assert status.returncode == 1
            assert "database  trouble" in status.stdout
            # It is accepted once the record is back: the client tries again by itself.
            late = threading.Thread(
                target=lambda: patient.append(client.submit(tiny_spec(experiment="late"))),
                daemon=True,
            )
            patient: list[Job] = []
            late.start()
            # How long the record is away is what is tried here.
            time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
        step = job.message.progress.step
        wait_until(
            lambda: _says(job) and job.message.progress.step > step + 100,
            timeout=60,
            what="its steps are told again",
        )
        assert (job.message.attempt, job.state) == (1, "RUNNING")
        cancelled_at_last(job)
        thread.join(360)
        late.join(360)
        assert watcher.finished == 1
        assert watcher.cursors == list(range(1, watcher.cursors[-1] + 1))
        assert job.refresh().message.attempt == 1
        for each in (waiting, *patient):
            assert each.wait(timedelta(minutes=6)).state == "SUCCEEDED"
        assert len(patient) == 1
        # Refused is refused, or it was taken once: never twice, never half.
        left = list(client.jobs(filter='experiment = "record"'))
        assert {job.name, waiting.name} <= {each.name for each in left}
        for each in left:
            each.wait(timedelta(minutes=6))
        wait_until(lambda: stack.run("status").returncode == 0, timeout=120, what="all is well")
    log = (stack.data / "logs" / "server.log").read_text()
    assert "Traceback" not in log
    assert " lost jobs/" not in log


def _says(job: Job) -> bool:
    try:
        job.refresh()
    except Unavailable:
        return False
    return True
