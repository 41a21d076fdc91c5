"""What a new user tries first: each gives a clear error and changes nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client
from talweg.client.cli._root import run

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
    case: str, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, expected = CASES[case]
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump({**tiny_spec(), **changes}))
    before = count_jobs(stack)
    # In this process: those below are told in a process of their own.
    status = run(["--address", stack.address, "submit", str(file)])
    told = capsys.readouterr().err
    assert status == 2, told
    for word in expected:
        assert word in told
    assert "Traceback" not in told
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
