"""Replays as a worker carries them out: where they begin, and with several processes."""

import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker._ranks import members
from tests.worker.execution.conftest import Worker

from talweg.v1.jobs_pb2 import DeleteJobRequest, Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics


def original(jobs: Jobs, worker: Worker, *, steps: int = 1_500, **fields: Any) -> Job:
    """Return a job that has ended and has kept three checkpoints at least.

    One that comes while another is written is left out.
    """
    spec = tiny_spec(
        training={
            "steps": steps,
            "checkpoints": {"every_steps": steps // 15, "keep_every": 1},
        },
        outputs={"model": False, "plots": False, "checkpoint": True},
        **fields,
    )
    name = jobs.submit(spec)
    worker.answer(run=diagnostics.run)
    job = jobs.get(name)
    assert job.state == Job.SUCCEEDED, job.outcome.message
    assert len(job.checkpoints) >= 3
    return job


def replayed(jobs: Jobs, worker: Worker, of: Job, step: int) -> Job:
    spec = JobSpec()
    spec.CopyFrom(of.spec)
    spec.replay.job, spec.replay.step = of.name, step
    name = jobs.submit(spec)
    worker.answer(run=diagnostics.run)
    return jobs.get(name)


def checkpoint_files(worker: Worker, job: Job, step: int) -> list[Path]:
    folder = worker.spool_dir.parent / "blobs" / job.name / "checkpoints"
    return sorted(folder.glob(f"{step:012}*"))


def test_where_the_nearest_checkpoint_is_damaged_the_one_before_is_used_and_it_is_said(
    worker: Worker, jobs: Jobs
) -> None:
    job = original(jobs, worker)
    before, nearest = (each.step for each in job.checkpoints[-3:-1])
    whole = replayed(jobs, worker, job, nearest + 5)
    assert whole.outcome.replay.from_step == nearest
    tensors = next(f for f in checkpoint_files(worker, job, nearest) if f.suffix == ".safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 255
    tensors.write_bytes(content)
    replay = replayed(jobs, worker, job, nearest + 5)
    assert replay.state == Job.SUCCEEDED, replay.outcome.message
    report = replay.outcome.replay
    assert report.from_step == before
    # More steps, and the same one in the end.
    assert (report.loss, report.gradient_norm) == (
        whole.outcome.replay.loss,
        whole.outcome.replay.gradient_norm,
    )
    lines = [event.log.text for event in jobs.events(replay.name) if event.HasField("log")]
    assert any(
        line.startswith(f"The checkpoint of step {nearest} is skipped:") for line in lines
    ), lines
    assert (
        f"Replays step {nearest + 5} of {job.name} from the checkpoint of step {before}." in lines
    )
    # It is the other job's, and a replay removes nothing of it.
    assert tensors.exists()


@pytest.mark.faults
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_job_in_two_processes_is_replayed(worker: Worker, jobs: Jobs) -> None:
    job = original(
        jobs,
        worker,
        steps=150,
        model={"mlp": {"hidden": [16], "dropout": 0.3}},
        resources={"processes": 2},
    )
    nearest = job.checkpoints[-2].step
    replay = replayed(jobs, worker, job, nearest + 5)
    assert replay.state == Job.SUCCEEDED, replay.outcome.message
    assert members() == []
    report = replay.outcome.replay
    assert report.from_step == nearest
    assert report.num_rows == job.spec.training.batch_size
    losses = {
        event.metrics.step: event.metrics.values["train/loss"]
        for event in jobs.events(job.name)
        if "train/loss" in event.metrics.values
    }
    last = max(step for step in losses if step <= nearest + 5)
    if last <= nearest:
        replay = replayed(jobs, worker, job, last)
        report = replay.outcome.replay
    compared = {each.step: each.loss for each in report.history if each.step in losses}
    assert compared
    assert compared == {step: losses[step] for step in compared}


def test_a_replay_leaves_nothing_and_holds_its_job(worker: Worker, jobs: Jobs) -> None:
    job = original(jobs, worker)
    before = set(worker.spool_dir.parent.joinpath("blobs").rglob("*"))
    replay = replayed(jobs, worker, job, job.checkpoints[-2].step + 5)
    assert replay.state == Job.SUCCEEDED, replay.outcome.message
    # No checkpoint, no model, no half-written file of its own: the report and the log alone.
    blobs = worker.spool_dir.parent / "blobs"
    own = blobs / "jobs" / replay.name.removeprefix("jobs/")
    others = {path for path in blobs.rglob("*") if path != own and own not in path.parents}
    assert others == before
    assert [path.name for path in own.iterdir()] == ["artifacts"]
    files = {path.name for path in own.rglob("*") if path.is_file()}
    assert not {name for name in files if name.endswith((".safetensors", ".part"))}
    with pytest.raises(grpc.RpcError) as error:
        jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=job.name, force=True))
    assert replay.name in (error.value.details() or "")
    jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=replay.name, force=True))
    jobs.channel.jobs.DeleteJob(DeleteJobRequest(name=job.name, force=True))
