"""Which run in MLflow a job gets, where one was made, lost or deleted before."""

from dataclasses import replace

import mlflow
import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.proxies import Proxy
from tests.worker.tracking.spools import (
    SUCCEEDED,
    keep_network,
    losses,
    runs_of,
    spool_files,
    steps_of,
    writer_of,
)

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import DeleteJobRequest, TrackingRun
from talweg.v1.workers_pb2 import Lease
from talweg.worker.settings import Settings
from talweg.worker.tracking import runs
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.job_delivery import home
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import RunId, Runs
from talweg.worker.tracking.spool import now_ms


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


def test_the_run_of_a_job_in_a_restored_spool_is_found(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(spec := tiny_spec(experiment="restored"))
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    # The spool was copied before the run was made, and MLflow after that.
    experiment = tracking.create_experiment("restored")
    made = tracking.create_run(experiment, tags={"talweg.job": job_id(name)})
    monkeypatch.setattr(home, "_STARTED_MS", now_ms() + 1)
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.run_id == made.info.run_id == jobs.get(name).tracking.run_id


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
    # The record knows of it, and the job can be collected.
    tracked = jobs.get(name).tracking
    assert (tracked.run_id, tracked.complete, tracked.deleted) == (run.info.run_id, True, True)
    jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=name))


def test_an_earlier_mlflow_gets_what_it_knows(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, proxy: Proxy
) -> None:
    assignment = jobs.begin(spec := tiny_spec(outputs={"model": True, "plots": False}))
    name = assignment.lease.job
    # All of it: a gateway answers so while MLflow is away.
    proxy.lacks = "/mlflow/"
    through = Delivery(replace(settings, tracking_uri=proxy.url))
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        keep_network(writer, spec)
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    through.deliver()
    assert not jobs.get(name).tracking.run_id
    proxy.lacks = "/logged-models"
    through.deliver()
    tracked = jobs.get(name).tracking
    assert tracked.complete
    assert tracked.left_out.startswith("model: this version of MLflow does not know it")
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "FINISHED"
    assert steps_of(tracking, run, "train/loss") == [1, 2, 3, 4]
    jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=name))
    through._remove_deleted()
    assert runs_of(tracking, spec, name) == []


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


def test_a_renamed_experiment_gets_no_more_runs(
    mlflow_url: str, tracking: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Runs(mlflow_url)
    archived = made.experiment("losses of May")
    tracking.rename_experiment(archived, "archive")
    assert made.experiment("losses of May") == archived
    monkeypatch.setattr(runs, "_KNOWN_S", 0.0)
    assert made.experiment("losses of May") not in ("", archived)
    assert made.experiment("archive") == archived


def test_a_run_that_was_dropped_does_not_come_back_with_its_experiment(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(experiment="dropped")
    first, second = jobs.begin(spec), jobs.begin(spec)
    with (
        writer_of(first, settings.spool_dir) as dropped,
        writer_of(second, settings.spool_dir) as waiting,
    ):
        for writer in (dropped, waiting):
            writer.points(losses(range(1, 5)))
            writer.flush()
        delivery.deliver()
        experiment = tracking.get_experiment_by_name("dropped")
        assert experiment is not None
        # A job of another server runs in the same experiment.
        others = tracking.create_run(experiment.experiment_id, tags={"talweg.job": "zzzzzzzzzzz2"})
        tracking.delete_experiment(experiment.experiment_id)
        jobs.finish(first, SUCCEEDED)
        dropped.end(state="SUCCEEDED")
        delivery.deliver()
        assert jobs.get(first.lease.job).tracking.deleted
        # The next job restores the experiment, also for the one that still runs.
        third = jobs.begin(spec)
        with writer_of(third, settings.spool_dir) as writer:
            jobs.finish(third, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        again = Delivery(settings)
        again.deliver()
        waiting.points(losses(range(5, 9)))
        jobs.finish(second, SUCCEEDED)
        waiting.end(state="SUCCEEDED")
    again.deliver()
    assert runs_of(tracking, spec, first.lease.job) == []
    assert tracking.get_run(others.info.run_id).info.lifecycle_stage == "active"
    (run,) = runs_of(tracking, spec, second.lease.job)
    assert run.info.status == "FINISHED"
    assert steps_of(tracking, run, "train/loss") == list(range(1, 9))


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


def test_an_address_that_nobody_can_follow_is_left_out(jobs: Jobs) -> None:
    name = jobs.submit(tiny_spec())
    for url in ("http://host/a b", "file:///runs/r"):
        held = jobs.get(name).tracking.run_id
        Record(jobs.channel).set_run(job_id(name), RunId("r", "1"), expected=held, url=url)
        assert jobs.get(name).tracking == TrackingRun(run_id="r", experiment_id="1")


def test_a_run_begins_with_what_its_job_has_taken_over(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    outputs = {"model": False, "plots": False, "checkpoint": True}
    shorter = tiny_spec(training={"epochs": 2}, outputs=outputs, experiment="taken over")
    jobs.report_end(jobs.begin(shorter), {9: 4.0, 18: 3.0})
    longer = tiny_spec(training={"epochs": 3}, outputs=outputs, experiment="taken over")
    longer.continued_from.job = jobs.latest
    longer.continued_from.as_whole = True
    assignment = jobs.begin(longer)
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points([(27, now_ms(), {"val/mae": 2.0})])
        writer.flush()
        delivery.deliver()
        folder = settings.spool_dir / job_id(assignment.lease.job)
        # Another process, which knows nothing of what was sent.
        (folder / "delivery.json").unlink()
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, longer, assignment.lease.job)
    points = tracking.get_metric_history(run.info.run_id, "val/mae")
    assert [(each.step, each.value) for each in points] == [(9, 4.0), (18, 3.0), (27, 2.0)]
    # The test of the shorter job is not of the longer one.
    assert "test/mae" not in run.data.metrics
