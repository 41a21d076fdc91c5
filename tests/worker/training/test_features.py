"""Training by the features of a frozen network."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.feature_models import FEATURES, write_features
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.killing import DiesAt, Disk, Killed

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.training import NeverStop, RecordingReporter


def features(*layers: str, **more: Any) -> dict[str, Any]:
    return {"perceptual": {"network": {"job": FEATURES}, "layers": list(layers), **more}}


def denoising(loss: Any, **fields: Any) -> JobSpec:
    parts: dict[str, Any] = {
        "task": "image_translation",
        "dataset": {"digit_scenes": {"num_samples": 60}},
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": loss,
        "training": {"steps": 10, "batch_size": 8, "log_every_steps": 1},
        **fields,
    }
    return job(**parts)


BESIDE_MAE = {"sum": {"terms": [{"loss": "mae"}, {"loss": features("relu1", "relu2")}]}}


def test_nothing_of_the_network_is_learned_or_given_out() -> None:
    plain, _ = run(denoising("mae"))
    fixed, report = run(denoising(BESIDE_MAE))
    learned, _ = run(denoising(features("relu1", "relu2", learned=True)))
    assert plain.model is not None
    assert fixed.model is not None
    assert learned.model is not None
    assert fixed.model.state_dict().keys() == plain.model.state_dict().keys()
    assert not torch.equal(flat(fixed.model), flat(plain.model))
    new = learned.model.state_dict().keys() - plain.model.state_dict().keys()
    assert new == {"loss.log_vars"}
    (name,) = report.parameters
    assert name == "loss.sum.terms.1.loss.perceptual.network.tensors_sha256"
    first, last = (report.series("train/loss")[place][1] for place in (0, -1))
    assert last < 0.8 * first


def test_learned_weights_are_seen_and_tend_to_what_makes_layers_even() -> None:
    rate = {"adamw": {"learning_rate": 0.05, "weight_decay": 0}}
    spec = denoising(
        features("relu1", "relu2", layer_weights=[1e-3, 1e6], learned=True),
        optimizer=rate,
        training={"steps": 60, "batch_size": 8, "log_every_steps": 1},
    )
    _, report = run(spec)
    low, high = (report.series(f"weights/relu{place}") for place in (1, 2))
    assert low[0][1] == pytest.approx(1e-3, rel=0.06)
    assert high[0][1] == pytest.approx(1e6, rel=0.06)
    # The one is far too small and the other far too large; neither goes on beyond 1/mse.
    assert low[-1][1] > 5 * low[0][1]
    assert high[-1][1] < high[0][1] / 2


def test_it_goes_on_only_beside_the_network_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_BLOBS", str(tmp_path / "blobs"))
    write_features(tmp_path / "blobs")
    spec = denoising(BESIDE_MAE)
    spec.training.checkpoints.every_steps = 2
    report = DiesAt(random.Random(0))
    report.next_death = 5
    disk = Disk(tmp_path / "disk", report)
    with pytest.raises(Killed):
        diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    assert disk.steps
    for file in (tmp_path / "blobs/jobs/features/model").iterdir():
        file.unlink()
    write_features(tmp_path / "blobs", seed=1)
    with pytest.raises(ValueError, match="tensors_sha256 must be .* file .* has changed"):
        diagnostics.run(
            spec, report=RecordingReporter(), control=NeverStop(), device="cpu", store=disk
        )


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (features("relu9"), "layers must be among conv1, .*, linear, but got relu9"),
        (
            {"perceptual": {"network": {"job": "jobs/none"}, "layers": ["relu1"]}},
            "a job whose model is kept, but jobs/none has kept 0 models",
        ),
        ({"perceptual": {"network": {"trained": "x"}, "layers": ["a"]}}, "TALWEG_MODELS_DIR"),
    ],
    ids=["no such layer", "no such job", "no folder"],
)
def test_what_only_the_worker_can_know_fails_the_job(loss: Any, message: str) -> None:
    result, _ = run(denoising(loss, training={"steps": 1}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert re.search(message, result.message)


def test_a_store_that_is_away_gives_the_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALWEG_BLOBS", "nosuchprotocol://bucket")
    result, _ = run(denoising(BESIDE_MAE))
    assert result.state == Job.QUEUED
    assert "blob store" in result.message


def test_bfloat16_leaves_the_features_in_float32() -> None:
    result, report = run(
        denoising(
            BESIDE_MAE,
            training={"steps": 4, "batch_size": 8, "precision": "bf16", "log_every_steps": 1},
        )
    )
    assert result.state == Job.SUCCEEDED, result.message
    _, exact = run(
        denoising(BESIDE_MAE, training={"steps": 4, "batch_size": 8, "log_every_steps": 1})
    )
    ours, theirs = ([v for _, v in r.series("train/loss")] for r in (report, exact))
    assert ours != theirs
    assert ours == pytest.approx(theirs, rel=0.02)
