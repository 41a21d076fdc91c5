"""A thousand tiny runs reach MLflow whole, though it, its database or the delivery stand still.

Minutes long: `make faults`.
"""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import mlflow
import psutil
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client

pytestmark = pytest.mark.faults

NUM_JOBS = 1_000
# Longer than a call of MLflow's client waits, and than a lock is waited for.
STALL_SECONDS = 14.0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = start_stack(tmp_path)
    yield stack
    stack.stop()


def delivery(stack: Stack) -> psutil.Process:
    """Wait for the delivery process and return it; one that was killed is replaced in a moment."""

    def running() -> psutil.Process | None:
        for child in psutil.Process(stack.pid("worker-0")).children(recursive=True):
            with suppress(psutil.Error):
                if "talweg.worker.tracking" in child.cmdline():
                    return child
        return None

    process = wait_until(running, timeout=60, what="the delivery process")
    assert process is not None
    return process


def frozen(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(STALL_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def freeze_mlflow(stack: Stack) -> None:
    # It comes half a minute after the others.
    wait_until(lambda: "tracking" in stack.facts["parts"], timeout=90, what="MLflow")
    frozen(stack.pid("tracking"))


def freeze_delivery(stack: Stack) -> None:
    frozen(delivery(stack).pid)


def lock_database(stack: Stack) -> None:
    file = stack.data / "mlflow" / "mlflow.db"
    wait_until(file.exists, timeout=60, what="the database of MLflow")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(STALL_SECONDS)
        connection.execute("ROLLBACK")


def kill_mlflow(stack: Stack) -> None:
    stack.kill("tracking")


def kill_delivery(stack: Stack) -> None:
    old = delivery(stack)
    old.kill()
    wait_until(lambda: delivery(stack).pid != old.pid, timeout=60, what="another delivery")


FAULTS: list[Callable[[Stack], None]] = [
    lock_database,
    freeze_delivery,
    kill_delivery,
    freeze_mlflow,
    kill_mlflow,
    kill_delivery,
]


def test_each_of_a_thousand_runs_is_whole_and_there_once(stack: Stack) -> None:
    with Client(stack.address) as client:
        jobs = client.submit_many(tiny_spec(seed, experiment="tiny") for seed in range(NUM_JOBS))
        for fault in FAULTS:
            fault(stack)
            time.sleep(1)
        names = {job.name for job in jobs}
        wait_until(
            lambda: all(
                job.message.tracking.complete
                for job in client.jobs(limit=NUM_JOBS)
                if job.name in names
            ),
            timeout=900,
            what="all are delivered",
        )
        points_of_job = {
            job.id: [step for step, _ in job.metrics(points=True).series("train/loss")]
            for job in jobs[::100]
        }
    tracking = mlflow.MlflowClient(stack.tracking)
    experiment = tracking.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = tracking.search_runs([experiment.experiment_id], max_results=NUM_JOBS + 100)
    assert sorted(run.data.tags["talweg.job"] for run in runs) == sorted(job.id for job in jobs)
    assert {run.info.status for run in runs} == {"FINISHED"}
    alike = {(frozenset(run.data.metrics), frozenset(run.data.params)) for run in runs}
    assert len(alike) == 1
    for run in runs:
        steps = points_of_job.get(run.data.tags["talweg.job"])
        if steps is not None:
            history = tracking.get_metric_history(run.info.run_id, "train/loss")
            assert sorted(point.step for point in history) == steps
