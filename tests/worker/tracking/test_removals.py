"""What a deleted job leaves is removed: its run, its models, its files, and nobody else's."""

from pathlib import Path
from typing import Any
from unittest import mock

import mlflow
import pytest
from mlflow.entities import LifecycleStage
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import SUCCEEDED, losses, runs_of, writer_of

from talweg.blobs import Blobs, UnsafePathError
from talweg.spec import job_id
from talweg.v1.jobs_pb2 import DeleteJobRequest
from talweg.worker.settings import Settings
from talweg.worker.tracking import spool
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.outputs import artifacts
from talweg.worker.tracking.removals import Removals


def delivered(jobs: Jobs, settings: Settings, delivery: Delivery, experiment: str) -> str:
    assignment = jobs.begin(tiny_spec(experiment=experiment))
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    Blobs(settings.blobs).write(f"{name}/checkpoints/{4:012}-1.json", b"{}")
    Blobs(settings.blobs).write(f"{name}/model/weights.safetensors", b"1234")
    return name


def test_a_deleted_jobs_run_and_files_go_and_others_stay(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    gone, stays = (delivered(jobs, settings, delivery, "removals") for _ in range(2))
    runs = {
        name: runs_of(tracking, tiny_spec(experiment="removals"), name) for name in (gone, stays)
    }
    removals = Removals(delivery._record, delivery._runs, settings.blobs)
    # What other tests have deleted on the same server.
    removals.carry_out()
    jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=gone))
    # Killed after the run is gone, and before its files are.
    with mock.patch.object(Blobs, "remove_folder", side_effect=OSError("cut short")):
        assert removals.carry_out() == 0
    assert Path(settings.blobs, gone).exists()
    assert removals.carry_out() == 1
    assert removals.carry_out() == 0
    assert not Path(settings.blobs, gone).exists()
    assert Path(settings.blobs, stays, "model/weights.safetensors").read_bytes() == b"1234"
    stages = {
        name: tracking.get_run(run.info.run_id).info.lifecycle_stage
        for name, (run,) in runs.items()
    }
    assert stages == {gone: LifecycleStage.DELETED, stays: LifecycleStage.ACTIVE}
    assert tracking.list_artifacts(runs[gone][0].info.run_id) == []
    assert tracking.list_artifacts(runs[stays][0].info.run_id)


def test_files_of_a_job_that_is_deleted_meanwhile_go_too(
    jobs: Jobs, settings: Settings, delivery: Delivery
) -> None:
    def store_late(*arguments: Any, **options: Any) -> None:
        jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=name, force=True))
        assert Removals(delivery._record, delivery._runs, settings.blobs).carry_out() == 1
        Blobs(settings.blobs).write(f"{name}/artifacts/1/late.txt", b"x")

    assignment = jobs.begin(tiny_spec(experiment="removals"))
    name = assignment.lease.job
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 5)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    with mock.patch.object(artifacts, "store_rest", side_effect=store_late) as stored:
        delivery.deliver()
    assert stored.called
    assert not Path(settings.blobs, name).exists()
    assert list(spool.jobs(settings.spool_dir)) == []


def test_a_run_of_another_job_is_never_deleted(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    name = delivered(jobs, settings, delivery, "not mine")
    (run,) = runs_of(tracking, tiny_spec(experiment="not mine"), name)
    removals = Removals(delivery._record, delivery._runs, settings.blobs)
    with pytest.raises(OSError, match="is not of job other"):
        removals._remove_run("other", run.info.run_id)
    assert tracking.get_run(run.info.run_id).info.lifecycle_stage == LifecycleStage.ACTIVE
    assert job_id(name) not in {job_id(each.job) for each in delivery._record.removals()}


def test_only_a_folder_in_the_store_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    blobs = Blobs(str(tmp_path / "store"))
    for path in ("../victim", "jobs/../../victim", "/etc", ""):
        with pytest.raises(UnsafePathError):
            blobs.remove_folder(path)
    assert (tmp_path / "victim").exists()
    blobs.remove_folder("jobs/none")
