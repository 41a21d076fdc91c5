"""The files of a job, from the worker's disk to the user's, in a whole stack."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from tests._parts import wait_until
from tests.integration.stack import Stack

from talweg.client import Job

DIGITS = {
    "task": "multiclass",
    "dataset": "digits",
    "model": {"mlp": {"hidden": [16]}},
    "loss": "cross_entropy",
    "training": {"epochs": 2},
}


def test_files_of_a_job_are_there_as_soon_as_it_has_ended(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        job = client.submit(DIGITS)
        job.wait(120).result()
        files = {each.path: each for each in job.artifacts()}
        plots = job.download("plots", tmp_path / "plots", patience=180)
    assert {
        "job.yaml",
        "model/model.json",
        "model/weights.safetensors",
        "model/example.safetensors",
        "predictions.safetensors",
    } <= files.keys()
    folder = tmp_path / "got"
    done = stack.run("get", job.id, "-o", str(folder), timeout=120)
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(done.stdout.split()) == {str(folder / path) for path in written}
    assert files.keys() <= written
    assert {str(path.relative_to(tmp_path / "plots")) for path in plots} <= written
    for path, file in files.items():
        content = (folder / path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.num_bytes, file.sha256)
    assert json.loads((folder / "model/model.json").read_text())["task"] == "multiclass"


@pytest.fixture(scope="module")
def delivered(stack: Stack) -> Iterator[Job]:
    """A job on a table with named columns, whose model is in MLflow."""
    with stack.client() as client:
        job = client.submit({
            "task": "multiclass",
            "dataset": "wine",
            "model": {"mlp": {"hidden": [8]}},
            "loss": "cross_entropy",
            "training": {"epochs": 3},
        })  # fmt: skip
        job.wait(120).result()
        wait_until(lambda: job.refresh().message.tracking.complete, timeout=240, what="delivered")
        yield job


def test_a_registered_model_says_what_the_downloaded_one_says(
    delivered: Job, stack: Stack, tmp_path: Path
) -> None:
    model = delivered.model()
    example = np.random.default_rng(0).normal(size=(7, *model.input_shape)) + 10
    frame = pd.DataFrame(example, columns=list(model.input_names), index=range(100, 107))
    # In another order, beside a column that the model does not read.
    predicted = model.predict(frame[frame.columns[::-1]].assign(other="text"))
    probabilities = [f"probability_{name}" for name in model.classes]
    assert list(predicted.columns) == ["prediction", *probabilities]
    assert list(predicted.index) == list(range(100, 107))
    with torch.inference_mode():
        raw = model(torch.from_numpy(example.astype(np.float32)))
    np.testing.assert_allclose(predicted[probabilities], raw, rtol=1e-5, atol=1e-7)
    assert list(predicted["prediction"]) == [model.classes[best] for best in raw.argmax(dim=1)]

    done = stack.run("register", delivered.id, "wines", "--alias", "champion", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "models:/wines@champion is version 1 of wines\n"
    again = delivered.register("wines", alias="challenger")
    assert (again.version, again.uri) == ("1", "models:/wines@challenger")
    mlflow.set_tracking_uri(stack.tracking)
    registered = mlflow.MlflowClient().get_model_version_by_alias("wines", "champion")
    assert registered.run_id == delivered.message.tracking.run_id
    served = mlflow.pyfunc.load_model("models:/wines@champion").predict(frame)
    np.testing.assert_allclose(served, predicted[probabilities], rtol=1e-5, atol=1e-6)

    file, out = tmp_path / "wines.csv", tmp_path / "out.csv"
    frame.assign(code=[f"{index:03}" for index in range(7)]).to_csv(file, index=False)
    done = stack.run(
        "predict", delivered.id, str(file), "-o", str(out), "--id", "code", timeout=120
    )
    assert done.returncode == 0, done.stderr
    written = pd.read_csv(out, dtype={"code": str, "prediction": str})
    assert list(written.columns) == ["code", "prediction", *probabilities]
    assert list(written["code"]) == [f"{index:03}" for index in range(7)]
    np.testing.assert_allclose(written[probabilities], predicted[probabilities], rtol=1e-5)
