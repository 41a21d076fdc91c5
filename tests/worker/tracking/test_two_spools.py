"""A job that ran on two machines is complete once both have delivered, or one is given up."""

import json
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import (
    SUCCEEDED,
    losses,
    runs_of,
    spool_files,
    steps_of,
    writer_of,
)

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.errors import RefusedError
from talweg.worker.tracking.job_delivery import ending as ending_module
from talweg.worker.tracking.job_delivery import job as job_module
from talweg.worker.tracking.job_delivery import other_spools
from talweg.worker.tracking.spool import spool_id

BACK = Outcome(state=Job.QUEUED)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call is on its way when a job changes machines, and questions may follow each other."""
    monkeypatch.setattr(job_module, "longest_call_seconds", lambda: 0.0)
    monkeypatch.setattr(job_module, "_FRESH_MS", 0)
    for module in (ending_module, other_spools):
        monkeypatch.setattr(module, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """Another machine's."""
    (tmp_path / "other").mkdir()
    return replace(settings, spool_dir=tmp_path / "other")


def moved(jobs: Jobs, settings: Settings, elsewhere: Settings, spec: JobSpec) -> str:
    """Leave a job's steps 1 to 50 in one spool, and 41 to 80 and its end in another."""
    first = jobs.begin(spec, spool=spool_id(settings.spool_dir))
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        jobs.finish(first, BACK)
        writer.end(state="LOST")
    second = jobs.claim(spool=spool_id(elsewhere.spool_dir))
    assert (second.lease.job, second.lease.attempt) == (first.lease.job, 2)
    with writer_of(second, elsewhere.spool_dir) as writer:
        writer.points(losses(range(41, 81), at_ms=1_800_000_000_000))
        jobs.finish(second, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    return first.lease.job


def test_the_last_machine_waits_for_the_first(
    jobs: Jobs, settings: Settings, elsewhere: Settings, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="two spools")
    name = moved(jobs, settings, elsewhere, spec)
    first, last = Delivery(settings), Delivery(elsewhere)
    for _ in range(2):
        last.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert steps_of(tracking, run, "train/loss") == list(range(41, 81))
        assert run.info.status == "RUNNING"
        assert not jobs.get(name).tracking.complete
    first.deliver()
    assert steps_of(tracking, run, "train/loss") == list(range(1, 81))
    assert not jobs.get(name).tracking.complete
    last.deliver()
    tracked = jobs.get(name).tracking
    assert (tracked.complete, tracked.missing) == (True, "")
    assert tracking.get_run(run.info.run_id).info.status == "FINISHED"
    assert spool_files(settings) == spool_files(elsewhere) == []


def test_a_part_that_arrived_before_the_end_is_not_waited_for(
    jobs: Jobs, settings: Settings, elsewhere: Settings
) -> None:
    first = jobs.begin(tiny_spec(), spool=spool_id(settings.spool_dir))
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        jobs.finish(first, BACK)
        writer.end(state="QUEUED")
    Delivery(settings).deliver()
    second = jobs.claim(spool=spool_id(elsewhere.spool_dir))
    with writer_of(second, elsewhere.spool_dir) as writer:
        jobs.finish(second, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    # The first machine never comes back.
    Delivery(elsewhere).deliver()
    tracked = jobs.get(first.lease.job).tracking
    assert (tracked.complete, tracked.missing) == (True, "")


def test_a_machine_that_does_not_come_back_is_named(
    jobs: Jobs, settings: Settings, elsewhere: Settings, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="one is gone")
    name = moved(jobs, settings, elsewhere, spec)
    Delivery(replace(elsewhere, delivery_wait=0.0)).deliver()
    (run,) = runs_of(tracking, spec, name)
    tracked = jobs.get(name).tracking
    assert tracked.complete
    assert tracked.missing == "attempt 1 on test: its results did not arrive within 0 min"
    assert run.info.status == "FINISHED"
    assert spool_files(elsewhere) == []
    # It comes back after all.
    Delivery(settings).deliver()
    assert steps_of(tracking, run, "train/loss") == list(range(1, 81))
    tracked = jobs.get(name).tracking
    assert (tracked.complete, tracked.missing) == (True, "")
    assert tracking.get_run(run.info.run_id).info.status == "FINISHED"
    assert spool_files(settings) == []


def test_what_the_first_machine_left_out_is_told(
    jobs: Jobs, settings: Settings, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: JobSpec) -> str:
        raise RefusedError("too long")

    name = moved(jobs, settings, elsewhere, tiny_spec(experiment="left out"))
    last = Delivery(elsewhere)
    last.deliver()
    with monkeypatch.context() as patched:
        patched.setattr(job_module, "to_yaml", refuse)
        Delivery(settings).deliver()
    last.deliver()
    tracked = jobs.get(name).tracking
    assert (tracked.complete, tracked.left_out) == (True, "job file: too long")


def test_a_run_is_closed_where_the_last_machine_is_gone(
    jobs: Jobs, settings: Settings, elsewhere: Settings, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="the last is gone")
    name = moved(jobs, settings, elsewhere, spec)
    waiting = Delivery(settings)
    waiting.deliver()
    waiting.deliver()
    # What is sent here depends on what the other one sends.
    assert spool_files(settings) == [job_id(name)]
    state = settings.spool_dir / job_id(name) / "delivery.json"
    assert list(json.loads(state.read_text())["waiting_since"]) == ["2"]
    assert not jobs.get(name).tracking.complete
    # Another process takes over, and the time is over by then.
    Delivery(replace(settings, delivery_wait=0.0)).deliver()
    (run,) = runs_of(tracking, spec, name)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 51))
    assert run.info.status == "FINISHED"
    tracked = jobs.get(name).tracking
    assert tracked.complete
    assert "attempt 2 on test" in tracked.missing
    Delivery(elsewhere).deliver()
    assert steps_of(tracking, run, "train/loss") == list(range(1, 81))
    assert jobs.get(name).tracking.missing == ""


def test_an_attempt_that_left_nothing_in_the_same_spool_is_not_waited_for(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient
) -> None:
    spool = spool_id(settings.spool_dir)
    first = jobs.begin(spec := tiny_spec(experiment="left nothing"), spool=spool)
    name = first.lease.job
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        jobs.finish(first, BACK)
        writer.end(state="QUEUED")
    # Killed before it has begun.
    jobs.claim(spool=spool)
    jobs.cancel(name, force=True)
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "KILLED"
    assert (jobs.get(name).tracking.complete, jobs.get(name).tracking.missing) == (True, "")


def test_a_spool_keeps_its_id(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    assert spool_id(first) == spool_id(first) != spool_id(second)
    assert [path.name for path in first.iterdir()] == [".id"]
    assert spool_id(tmp_path / "none") == ""
