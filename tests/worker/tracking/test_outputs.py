"""Plots, weights and the model, as a person finds them in MLflow."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from mlflow.exceptions import MlflowException
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import keep_network, losses, runs_of, writer_of

from talweg.spec import fill, from_dict, kind, to_dict
from talweg.v1.jobs_pb2 import Divergence, Job, Outcome
from talweg.v1.models_pb2 import Model
from talweg.worker import data, models, tasks
from talweg.worker.artifacts.predictor import Predictor, describe, example
from talweg.worker.models import saved
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.outputs import results
from talweg.worker.tracking.spool import DIVERGENCE
from talweg.worker.training.evaluation import HeldSplit, evaluate

OUTPUTS = {"outputs": {"model": True, "plots": True}, "experiment": "outputs"}
SPECS: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"mlp": {"hidden": [8], "batch_norm": True, "dropout": 0.2}}},
    "raw inputs": {"preprocessing": {"standardise_inputs": False, "standardise_targets": False}},
    "counts": {"loss": {"poisson_nll": {}}, "model": "linear"},
    "quantiles": {"loss": {"multi_quantile": {"quantiles": [0.1, 0.5, 0.9]}}},
    "amounts": {"loss": "tweedie", "model": "linear"},
    "mean and sd of several": {
        "dataset": {"synthetic_regression": {"num_targets": 3}},
        "loss": "gaussian_nll",
    },
    "angles": {
        "task": "multiclass",
        "dataset": "wine",
        "loss": {"arcface": {"embedding_size": 5, "scale": 8}},
    },
    "cosines in a sum": {
        "task": "multiclass",
        "dataset": "wine",
        "loss": {"sum": {"terms": [{"loss": {"ldam": {"embedding_size": 5}}}]}},
    },
    "several targets": {
        "dataset": {"synthetic_regression": {"num_targets": 3}},
        "loss": {"multi_quantile": {"quantiles": [0.2, 0.8]}},
    },
    "binary": {"task": "binary", "dataset": "breast_cancer", "loss": "bce_with_logits"},
    "probabilities": {
        "task": "binary",
        "dataset": "breast_cancer",
        "loss": "bce",
        "model": {"sequential": {"layers": [{"linear": {}}, "sigmoid"]}},
    },
    "convnet": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"convnet": {"channels": [4]}},
        "loss": "cross_entropy",
    },
    "resnet": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"resnet": {"width": 4, "stages": 2, "blocks": 1}},
        "loss": "cross_entropy",
    },
    "embeddings": {
        "task": "metric_learning",
        "dataset": {"synthetic_classification": {"num_classes": 10, "num_informative": 5}},
        "model": {"embedder": {"size": 5}},
        "loss": {"arcface": {"embedding_size": 5}},
    },
    "views": {
        "task": "self_supervised",
        "dataset": "digits",
        "model": {"embedder": {"trunk": {"convnet": {"channels": [4]}}, "size": 5}},
        "loss": "negative_cosine",
    },
    "grades": {"task": "ordinal", "loss": "coral"},
    "grades one after another": {"task": {"ordinal": {"ranks": 3}}, "loss": "corn"},
    "transformer": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"transformer": {"width": 8, "depth": 1, "dropout": 0.1}},
        "loss": "cross_entropy",
    },
    "multilabel": {
        "task": "multilabel",
        "dataset": "synthetic_multilabel",
        "loss": "bce_with_logits",
    },
}


def test_models_are_ranked_by_what_they_reached_and_keep_each_point_once(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    names = []
    for seed, value in enumerate((3.0, 1.0, 2.0)):
        fields = {**OUTPUTS, "experiment": "ranked", "training": {"steps": 5, "seed": seed}}
        spec = tiny_spec(**fields)
        assignment = jobs.begin(spec)
        with writer_of(assignment, settings.spool_dir) as writer:
            writer.data(name="diabetes", digest=64 * "a", num_samples=442)
            writer.points(losses(range(1, 6)))
            writer.points([(5, 1_700_000_000_500, {"test/mae": value})])
            keep_network(writer, assignment.spec)
            jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
            writer.end(state="SUCCEEDED")
        delivery.deliver()
        names.append(assignment.lease.job)
    experiment = tracking.get_experiment_by_name("ranked")
    assert experiment is not None
    models = tracking.search_logged_models(
        [experiment.experiment_id], order_by=[{"field_name": "metrics.test/mae"}]
    )
    assert [model.params["seed"] for model in models] == ["1", "2", "0"]
    for model in models:
        assert model.name.startswith("huber on diabetes")
        assert model.metrics is not None
        (metric,) = model.metrics
        assert (metric.key, metric.dataset_name) == ("test/mae", "diabetes")
        assert model.source_run_id is not None
        history = tracking.get_metric_history(model.source_run_id, "test/mae")
        assert [(point.step, point.value) for point in history] == [(5, metric.value)]


@pytest.mark.parametrize("case", list(SPECS))
def test_model_loads_back_without_pickles_and_predicts_in_the_users_terms(
    case: str,
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(tiny_spec(**SPECS[case], **OUTPUTS))
    spec = assignment.spec
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 6)))
        trained = keep_network(writer, spec)
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(settings.tracking_uri)
    assert run.outputs is not None
    (logged,) = run.outputs.model_outputs
    model = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    found = trained.predictions
    wanted = next(
        values
        for values in (found.probabilities, found.quantiles, found.y_pred)
        if values is not None
    )
    if found.sd is not None:
        wanted = np.stack([found.y_pred, found.sd], axis=-1)
    # Another size of batch than the example's.
    predicted = model.predict(trained.raw.numpy())
    np.testing.assert_allclose(predicted, wanted.reshape(predicted.shape), rtol=1e-4, atol=1e-4)
    # Also on a machine with CUDA, where MLflow would ask for it and fail.
    assert model.metadata.flavors["python_function"]["config"] == {"device": "cpu"}
    assert model.metadata.metadata["inputs"]["shape"] == list(trained.raw.shape[1:])
    flat = trained.raw.flatten(1).numpy()
    for same in (trained.raw.double().numpy(), trained.raw.tolist(), flat):
        np.testing.assert_array_equal(model.predict(same), predicted)
    with pytest.raises(MlflowException, match="this model takes"):
        model.predict(flat[:, 1:])
    assert np.asarray(model.metadata.load_input_example()).shape[1:] == trained.raw.shape[1:]

    # Beside the blob store, which holds files too.
    (tmp_path / "run").mkdir()
    folder = Path(tracking.download_artifacts(run.info.run_id, "", str(tmp_path / "run")))
    second = {
        "regression": "residuals",
        "metric_learning": "embeddings",
        "self_supervised": "embeddings",
    }.get(kind(spec.task)[0], "confusion_matrix")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "job.yaml",
        "plots/loss_curve.png",
        f"plots/{second}.png",
        "weights/weights.safetensors",
        "weights/model.json",
    }
    description = json.loads((folder / "weights/model.json").read_text())
    assert from_dict(description["model"], Model) == spec.model


@pytest.mark.parametrize("loss", ["coral", "corn"])
@pytest.mark.parametrize("last", [[], ["sigmoid"]])
def test_ranks_are_predicted_as_the_task_reads_them(loss: str, last: list[str]) -> None:
    model = {"sequential": {"layers": ["linear", *last]}}
    spec = fill(tiny_spec(task={"ordinal": {"ranks": 4}}, loss=loss, model=model))
    bundle = data.load(spec)
    network = models.build(spec.model, bundle.inputs.shape, 3, seed=0)
    task = tasks.make(spec, bundle)
    task.start(network)
    part = HeldSplit.of(bundle.test, task, torch.device("cpu"))
    judged = evaluate(network, task, part, batch_size=64)
    description = describe(spec, bundle)
    raw = example(spec, dataclasses.replace(bundle, train=bundle.test), count=len(part))
    with torch.no_grad():
        predicted = Predictor(saved.rebuild(description, network.state_dict()))(raw)
    assert judged.predictions is not None
    wanted = judged.predictions.probabilities
    assert wanted is not None
    np.testing.assert_allclose(predicted.numpy(), wanted, atol=1e-5)


def test_a_pickled_model_would_be_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.pytorch.save_model(
        torch.nn.Linear(2, 1),
        tmp_path / "pickled",
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(MlflowException, match="pickle is disallowed"):
        mlflow.pyfunc.load_model(str(tmp_path / "pickled"))


def test_a_model_that_was_half_sent_is_sent_once(
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(tiny_spec(**OUTPUTS))
    with writer_of(assignment, settings.spool_dir) as writer:
        keep_network(writer, assignment.spec)
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")

    class Killed(BaseException):
        pass

    def killed(self: DeliveryState, folder: Path) -> None:
        real_save(self, folder)
        if "model" in self.done:
            # As if it had been killed before this was written.
            self.done.remove("model")
            real_save(self, folder)
            raise Killed

    real_save = DeliveryState.save
    monkeypatch.setattr(DeliveryState, "save", killed)
    with pytest.raises(Killed):
        Delivery(settings).deliver()
    monkeypatch.undo()
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, assignment.spec, assignment.lease.job)
    assert run.info.status == "FINISHED"
    assert run.outputs is not None
    (logged,) = run.outputs.model_outputs
    mlflow.set_tracking_uri(settings.tracking_uri)
    assert mlflow.pyfunc.load_model(f"models:/{logged.model_id}")


def test_what_cannot_be_made_does_not_keep_the_figures(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assignment = jobs.begin(tiny_spec(**OUTPUTS))
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 6)))
        keep_network(writer, assignment.spec)
        (writer.folder / "weights.safetensors").write_bytes(b"no safetensors")
        jobs.finish(assignment, Outcome(state=Job.SUCCEEDED))
        writer.end(state="SUCCEEDED")
    delivery.deliver()
    (run,) = runs_of(tracking, assignment.spec, assignment.lease.job)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train/loss"] == 0.2
    names = {item.path for item in tracking.list_artifacts(run.info.run_id)}
    assert {"job.yaml", "plots"} <= names
    tracked = jobs.get(assignment.lease.job).tracking
    assert tracked.complete
    assert re.fullmatch("model: it could not be made: .*header.*", tracked.left_out)
    assert results.WEIGHTS_FOLDER in names
    assert not tracking.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )


@pytest.mark.parametrize("plots", [True, False])
def test_the_evidence_of_a_divergence_arrives(
    plots: bool,
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    tmp_path: Path,
) -> None:
    seen = Divergence(
        step=7, what="loss", value="inf", module="linear2", losses=[1.5, 20, 300],
        gradient_norms=[1, 2e3, 4e6], learning_rate=0.5, hint="Lower it.", samples=[5, 3, 8],
    )  # fmt: skip
    assignment = jobs.begin(tiny_spec(outputs={"model": True, "plots": plots}))
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 6)))
        writer.document(DIVERGENCE, to_dict(seen))
        jobs.finish(assignment, Outcome(state=Job.DIVERGED, divergence=seen))
        writer.end(state="DIVERGED", cause="NOT_FINITE")
    delivery.deliver()
    (run,) = runs_of(tracking, assignment.spec, assignment.lease.job)
    path = tracking.download_artifacts(run.info.run_id, "divergence", str(tmp_path))
    files = {file.name: file for file in Path(path).iterdir()}
    assert files.keys() == {"divergence.json", "divergence.txt"} | (
        {"divergence.png"} if plots else set()
    )
    assert from_dict(json.loads(files["divergence.json"].read_text()), Divergence) == seen
    lines = files["divergence.txt"].read_text().splitlines()
    assert lines[0] == "at step 7 the loss was inf, first in module linear2"
    assert "5, 3, 8" in files["divergence.txt"].read_text()
    assert [line.split() for line in lines[-3:]] == [
        ["3", "1.5", "1"], ["2", "20", "2000"], ["1", "300", "4e+06"],
    ]  # fmt: skip
    if plots:
        picture = imread(files["divergence.png"])
        assert picture.shape[1] == 800
        assert picture.std() > 0.01
