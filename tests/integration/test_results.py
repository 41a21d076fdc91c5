"""What a person finds in MLflow and in the record after a job."""

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Run
from tests._parts import wait_until
from tests.integration.stack import Stack

from talweg.client import Client, Job
from talweg.spec import parse

SPECS = {
    "regression": {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [16]}},
        "loss": {"huber": {"delta": 2.0}},
        "training": {"epochs": 5},
        "experiment": "results",
        "tags": {"team": "blue"},
    },
    "multiclass": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"convnet": {"channels": [8]}},
        "loss": "cross_entropy",
        "training": {"epochs": 2},
        "experiment": "results",
    },
}


@pytest.fixture(scope="module", params=list(SPECS))
def delivered(request: pytest.FixtureRequest, stack: Stack) -> Iterator[tuple[Job, Run]]:
    mlflow.set_tracking_uri(stack.tracking)
    with Client(stack.address) as client:
        job = client.submit(SPECS[request.param])
        job.wait(720).result()
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=120, what="delivered")
        yield job, mlflow.get_run(job.message.tracking.run_id)


def test_run_carries_the_spec_the_metrics_and_the_data(delivered: tuple[Job, Run]) -> None:
    job, run = delivered
    assert job.result().tracking_url == job.message.tracking.url
    assert run.data.tags["talweg.job"] == job.id
    assert run.data.tags["talweg.task"] in SPECS
    assert run.data.tags["talweg.attempt"] == "1"
    if run.data.tags["talweg.task"] == "regression":
        assert float(run.data.params["loss.huber.delta"]) == 2.0
        assert run.data.tags["team"] == "blue"
    assert run.data.params["training.batch_size"] == "32"
    metrics = job.result().metrics
    for name in ("train/loss", "val/loss", "test/loss", "lr", "guard/grad_norm"):
        assert run.data.metrics[name] == pytest.approx(metrics[name], rel=1e-12)
    assert run.inputs is not None
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest
    assert data.dataset.name in ("diabetes", "digits")


def test_job_file_submits_again_and_gives_the_same(
    delivered: tuple[Job, Run], stack: Stack, tmp_path: Path
) -> None:
    job, run = delivered
    file = Path(
        mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="job.yaml", dst_path=str(tmp_path)
        )
    )
    assert parse(file.read_text()) == job.spec
    with Client(stack.address) as client:
        again = client.submit(file).wait(720).result()
    first = job.result().metrics
    assert again.metrics["test/loss"] == first["test/loss"]


def test_experiment_opens_on_its_training_runs(delivered: tuple[Job, Run]) -> None:
    _, run = delivered
    experiment = mlflow.MlflowClient().get_experiment(run.info.experiment_id)
    assert experiment.name == "results"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_plots_are_there(delivered: tuple[Job, Run]) -> None:
    _, run = delivered
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id, "plots")}
    second = "residuals" if run.data.tags["talweg.task"] == "regression" else "confusion_matrix"
    assert names == {"plots/loss_curve.png", f"plots/{second}.png"}


def test_model_loads_back_without_pickles(
    delivered: tuple[Job, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = delivered
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    assert run.outputs is not None
    (model,) = run.outputs.model_outputs
    loaded = mlflow.pyfunc.load_model(f"models:/{model.model_id}")
    assert loaded.metadata.signature is not None
    example = loaded.metadata.load_input_example()
    predicted = np.asarray(loaded.predict(example))
    more = np.concatenate([np.asarray(example)] * 3)
    assert np.isfinite(predicted).all()
    assert np.asarray(loaded.predict(more)).shape[0] == more.shape[0]


def test_weights_stand_beside_the_model_they_belong_to(
    delivered: tuple[Job, Run], tmp_path: Path
) -> None:
    from safetensors import safe_open

    _, run = delivered
    folder = Path(
        mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path))
    )
    (weights,) = folder.rglob("weights.safetensors")
    model = json.loads(weights.with_name("model.json").read_text())
    assert set(model["model"]) <= {"mlp", "convnet"}
    with safe_open(weights, framework="np") as tensors:
        assert len(list(tensors.keys())) >= 4
