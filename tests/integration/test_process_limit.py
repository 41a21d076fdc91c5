"""The system starts no further process or thread for a part of a stack.

Minutes long: `make faults`.
"""

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client, Unavailable

pytestmark = pytest.mark.faults

# The kernel limits everybody but root: for root the stack runs as somebody whom nobody else is,
# and who may still read root's files.
_SOMEBODY = 54_000 + os.getpid() % 1_000
_AS_SOMEBODY = (
    *("setpriv", f"--reuid={_SOMEBODY}", f"--regid={_SOMEBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"),
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    before = _AS_SOMEBODY if os.getuid() == 0 else ()
    if before and shutil.which(before[0]) is None:
        pytest.skip("setpriv of util-linux is not installed")
    # Not among pytest's folders, which only their owner enters.
    with tempfile.TemporaryDirectory(prefix="talweg-limited-") as folder:
        if before:
            os.chown(folder, _SOMEBODY, _SOMEBODY)
        stack = start_stack(Path(folder), before=before, TALWEG_LEASE_SECONDS="5")
        # Of another user, a stack is not taken for one's own.
        stack.env |= {"TALWEG_ADDRESS": stack.address, "TALWEG_TOKEN": stack.token}
        yield stack
        stack.stop()


@contextmanager
def limited(*pids: int) -> Iterator[None]:
    """Let processes start neither processes nor threads."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    before = _AS_SOMEBODY if os.getuid() == 0 else ()

    def set_limit(pid: int, limit: str) -> None:
        # By a process of the same user: root may lack what it takes to limit those of others.
        command = [*before, "prlimit", "--pid", str(pid), f"--nproc={limit}:"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 or not psutil.pid_exists(pid), done.stderr

    for pid in pids:
        set_limit(pid, "1")
    try:
        yield
    finally:
        for pid in pids:
            set_limit(pid, "unlimited" if hard == resource.RLIM_INFINITY else str(hard))


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.address, token=stack.token, timeout=timedelta(seconds=10)) as client:
        yield client
    assert stack.process.poll() is None


def log_of(stack: Stack, part: str) -> str:
    return (stack.data / "logs" / f"{part}.log").read_text()


def test_server(stack: Stack, client: Client, tmp_path: Path) -> None:
    jobs = client.submit_many(
        tiny_spec(seed, experiment="limited", loss=loss)
        for loss in ("mse", "mae")
        for seed in range(3)
    )
    for job in jobs:
        assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{i % 13},{i % 7}\n" for i in range(300)))
    compare = ("compare", "--experiment", "limited", "--baseline", "mse", "--metric", "test/mae")
    server = stack.pid("server")
    with limited(server):
        # Its comparison needs a process. gRPC needs threads, and may never get over the want of
        # one: then the server is replaced.
        with pytest.raises(Unavailable):
            client.compare(jobs, baseline="mse")
        wait_until(
            lambda: stack.run("status").stdout.startswith("server    ok"),
            timeout=60,
            what="the server answers",
        )
        job = client.submit(tiny_spec(experiment="limited"))
        assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    for each in jobs:
        assert each.refresh().state == "SUCCEEDED"
    if stack.pid("server") != server:
        said = log_of(stack, "server")
        assert "ulimit -u" in said or "pthread_create failed" in said
    assert stack.run(*compare).returncode == 0
    assert stack.run("data", "add", str(table), "--name", "table").returncode == 0
    assert "Traceback" not in log_of(stack, "server")


def test_process_that_trains(stack: Stack, client: Client) -> None:
    child = wait_until(stack.worker_child, timeout=60, what="the process that trains")
    assert child is not None
    with limited(child):
        job = client.submit(tiny_spec())
        wait_until(
            lambda: "limit is reached" in job.refresh().message.waiting_reason,
            timeout=60,
            what="the reason",
        )
        assert job.state == "QUEUED"
        assert "ulimit -u" in job.message.waiting_reason
    assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED"


def test_worker_and_stack(stack: Stack, client: Client) -> None:
    worker = stack.pid("worker-0")
    child = wait_until(stack.worker_child, timeout=60, what="the process that trains")
    assert child is not None
    job = client.submit(tiny_spec(training={"steps": 4_000, "checkpoints": {"every_steps": 200}}))
    wait_until(lambda: job.refresh().message.progress.step > 300, timeout=60, what="it trains")
    with limited(worker, stack.process.pid):
        psutil.Process(child).kill()
        # Whatever the worker makes of it: it is replaced once that can be done.
        wait_until(lambda: job.refresh().state == "QUEUED", timeout=60, what="it is taken back")
    assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED"
    assert job.message.attempt >= 2
