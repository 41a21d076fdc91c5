"""Parts are killed in mid-job; every job still ends SUCCEEDED, once, bit for bit the same.

Or they stand still, and jobs wait or do without.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.faults import (
    end_worker,
    kill_child,
    kill_server,
    kill_worker,
    wipe_broker,
)
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client, Job

# Long enough on any machine to be killed in the middle.
STEPS = 12_000
MODEL = {"mlp": {"hidden": [8], "batch_norm": True, "dropout": 0.1}}


def long_spec(name: str) -> dict[str, object]:
    return tiny_spec(
        display_name=name,
        experiment="faults",
        model=MODEL,
        training={
            "steps": STEPS,
            "seed": 7,
            "evaluate_every_epochs": 50,
            "log_every_steps": 500,
            "checkpoints": {"every_steps": 333},
        },
        outputs={"model": True, "plots": False},
    )


class Left(NamedTuple):
    """What a job left behind."""

    metrics: dict[str, float]
    """In the record."""
    points: dict[str, list[tuple[int, float]]]
    """In MLflow."""
    weights: bytes


def left_by(stack: Stack, job: Job, folder: Path) -> Left:
    """Return all that the clock has no part in."""
    metrics = {
        name: value
        for name, value in job.wait(1080).result().metrics.items()
        if not name.startswith("throughput/")
    }
    wait_until(lambda: job.refresh().message.tracking.complete, timeout=90, what="delivered")
    tracking = mlflow.MlflowClient(stack.tracking)
    experiment = tracking.get_experiment_by_name("faults")
    assert experiment is not None
    (run,) = tracking.search_runs([experiment.experiment_id], f"tags.`talweg.job` = '{job.id}'")
    assert run.info.status == "FINISHED"
    points = {
        name: [(p.step, p.value) for p in tracking.get_metric_history(run.info.run_id, name)]
        for name in metrics
    }
    path = tracking.download_artifacts(run.info.run_id, "weights/weights.safetensors", str(folder))
    return Left(metrics, points, Path(path).read_bytes())


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.address) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What the job leaves when nobody disturbs it."""
    with Client(stack.address) as client:
        job = client.submit(long_spec("undisturbed"))
        left = left_by(stack, job, tmp_path_factory.mktemp("undisturbed"))
        assert job.message.attempt == 1
        return left


def running(job: Job) -> None:
    """Wait until the job is in the middle of its steps."""
    wait_until(
        lambda: job.refresh().state == "RUNNING" and job.message.progress.step > STEPS // 20,
        timeout=60,
        what="the job is in the middle of its steps",
    )
    assert job.message.progress.step < STEPS


@pytest.mark.parametrize(
    "fault",
    [
        kill_worker,
        kill_server,
        *(
            pytest.param(each, marks=pytest.mark.faults)
            for each in (kill_child, end_worker, wipe_broker)
        ),
    ],
)
def test_job_survives(  # type: ignore[no-untyped-def]
    fault, stack: Stack, client: Client, undisturbed: Left, tmp_path: Path
) -> None:
    job = client.submit(long_spec(fault.__name__))
    waiting = client.submit(tiny_spec(experiment="faults"))
    running(job)
    reached = job.message.progress.step
    fault(stack)
    left = left_by(stack, job, tmp_path)
    assert left.metrics == undisturbed.metrics
    # Each step once, and the same points as of a run that never stopped.
    assert left.points == undisturbed.points
    assert left.weights == undisturbed.weights
    events = list(job.watch())
    kinds = [event.WhichOneof("kind") for event in events]
    assert kinds.count("finished") == 1
    waiting.wait(360).result()
    if fault in (kill_child, kill_worker, end_worker):
        assert job.message.attempt >= 2
        (line,) = (e.log.text for e in events if "Resumes from" in e.log.text)
        came_from = int(line.split()[-1].rstrip("."))
        # In order it loses nothing; killed, what came after the last checkpoint.
        assert came_from >= (reached if fault is end_worker else reached - 333)
    (last,) = job.refresh().message.checkpoints
    assert last.step == STEPS
    kept = {path.name.partition(".")[0] for path in (stack.data / "blobs").rglob("*.*")}
    assert last.name.rpartition("/")[2] in kept
    assert len([name for name in kept if name.startswith(f"{STEPS:012}")]) >= 1


def test_without_tracking_a_job_succeeds_and_is_delivered_later(stack: Stack) -> None:
    wait_until(lambda: "tracking" in stack.facts["parts"], timeout=60, what="MLflow starts")
    pid = stack.pid("tracking")
    os.kill(pid, signal.SIGSTOP)
    try:
        with Client(stack.address) as client:
            job = client.submit(tiny_spec(outputs={"model": True, "plots": True}))
            assert job.wait(180).result().metrics["test/mae"] > 0
            assert not job.refresh().message.tracking.complete
    finally:
        os.kill(pid, signal.SIGCONT)
    with Client(stack.address) as client:
        job = client.job(job.name)
        wait_until(
            lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered later"
        )


def test_without_a_worker_a_job_waits_and_says_why(stack: Stack) -> None:
    worker = stack.pid("worker-0")
    os.kill(worker, signal.SIGSTOP)
    try:
        with Client(stack.address) as client:
            job = client.submit(tiny_spec())

            def reason() -> Any:
                return job.refresh().message.waiting_reason

            wait_until(lambda: "no worker" in reason(), timeout=30, what="the job says why")
            assert job.state == "QUEUED"
    finally:
        os.kill(worker, signal.SIGCONT)
    with Client(stack.address) as client:
        client.job(job.name).wait(360).result()
