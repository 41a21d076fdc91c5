"""What of a job arrives in MLflow, in the order in which things may happen."""

import json
import os
import time
from pathlib import Path

import mlflow
import pytest
from tests._parts import wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import (
    SUCCEEDED,
    losses,
    runs_of,
    spool_files,
    steps_of,
    writer_of,
)

from talweg.spec import CheckpointName, job_id, parse
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.settings import Settings
from talweg.worker.tracking import spool
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.job_delivery import ending
from talweg.worker.tracking.outputs import results
from talweg.worker.tracking.spool import SpoolWriter


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
    page = f"/#/experiments/{held.experiment_id}/runs/{held.run_id}"
    assert held.url.endswith(f"{page}?workflowType=machine_learning")
    assert run.info.run_name == "a name"
    assert run.info.status == "FINISHED"
    params = run.data.params
    assert params["loss"] == "huber"
    assert params["loss.huber.delta"] == "2"
    assert params["training.batch_size"] == "32"
    assert not any(name.startswith("tags.") or name.endswith("reduction") for name in params)
    assert run.data.tags["team"] == "blue"
    assert "a//b" not in run.data.tags
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("**regression** on diabetes: mlp, loss huber")
    assert "test/mae **0.3**" in note
    assert r"- REDUCTION\_SUM: hm" in note
    assert params["train.class_counts"] == "[7, 3]"
    assert params["loss.focal.alpha.values"] == "[1, 2]"
    marks = {key: text for key, text in run.data.tags.items() if not key.startswith("mlflow.")}
    assert marks == {
        "talweg.job": job_id(assignment.lease.job),
        "talweg.loss": "huber",
        "talweg.loss_label": "huber delta=2",
        "talweg.task": "regression",
        "talweg.project": "default",
        "talweg.attempt": "1",
        "talweg.state": "SUCCEEDED",
        "talweg.warnings": "REDUCTION_SUM: hm",
        "team": "blue",
    }
    assert run.data.metrics == {"train/loss": 1 / 29, "lr": 0.01, "test/mae": 0.1 + 0.2}
    assert steps_of(tracking, run, "train/loss") == list(range(1, 30))
    (point,) = tracking.get_metric_history(run.info.run_id, "test/mae")
    assert (point.step, point.timestamp) == (29, 1_700_000_000_100)
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "diabetes"
    assert json.loads(data.dataset.profile or "")["sha256"] == "0123456789abcdef" * 4
    assert json.loads(data.dataset.source)["dataset"] == {"diabetes": {}}
    file = tracking.download_artifacts(run.info.run_id, "job.yaml", str(tmp_path))
    assert parse(Path(file).read_text()) == spec
    # The worker's account has submitted nothing, and who has is not known.
    assert "mlflow.user" not in run.data.tags
    # The key that `talweg compare` puts into its links.
    experiment = tracking.get_experiment(run.info.experiment_id)
    view = json.loads(experiment.tags["mlflow.sharedViewState.talweg-test-mae"])
    assert [chart["metricKey"] for chart in view["compareRunCharts"]] == [
        "test/mae", "val/mae", "train/loss_mean",
    ]  # fmt: skip
    assert view["orderByAsc"] is True


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
    unreported = Path(settings.blobs) / f"{CheckpointName(name, 3, 1)}.json"
    half_written = unreported.with_name(f".{unreported.name}.part")
    unreported.parent.mkdir(parents=True)
    for file in (unreported, half_written):
        file.write_bytes(b"x")
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        writer.flush()
        delivery.deliver()
        assert unreported.exists()
        jobs.cancel(name, force=True, reason="not needed")
        if says_goodbye:
            writer.end(state="LOST")
        else:
            # Not asked about while it may still be at work, nor closed while its worker lives.
            for silent_ms in (10_000, -1):
                monkeypatch.setattr(ending, "_SILENT_MS", silent_ms)
                delivery.deliver()
                assert spool_files(settings) == [job_id(name)]
    # Without a last line it is the worker's end that says that there is no more.
    delivery.deliver()
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "KILLED"
    assert run.data.tags["talweg.state"] == "CANCELLED"
    assert "not needed" in run.data.tags["talweg.message"]
    assert jobs.get(name).tracking.complete
    assert spool_files(settings) == []
    # No attempt comes that would remove what this one left.
    assert list(unreported.parent.iterdir()) == []


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
    monkeypatch.setattr(ending, "_SILENT_MS", -1)
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


def test_a_run_ends_no_earlier_than_it_began(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = tiny_spec(experiment="clocks that differ")
    assignment = jobs.begin(spec)
    # The clock of the worker that began it is ahead of that which says when it ended.
    begin_ms = spool.now_ms() + 600_000
    with monkeypatch.context() as ahead:
        ahead.setattr(spool, "now_ms", lambda: begin_ms)
        writer = writer_of(assignment, settings.spool_dir)
    with writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == run.info.end_time == begin_ms


def test_a_job_without_pictures_waits_for_no_others_to_be_drawn(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    spec = tiny_spec(outputs={"model": False, "plots": False})
    assignment = jobs.begin(spec)
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")

    def is_complete() -> bool:
        delivery.deliver(patience=0.5)
        return jobs.get(assignment.lease.job).tracking.complete

    with results._turn:
        wait_until(is_complete, timeout=5, what="delivered")
