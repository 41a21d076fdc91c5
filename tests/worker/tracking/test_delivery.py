"""What of a job arrives in MLflow, in the order in which things may happen."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import losses, runs_of, steps_of, writer_of

from talweg.spec import job_id, parse
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.workers_pb2 import Lease
from talweg.worker.settings import Settings
from talweg.worker.tracking import job as job_module
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import RunId
from talweg.worker.tracking.spool import SpoolWriter
from talweg.worker.tracking.state import DeliveryState

SUCCEEDED = Outcome(state=Job.SUCCEEDED)


def spool_files(settings: Settings) -> list[str]:
    return sorted(name for name in os.listdir(settings.spool_dir) if not name.startswith("."))


def test_run_holds_what_the_job_did(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    # MLflow refuses a name with //, and must get everything else.
    tags = {"team": "blue", "a//b": "x"}
    spec = tiny_spec(experiment="what it did", tags=tags, display_name="a name")
    assignment = jobs.begin(spec)
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.computed({"train.class_counts": "[7, 3]", "loss.focal.alpha.values": "[1, 2]"})
        writer.points(losses(range(1, 30)))
        writer.points([(29, 1_700_000_000_100, {"test/mae": 0.1 + 0.2})])
        writer.warning(kind="REDUCTION_SUM", field="loss.huber.reduction", message="hm")
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    assert spool_files(settings) == []
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    held = jobs.get(assignment.lease.job).tracking
    assert held.complete
    assert (held.run_id, held.experiment_id) == (run.info.run_id, run.info.experiment_id)
    assert held.url.endswith(f"/#/experiments/{held.experiment_id}/runs/{held.run_id}")
    assert run.info.run_name == "a name"
    assert run.info.status == "FINISHED"
    params = run.data.params
    assert params["loss"] == "huber"
    assert params["loss.huber.delta"] == "2"
    assert params["training.batch_size"] == "32"
    assert params["tags.team"] == "blue"
    assert params["train.class_counts"] == "[7, 3]"
    assert params["loss.focal.alpha.values"] == "[1, 2]"
    marks = {key: text for key, text in run.data.tags.items() if not key.startswith("mlflow.")}
    assert marks == {
        "talweg.job": job_id(assignment.lease.job),
        "talweg.loss": "huber",
        "talweg.task": "regression",
        "talweg.attempt": "1",
        "talweg.state": "SUCCEEDED",
        "talweg.warnings": "REDUCTION_SUM: hm",
    }
    assert run.data.metrics == {"train/loss": 1 / 29, "lr": 0.01, "test/mae": 0.1 + 0.2}
    assert steps_of(tracking, run, "train/loss") == list(range(1, 30))
    (point,) = tracking.get_metric_history(run.info.run_id, "test/mae")
    assert (point.step, point.timestamp) == (29, 1_700_000_000_100)
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "diabetes"
    assert data.dataset.digest == ("0123456789abcdef" * 4)[:36]
    assert json.loads(data.dataset.source)["dataset"] == {"diabetes": {}}
    file = tracking.download_artifacts(run.info.run_id, "job.yaml", str(tmp_path))
    assert parse(Path(file).read_text()) == spec


def test_a_running_job_arrives_bit_by_bit(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 4)))
        writer.flush()
        delivery.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert run.info.status == "RUNNING"
        assert steps_of(tracking, run, "train/loss") == [1, 2, 3]
        writer.points(losses(range(4, 7)))
        writer.flush()
        delivery.deliver()
        assert steps_of(tracking, run, "train/loss") == [1, 2, 3, 4, 5, 6]
        assert not jobs.get(name).tracking.complete
        jobs.finish(assignment, Outcome(state=Job.DIVERGED, message="not finite"))
        writer.end(state="DIVERGED", cause="NOT_FINITE", message="not finite")
    delivery.deliver()
    run = tracking.get_run(run.info.run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["talweg.state"] == "DIVERGED"
    assert run.data.tags["talweg.message"] == "not finite"


def test_what_was_computed_arrives_when_it_is_known(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.flush()
        delivery.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert run.data.params["loss"] == "huber"
        writer.computed({"train.class_counts": "[7, 3]"})
        writer.flush()
        # Another process goes on, and sends it once.
        for _ in range(2):
            Delivery(settings).deliver()
        (run,) = runs_of(tracking, spec, name)
        assert run.data.params["train.class_counts"] == "[7, 3]"
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    assert jobs.get(name).tracking.complete


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


def test_a_lost_state_file_doubles_nothing(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 51)))
        writer.flush()
        delivery.deliver()
        folder = settings.spool_dir / job_id(assignment.lease.job)
        (folder / "delivery.json").write_text('{"format": 1, "run_id"')
        writer.points(losses(range(51, 61)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    DeliveryState(creating=True).save(folder)
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 61))


def test_a_run_made_before_a_kill_is_found_again(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec(experiment="found again"))
    name = assignment.lease.job
    home = tracking.create_experiment("found again")
    made = tracking.create_run(home, tags={"talweg.job": job_id(name)})
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    # Killed between MLflow's answer and the next line of code.
    DeliveryState(creating=True).save(settings.spool_dir / job_id(name))
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.run_id == made.info.run_id == jobs.get(name).tracking.run_id
    assert run.info.status == "FINISHED"


def test_of_two_runs_the_record_keeps_the_first(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec(experiment="two runs"))
    name = assignment.lease.job
    home = tracking.create_experiment("two runs")
    others = tracking.create_run(home)
    tracking.log_metric(others.info.run_id, "train/loss", 1.0, step=2)
    Record(jobs.channel).set_run(job_id(name), RunId(others.info.run_id, home), expected="")
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    assert runs_of(tracking, spec, name) == []
    assert jobs.get(name).tracking.run_id == others.info.run_id
    run = tracking.get_run(others.info.run_id)
    assert steps_of(tracking, run, "train/loss") == [2, 3, 4]
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_a_job_that_the_server_ended_does_not_stay_running(
    says_goodbye: bool,
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        writer.flush()
        delivery.deliver()
        jobs.cancel(name, force=True, reason="not needed")
        if says_goodbye:
            writer.end(state="LOST")
        else:
            # Not asked about while it may still be at work.
            delivery.deliver()
            assert spool_files(settings) == [job_id(name)]
            monkeypatch.setattr(job_module, "_SILENT_MS", -1)
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "KILLED"
    assert run.data.tags["talweg.state"] == "CANCELLED"
    assert "not needed" in run.data.tags["talweg.message"]
    assert jobs.get(name).tracking.complete
    assert spool_files(settings) == []


def test_an_attempt_that_never_began_does_not_hide_the_one_before(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, Outcome(state=Job.QUEUED))
        writer.end(state="QUEUED")
    delivery.deliver()
    second = jobs.claim()
    with SpoolWriter(settings.spool_dir, job_id=job_id(name), attempt=2):
        pass
    jobs.finish(second, Outcome(state=Job.CANCELLED))
    monkeypatch.setattr(job_module, "_SILENT_MS", -1)
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "KILLED"
    assert spool_files(settings) == []


def test_an_attempt_that_waits_for_its_successor_is_kept(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, Outcome(state=Job.QUEUED))
        writer.end(state="QUEUED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "RUNNING"
    assert run.data.tags["talweg.state"] == "QUEUED"
    assert spool_files(settings) == [job_id(name)]
    jobs.cancel(name)
    Delivery(settings).deliver()
    assert tracking.get_run(run.info.run_id).info.status == "KILLED"
    assert spool_files(settings) == []


def test_a_run_that_mlflow_lost_is_sent_again(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    gone = RunId("0" * 32, "1")
    Record(jobs.channel).set_run(job_id(name), gone, expected="")
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    DeliveryState(
        run_id=gone.run_id, experiment_id="1", offsets={"1": 10}, high_water={"train/loss": 3}
    ).save(settings.spool_dir / job_id(name))
    delivery.deliver()
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert steps_of(tracking, run, "train/loss") == [1, 2, 3, 4]
    assert jobs.get(name).tracking.run_id == run.info.run_id
    assert jobs.get(name).tracking.complete


def test_a_run_that_somebody_deleted_stays_deleted(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        writer.flush()
        delivery.deliver()
        (run,) = runs_of(tracking, spec, name)
        tracking.delete_run(run.info.run_id)
        writer.points(losses(range(5, 9)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    assert runs_of(tracking, spec, name) == []
    assert spool_files(settings) == []


def test_a_deleted_experiment_comes_back(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="comes back")
    for _ in range(2):
        assignment = jobs.begin(spec)
        with writer_of(assignment, settings.spool_dir) as writer:
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        delivery.deliver()
        experiment = tracking.get_experiment_by_name("comes back")
        assert experiment is not None
        assert experiment.lifecycle_stage == "active"
        assert runs_of(tracking, spec, assignment.lease.job)
        tracking.delete_experiment(experiment.experiment_id)


def test_a_job_that_the_server_does_not_know_reaches_mlflow(
    settings: Settings,
    delivery: Delivery,
    jobs: Jobs,
    tracking: mlflow.MlflowClient,
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    jobs.finish(assignment, SUCCEEDED)
    stranger = "zzzzzzzzzzzz"
    assignment.lease.CopyFrom(Lease(job=f"jobs/{stranger}", attempt=1))
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, f"jobs/{stranger}")
    assert run.info.status == "FINISHED"
    assert spool_files(settings) == []


def test_one_spoilt_spool_does_not_keep_the_others(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    spoilt = settings.spool_dir / "aaaa" / "1"
    spoilt.mkdir(parents=True)
    (spoilt / "lines.jsonl").write_text('{"kind":"begin","spec":{"los":{}}}\n')
    os.utime(spoilt.parent, (time.time() - 99, time.time() - 99))
    assignment = jobs.begin(spec := tiny_spec())
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses([1]))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    assert run.info.status == "FINISHED"
    assert spool_files(settings) == ["aaaa"]
