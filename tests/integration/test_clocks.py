"""The record's clock differs by minutes from those of workers and clients, both ways.

Minutes long: `make faults`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import mlflow
import psutil
import pytest
from tests._parts import start, stop, wait_until
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client, TalwegError

pytestmark = pytest.mark.faults

SKEW_SECONDS = 300
LEASE_SECONDS = 5


# Read by each Python as it starts. gRPC waits for times of day by the kernel's clock, so the clock
# of a whole process cannot be changed: only what the record goes by.
OTHER_CLOCK = """
import os, sys

if sys.orig_argv[-3:] == ["-m", "talweg.client.cli", "server"]:
    from talweg.server.store.record import clock

    true_time, skew = clock.system_time, int(os.environ["OTHER_CLOCK_SECONDS"]) * clock.SECOND
    clock.system_time = lambda: true_time() + skew
"""


@pytest.fixture(scope="module", params=[SKEW_SECONDS, -SKEW_SECONDS], ids=["ahead", "behind"])
def skewed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stack, int]]:
    """A stack whose record has another clock than workers and clients, and by how much."""
    library = tmp_path_factory.mktemp("clock")
    (library / "sitecustomize.py").write_text(OTHER_CLOCK)
    before = os.environ.get("PYTHONPATH")
    stack = start_stack(
        tmp_path_factory.mktemp("skewed"),
        PYTHONPATH=str(library) if before is None else f"{library}{os.pathsep}{before}",
        OTHER_CLOCK_SECONDS=str(request.param),
        TALWEG_LEASE_SECONDS=str(LEASE_SECONDS),
    )
    yield stack, request.param
    stack.stop()


@contextmanager
def worker_of_another_machine(stack: Stack, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with a spool of its own."""
    folder.mkdir()
    ready = folder / "ready"
    password = (stack.data / "broker-password").read_text().strip()
    process = start(
        [sys.executable, "-m", "talweg.client.cli", "worker", "--name", "other"],
        log=folder / "worker.log",
        env={
            "TALWEG_ADDRESS": stack.address,
            "TALWEG_BROKER_URL": f"redis://:{password}@{stack.facts['broker']}/0",
            "TALWEG_TRACKING_URI": stack.tracking,
            "TALWEG_TOKEN_FILE": str(stack.data / "worker-token"),
            "TALWEG_SPOOL_DIR": str(folder / "spool"),
            "TALWEG_BLOBS": str(stack.data / "blobs"),
            "TALWEG_READY_FILE": str(ready),
        },
    )
    try:
        wait_until(
            lambda: ready.exists() or process.poll() is not None, timeout=180, what="a worker"
        )
        yield process
    finally:
        stop(process)


def training_processes(pid: int) -> list[psutil.Process]:
    main = psutil.Process(pid)
    return [main, *(c for c in main.children() if "talweg.worker.tracking" not in c.cmdline())]


def go_on(frozen: Sequence[psutil.Process]) -> None:
    for process in frozen:
        # One whose lease has run out ends as soon as it may go on.
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def test_a_job_moves_between_clocks(skewed: tuple[Stack, int], tmp_path: Path) -> None:
    stack, skew = skewed
    wait_until(lambda: "tracking" in stack.facts["parts"], timeout=120, what="MLflow")
    with Client(stack.address) as client:
        job = client.submit(
            tiny_spec(
                experiment="clocks",
                training={
                    "steps": 8_000,
                    "log_every_steps": 100,
                    "checkpoints": {"every_steps": 200},
                },
            )
        )
        wait_until(
            lambda: job.refresh().message.progress.step > 1_000, timeout=120, what="it trains"
        )
        # It has outlived more than one lease by then, or renewed it several times.
        assert job.message.attempt == 1
        # The record's clock is another one indeed.
        off = job.message.start_time.ToSeconds() - time.time() - skew
        assert abs(off) < SKEW_SECONDS / 2
        frozen = training_processes(stack.pid("worker-0"))
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            with worker_of_another_machine(stack, tmp_path / "other"):
                assert job.wait(timedelta(minutes=10)).state == "SUCCEEDED"
                assert job.refresh().message.attempt == 2
                go_on(frozen)
                wait_until(
                    lambda: job.refresh().message.tracking.complete, timeout=180, what="delivered"
                )
        finally:
            go_on(frozen)
        message = job.message
        # The record's clock alone.
        assert message.create_time.ToSeconds() <= message.start_time.ToSeconds()
        assert message.start_time.ToSeconds() <= message.end_time.ToSeconds()
        times = [event.time.ToNanoseconds() for event in job.watch()]
        assert times == sorted(times)
    tracking = mlflow.MlflowClient(stack.tracking)
    experiment = tracking.get_experiment_by_name("clocks")
    assert experiment is not None
    runs = tracking.search_runs([experiment.experiment_id], f"tags.`talweg.job` = '{job.id}'")
    (run,) = runs
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    history = tracking.get_metric_history(run.info.run_id, "train/loss")
    steps = sorted(point.step for point in history)
    assert steps == sorted({*range(1, 8_001, 100), 8_000})
    last = max(history, key=lambda point: point.step)
    assert run.data.metrics["train/loss"] == last.value


def test_jobs_and_tokens_of_a_client_with_another_clock(skewed: tuple[Stack, int]) -> None:
    stack, _ = skewed
    with Client(stack.address) as client:
        jobs = client.submit_many(tiny_spec(seed) for seed in range(3))
        for job in jobs:
            assert job.wait(timedelta(minutes=6)).state == "SUCCEEDED"
            assert job.message.attempt == 1

    def token(expires: str) -> str:
        made = stack.run("token", "create", "--role", "viewer", "--expires", expires, "--json")
        assert made.returncode == 0, made.stderr
        return str(json.loads(made.stdout)["secret"])

    # Whether it holds is the record's to say, whatever this machine's clock shows.
    with Client(stack.address, token=token("1h")) as viewer:
        assert len(list(viewer.jobs(limit=3))) == 3
    with Client(stack.address, token=token("20s")) as viewer:
        assert len(list(viewer.jobs(limit=3))) == 3

        def is_refused() -> bool:
            try:
                list(viewer.jobs(limit=1))
            except TalwegError as error:
                return error.reason == "UNAUTHENTICATED"
            return False

        wait_until(is_refused, timeout=60, what="it expires")
