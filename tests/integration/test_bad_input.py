"""What a new user tries first: each gives a clear error or state and changes nothing else."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client

CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown loss": ({"loss": "hubr"}, ["loss", "hubr", "huber"]),
    "misspelt field": ({"traning": {"epochs": 1}}, ["traning", "training"]),
    "negative delta": ({"loss": {"huber": {"delta": -1.0}}}, ["loss.huber.delta", "-1", "> 0"]),
    "a loss of another task": ({"loss": "cross_entropy"}, ["cross_entropy", "regression", "mse"]),
    "targets of another kind": ({"dataset": "iris"}, ["iris", "multiclass"]),
    "unknown metric": (
        {"training": {"early_stopping": {"metric": "val/mea"}}},
        ["early_stopping.metric", "val/mea", "val/mae"],
    ),
}


def count_jobs(stack: Stack) -> int:
    with Client(stack.address) as client:
        return sum(1 for _ in client.jobs())


@pytest.mark.parametrize("case", list(CASES))
def test_bad_spec_is_explained_and_changes_nothing(
    case: str, stack: Stack, tmp_path: Path
) -> None:
    changes, expected = CASES[case]
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**tiny_spec(), **changes}))
    before = count_jobs(stack)
    done = stack.run("submit", str(file))
    assert done.returncode == 2, done.stderr
    for word in expected:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert count_jobs(stack) == before


def test_every_violation_at_once(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    spec = tiny_spec(loss={"huber": {"delta": -1}}, optimizer={"sgd": {"learning_rate": 0}})
    file.write_text(yaml.safe_dump(spec))
    done = stack.run("submit", str(file))
    assert "loss.huber.delta" in done.stderr
    assert "optimizer.sgd.learning_rate" in done.stderr


def test_spec_of_ten_megabytes(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(tiny_spec(display_name="x" * 10_000_000)))
    done = stack.run("submit", str(file))
    assert done.returncode == 2
    assert len(done.stderr) < 2_000
    assert "Traceback" not in done.stderr


def test_server_down(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(tiny_spec()))
    done = stack.run("--address", "127.0.0.1:9", "submit", str(file))
    assert done.returncode == 4
    assert "127.0.0.1:9" in done.stderr
    assert "talweg up" in done.stderr


def test_without_tracking_a_job_succeeds_and_is_delivered_later(fragile_stack: Stack) -> None:
    wait_until(
        lambda: "tracking" in fragile_stack.facts["parts"], timeout=60, what="MLflow starts"
    )
    pid = fragile_stack.pid("tracking")
    os.kill(pid, signal.SIGSTOP)
    try:
        with Client(fragile_stack.address) as client:
            job = client.submit(tiny_spec(outputs={"model": True, "plots": True}))
            assert job.wait(180).result().metrics["test/mae"] > 0
            assert not job.refresh().message.tracking.complete
    finally:
        os.kill(pid, signal.SIGCONT)
    with Client(fragile_stack.address) as client:
        job = client.job(job.name)
        wait_until(
            lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered later"
        )


def test_without_a_worker_a_job_waits_and_says_why(fragile_stack: Stack) -> None:
    worker = fragile_stack.pid("worker-0")
    os.kill(worker, signal.SIGSTOP)
    try:
        with Client(fragile_stack.address) as client:
            job = client.submit(tiny_spec())

            def reason() -> Any:
                return job.refresh().message.waiting_reason

            wait_until(lambda: "no worker" in reason(), timeout=30, what="the job says why")
            assert job.state == "QUEUED"
    finally:
        os.kill(worker, signal.SIGCONT)
    with Client(fragile_stack.address) as client:
        client.job(job.name).wait(360).result()
