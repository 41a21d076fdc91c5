"""Files of jobs in the blob store, written before the job counts as ended."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker
from tests.worker.execution.loops import kinds

from talweg.blobs import PICTURES, Blobs, read_artifacts
from talweg.spec import parse
from talweg.v1.jobs_pb2 import Job, LogLine, Outcome
from talweg.worker.execution.ending import Ending


def test_files_are_there_when_the_end_is_told(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worker.spool_dir.parent / "blobs"
    name = jobs.submit(tiny_spec(outputs={"model": True, "plots": True}))
    listed_before_the_end: list[str] = []
    finish = Ending.finish

    def looking(ending: Ending, outcome: Outcome) -> bool:
        stored = read_artifacts(Blobs(str(folder)), name, last=1)
        listed_before_the_end.extend(each.path for each in stored.files)
        return finish(ending, outcome)

    monkeypatch.setattr(Ending, "finish", looking)
    worker.answer()
    assert jobs.get(name).state == Job.SUCCEEDED
    assert listed_before_the_end == [
        "job.yaml",
        "model/example.safetensors",
        "model/model.json",
        "model/weights.safetensors",
        "predictions.safetensors",
    ]
    blobs = Blobs(str(folder))
    stored = read_artifacts(blobs, name, last=1)
    assert stored.awaits == {PICTURES}
    by_path = {each.path: each.blob for each in stored.files}
    weights = blobs.local(by_path["model/weights.safetensors"])
    assert weights is not None
    assert load_file(weights)
    assert parse(blobs.read(by_path["job.yaml"]).decode()) == jobs.get(name).spec
    assert json.loads(blobs.read(by_path["model/model.json"]))["task"] == "regression"


def test_a_job_that_asks_for_no_outputs_writes_none(jobs: Jobs, worker: Worker) -> None:
    name = jobs.submit(tiny_spec(outputs={"model": False, "plots": False}))
    worker.answer()
    assert jobs.get(name).state == Job.SUCCEEDED
    assert not (worker.spool_dir.parent / "blobs" / name / "artifacts").exists()


def test_a_store_that_is_away_costs_no_job_and_no_file(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("talweg.worker.execution.attempt._STORE_PAUSES", (0.0,))
    folder: Path = worker.spool_dir.parent / "blobs"
    folder.write_text("in the way")
    name = jobs.submit(tiny_spec(outputs={"plots": False, "checkpoint": False}))
    worker.answer()
    assert jobs.get(name).state == Job.SUCCEEDED
    lines = [event.log for event in jobs.events(name) if event.HasField("log")]
    assert any(
        line.level == LogLine.WARNING and "could not be stored in the blob store yet" in line.text
        for line in lines
    )
    assert "file" in kinds(worker.spool_dir, name)
