"""`talweg submit` over both servers: what it prints, where to, and its exit status."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.commands import Talweg, finishing
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client
from talweg.spec import parse
from talweg.v1 import jobs_pb2


def count(client: Client) -> int:
    return sum(1 for _ in client.jobs())


def test_submit_prints_ids_alone(
    talweg: Talweg, client: Client, write: Callable[..., Path]
) -> None:
    batch = {"base": sample(), "jobs": [{}, {"loss": "mae", "display_name": "mine"}]}
    done = talweg("submit", write(batch), "--set", "training.epochs=9")
    assert done.status == 0
    first, second = done.out.splitlines()
    assert first.split(maxsplit=1)[1] == "mse on diabetes, seed 0"
    assert second.split(maxsplit=1)[1] == "mine"
    assert client.job(first.split()[0]).spec.training.epochs == 9
    assert "submitted 2 jobs" in done.err


def test_submit_several_files_and_json(talweg: Talweg, write: Callable[..., Path]) -> None:
    done = talweg("submit", write(sample(1), "a.yaml"), write(sample(2), "b.yaml"), "--json")
    assert [job["spec"]["training"]["seed"] for job in done.json] == [1, 2]
    assert {job["state"] for job in done.json} == {"QUEUED"}
    assert all(job["name"] == f"jobs/{job['id']}" for job in done.json)


def test_submit_from_standard_input(
    talweg: Talweg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "stdin"
    path.write_text(json.dumps(sample(4)))
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        done = talweg("submit", "-", "--json")
    assert done.json[0]["spec"]["training"]["seed"] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "hubr"}, ['loss: found "hubr"', "huber"]),
        ({"traning": {"epochs": 1}}, ["traning: found", "did you mean 'training'?"]),
        ({"loss": {"huber": {"delta": -1.0}}}, ["loss.huber.delta: found -1", "> 0"]),
        ({"loss": "cross_entropy"}, ["cross_entropy", "regression"]),
        (
            {"loss": {"huber": {"delta": -1}}, "training": {"batch_size": 0}},
            ["2 problems", "loss.huber.delta", "training.batch_size"],
        ),
    ],
)
def test_wrong_spec_is_explained_and_changes_nothing(
    talweg: Talweg,
    client: Client,
    write: Callable[..., Path],
    changes: dict[str, Any],
    words: list[str],
) -> None:
    before = count(client)
    path = write({**sample(), **changes})
    for dry_run in ([], ["--dry-run"]):
        done = talweg("submit", path, *dry_run)
        assert done.status == 2
        assert done.out == ""
        assert str(path) in done.err
        for word in words:
            assert word in done.err
    assert count(client) == before


def test_one_wrong_job_of_many_keeps_all_back(
    talweg: Talweg, client: Client, write: Callable[..., Path]
) -> None:
    before = count(client)
    jobs = [{"training": {"seed": seed}} for seed in range(3)]
    bad = write({"base": sample(), "jobs": [*jobs, {"loss": {"huber": {"delta": -1}}}]}, "bad")
    done = talweg("submit", write(sample(), "good.yaml"), bad)
    assert done.status == 2
    assert "jobs[3].loss.huber.delta: found -1" in done.err
    assert "good.yaml" not in done.err
    assert "nothing was submitted" in done.err
    assert count(client) == before


def test_what_all_jobs_share_is_told_once(talweg: Talweg, write: Callable[..., Path]) -> None:
    batch = {"base": sample(loss={"huber": {"delta": -1}}), "jobs": [{}, {"experiment": "b"}]}
    done = talweg("submit", write(batch))
    assert done.err.count("loss.huber.delta") == 1


def test_warnings_go_to_standard_error_once(talweg: Talweg, write: Callable[..., Path]) -> None:
    batch = {"base": sample(loss={"mse": {"reduction": "sum"}}), "jobs": [{}, {}]}
    done = talweg("submit", write(batch), "--json")
    assert len(done.json) == 2
    assert done.err.count("loss.mse.reduction") == 1
    assert "(2 jobs)" in done.err


def test_dry_run_prints_specs_that_submit_as_they_are(
    talweg: Talweg, client: Client, write: Callable[..., Path]
) -> None:
    before = count(client)
    done = talweg("submit", write({"base": sample(), "jobs": [{}, {}]}), "--dry-run")
    assert done.status == 0
    for text in done.out.split("---\n"):
        assert parse(text).training.batch_size == 32
    assert "nothing was submitted" in done.err
    done = talweg("submit", write(sample()), "--dry-run", "--json")
    assert done.json[0]["training"]["batch_size"] == 32
    assert count(client) == before


def test_submit_and_watch(
    talweg: Talweg, worker: Worker, client: Client, write: Callable[..., Path]
) -> None:
    batch = {"base": sample(), "jobs": [{}, {"training": {"seed": 1}}]}
    with finishing(worker, jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.SUCCEEDED):
        done = talweg("submit", write(batch), "--watch")
    assert done.status == 0
    assert "mse on diabetes, seed 0: RUNNING" in done.out
    assert "mse on diabetes, seed 1: SUCCEEDED, test/mae 50.000" in done.out
    with finishing(worker, jobs_pb2.Job.SUCCEEDED, jobs_pb2.Job.FAILED):
        done = talweg("submit", write(batch), "--watch", "--json")
    assert done.status == 1
    assert sorted(job["state"] for job in done.json) == ["FAILED", "SUCCEEDED"]
    assert "no luck" in done.err
