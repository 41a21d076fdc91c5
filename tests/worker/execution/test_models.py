"""Models that jobs keep for the losses of others."""

from pathlib import Path
from typing import Any

import pytest
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.execution.conftest import Worker
from tests.worker.execution.loops import kinds

from talweg.v1.jobs_pb2 import Job, LogLine

CLASSIFIER: dict[str, Any] = {
    "task": "multiclass",
    "dataset": "digits",
    "model": {"convnet": {"channels": [4, 4]}},
    "loss": "cross_entropy",
    "outputs": {"plots": False},
}


def by_features_of(name: str, layer: str = "relu1") -> dict[str, Any]:
    return {
        "task": "image_translation",
        "dataset": {"digit_scenes": {"num_samples": 40}},
        "model": {"unet": {"channels": [2], "patch": 4}},
        "loss": {"perceptual": {"network": {"job": name}, "layers": [layer], "learned": True}},
    }


def test_a_job_compares_by_the_model_that_another_has_trained(
    jobs: Jobs, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = worker.spool_dir.parent / "blobs"
    monkeypatch.setenv("TALWEG_BLOBS", str(blobs))
    source = jobs.submit(tiny_spec(**CLASSIFIER))
    of_vectors = jobs.submit(tiny_spec(outputs={"plots": False}))
    assert worker.answer() == 2
    digest = jobs.get(source).outcome.model_sha256
    assert [path.name for path in (blobs / source / "model").iterdir()] == [
        f"{digest}.safetensors"
    ]
    # Features are those of images.
    assert jobs.get(of_vectors).outcome.model_sha256 == ""

    names = [
        jobs.submit(tiny_spec(**by_features_of(source, layer))) for layer in ("relu1", "relu3")
    ]
    worker.answer()
    job, wrong = map(jobs.get, names)
    assert job.state == Job.SUCCEEDED, job.outcome.message
    assert job.spec.loss.perceptual.network.job.sha256 == digest
    assert wrong.state == Job.FAILED
    assert "among conv1, batch_norm1, relu1" in wrong.outcome.message
    assert wrong.outcome.message.endswith("but got relu3")


def test_a_store_that_cannot_be_written_costs_the_model_and_not_the_job(
    jobs: Jobs, worker: Worker
) -> None:
    folder: Path = worker.spool_dir.parent / "blobs"
    folder.write_text("in the way")
    name = jobs.submit(
        tiny_spec(**{**CLASSIFIER, "outputs": {"plots": False, "checkpoint": False}})
    )
    worker.answer()
    job = jobs.get(name)
    assert job.state == Job.SUCCEEDED
    assert job.outcome.model_sha256 == ""
    lines = [event.log for event in jobs.events(name) if event.HasField("log")]
    assert any(
        line.level == LogLine.WARNING and "could not be stored in the blob store" in line.text
        for line in lines
    )
    assert "file" in kinds(worker.spool_dir, name)
