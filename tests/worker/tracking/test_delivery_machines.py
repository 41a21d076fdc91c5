"""Attempts on one machine after another: MLflow holds each of their steps once."""

import threading
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.proxies import Proxy
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
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.job_delivery import job as job_module


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call is on its way when a job changes machines, unless a test says so."""
    monkeypatch.setattr(job_module, "longest_call_seconds", lambda: 0.0)
    monkeypatch.setattr(job_module, "_FRESH_MS", 0)


def test_a_later_attempt_sends_only_what_is_new(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    first = jobs.begin(spec := tiny_spec())
    name = first.lease.job
    # The worker is killed: no last line, and a torn one.
    killed = writer_of(first, settings.spool_dir)
    killed.points(losses(range(1, 101)))
    killed.flush()
    with (killed.folder / "lines.jsonl").open("ab") as file:
        file.write(b'{"kind":"metrics","points":[[101,17')
    delivery.deliver()
    jobs.finish(first, Outcome(state=Job.QUEUED))
    second = jobs.claim()
    assert (second.lease.job, second.lease.attempt) == (name, 2)
    with writer_of(second, settings.spool_dir) as writer:
        writer.points(losses(range(1, 61), at_ms=1_800_000_000_000))
        writer.flush()
        delivery.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert steps_of(tracking, run, "train/loss") == list(range(1, 101))
        assert run.info.status == "RUNNING"
        writer.points(losses(range(61, 151), at_ms=1_800_000_000_000))
        jobs.finish(second, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    killed.close()
    (run,) = runs_of(tracking, spec, name)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 151))
    assert run.data.tags["talweg.attempt"] == "2"
    assert run.info.status == "FINISHED"
    assert spool_files(settings) == []


def test_another_machine_goes_on_with_the_same_run(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    first = jobs.begin(spec := tiny_spec())
    name = first.lease.job
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        jobs.finish(first, Outcome(state=Job.QUEUED))
        writer.end(state="QUEUED")
    delivery.deliver()
    assert spool_files(settings) == [job_id(name)]
    elsewhere = Settings(
        address=settings.address, tracking_uri=settings.tracking_uri, spool_dir=tmp_path / "other"
    )
    second = jobs.claim()
    with writer_of(second, elsewhere.spool_dir) as writer:
        writer.points(losses(range(1, 81), at_ms=1_800_000_000_000))
        jobs.finish(second, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    Delivery(elsewhere).deliver()
    (run,) = runs_of(tracking, spec, name)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 81))
    assert run.info.status == "FINISHED"
    # The first machine's delivery asks, and leaves the run as it is.
    Delivery(settings).deliver()
    assert spool_files(settings) == []
    assert tracking.get_run(run.info.run_id).data.tags["talweg.attempt"] == "2"


@pytest.mark.parametrize("ended_before", [False, True])
def test_what_another_machine_does_not_tell_of_again_arrives_late(
    ended_before: bool,
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    elsewhere = replace(settings, spool_dir=tmp_path / "other")
    first = jobs.begin(spec := tiny_spec())
    name = first.lease.job
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        writer.flush()
        delivery.deliver()
        # A checkpoint at step 60; 61 to 70 are done again by the machine that goes on.
        writer.points(losses(range(51, 71)))
        jobs.finish(first, Outcome(state=Job.QUEUED))
        second = jobs.claim()
        writer.end(state="LOST")
    if not ended_before:
        delivery.deliver()
    with writer_of(second, elsewhere.spool_dir) as others:
        others.points(losses(range(61, 81), at_ms=1_800_000_000_000))
        jobs.finish(second, SUCCEEDED)
        others.end(state="SUCCEEDED")
    if not ended_before:
        # Asked before the other machine has told of anything, this one waits.
        Delivery(settings).deliver()
    Delivery(elsewhere).deliver()
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, spec, name)
    assert sorted(steps_of(tracking, run, "train/loss")) == list(range(1, 81))
    assert run.info.status == "FINISHED"
    assert run.data.tags["talweg.attempt"] == "2"
    assert spool_files(settings) == []


@pytest.mark.parametrize("who_is_first", ["the attempt before", "the attempt after"])
def test_what_one_machine_has_left_does_not_double_anothers_steps(
    who_is_first: str,
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    elsewhere = replace(settings, spool_dir=tmp_path / "other")
    other = Delivery(elsewhere)
    first = jobs.begin(spec := tiny_spec())
    name = first.lease.job
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        writer.flush()
        delivery.deliver()
        # The machine is cut off, and goes on for a while: nobody fetches this.
        writer.points(losses(range(51, 71)))
        writer.flush()
        jobs.finish(first, Outcome(state=Job.QUEUED))
        second = jobs.claim()
        with writer_of(second, elsewhere.spool_dir) as others:
            others.points(losses(range(1, 61), at_ms=1_800_000_000_000))
            others.flush()
            order = (
                [delivery, other] if who_is_first == "the attempt before" else [other, delivery]
            )
            for each in order:
                each.deliver()
            writer.end(state="LOST")
            delivery.deliver()
            (run,) = runs_of(tracking, spec, name)
            assert steps_of(tracking, run, "train/loss") == list(range(1, 61))
            assert run.data.tags["talweg.attempt"] == "2"
            # And back again, to the machine that has sent no more than 50 of them.
            jobs.finish(second, Outcome(state=Job.QUEUED))
            others.end(state="QUEUED")
        third = jobs.claim()
        with writer_of(third, settings.spool_dir) as again:
            again.points(losses(range(1, 81), at_ms=1_900_000_000_000))
            jobs.finish(third, SUCCEEDED)
            again.end(state="SUCCEEDED")
        other.deliver()
        delivery.deliver()
    assert steps_of(tracking, run, "train/loss") == list(range(1, 81))
    assert tracking.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_call_that_is_on_its_way_when_the_job_is_taken_doubles_nothing(
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = replace(settings, spool_dir=tmp_path / "other")
    slow, other = Delivery(replace(settings, tracking_uri=proxy.url)), Delivery(elsewhere)
    first = jobs.begin(spec := tiny_spec())
    name = first.lease.job
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        writer.flush()
        slow.deliver()
        writer.points(losses(range(11, 51)))
        writer.flush()
        proxy.holds = "/log-batch"
        sending = threading.Thread(target=slow.deliver)
        sending.start()
        assert proxy.held.wait(120)
        jobs.finish(first, Outcome(state=Job.QUEUED))
        second = jobs.claim()
        with writer_of(second, elsewhere.spool_dir) as others:
            others.points(losses(range(11, 61), at_ms=1_800_000_000_000))
            jobs.finish(second, SUCCEEDED)
            others.end(state="SUCCEEDED")
        monkeypatch.setattr(job_module, "longest_call_seconds", lambda: 60.0)
        other.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert steps_of(tracking, run, "train/loss") == list(range(1, 11))
        assert run.info.status == "RUNNING"
        proxy.opened.set()
        sending.join(120)
        assert steps_of(tracking, run, "train/loss") == list(range(1, 51))
        # As if so long had passed.
        monkeypatch.setattr(job_module, "longest_call_seconds", lambda: 0.0)
        other.deliver()
        writer.end(state="LOST")
    slow.deliver()
    assert steps_of(tracking, run, "train/loss") == list(range(1, 61))
    assert tracking.get_run(run.info.run_id).info.status == "FINISHED"
    assert spool_files(settings) == []


def test_between_two_calls_a_machine_asks_whether_the_job_is_still_its_own(
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    proxy: Proxy,
    tmp_path: Path,
) -> None:
    elsewhere = replace(settings, spool_dir=tmp_path / "other")
    slow, other = Delivery(replace(settings, tracking_uri=proxy.url)), Delivery(elsewhere)
    first = jobs.begin(spec := tiny_spec())
    with writer_of(first, settings.spool_dir) as writer:
        writer.flush()
        slow.deliver()
        # More than one call takes: each step has two values.
        writer.points(losses(range(1, 801)))
        writer.flush()
        proxy.holds = "/log-batch"
        sending = threading.Thread(target=slow.deliver)
        sending.start()
        assert proxy.held.wait(120)
        jobs.finish(first, Outcome(state=Job.QUEUED))
        second = jobs.claim()
        proxy.opened.set()
        sending.join(120)
        (run,) = runs_of(tracking, spec, first.lease.job)
        num_sent = len(steps_of(tracking, run, "train/loss"))
        assert 0 < num_sent < 800
        with writer_of(second, elsewhere.spool_dir) as others:
            others.points(losses(range(1, 851), at_ms=1_800_000_000_000))
            jobs.finish(second, SUCCEEDED)
            others.end(state="SUCCEEDED")
        other.deliver()
        writer.end(state="LOST")
    slow.deliver()
    for metric in ("train/loss", "lr"):
        assert steps_of(tracking, run, metric) == list(range(1, 851))
