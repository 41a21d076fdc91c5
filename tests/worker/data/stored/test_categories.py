"""Embeddings of categories in whole jobs: trained, resumed, saved, and asked with raw columns."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.worker.artifacts.test_stored_models import pyfunc
from tests.worker.data.stored.storing import job_on, store_table
from tests.worker.training.jobs import job, run
from tests.worker.training.killing import assert_exact_when_killed
from torch import Tensor, nn

from talweg.spec import check
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.worker import data
from talweg.worker.artifacts import predictor, trained
from talweg.worker.artifacts.trained import TrainedModel
from talweg.worker.data.stored.talweg_table import UnknownCategories
from talweg.worker.models.categories import CategoryEmbeddings
from talweg.worker.tracking.spool import EXAMPLE, MODEL, WEIGHTS, write_json
from talweg.worker.training import Result

ROWS = 240
ISLANDS = {"Biscoe": 3.0, "Dream": 0.0, "Torgersen": -3.0}
EMBEDDING = {"embedding": {"size": 3, "unseen_share": 0.1}}
MODELS: dict[str, Any] = {
    "mlp": {"mlp": {"hidden": [16], "dropout": 0.1, "categories": EMBEDDING}},
    "tabular": {"tabular": {"width": 16, "blocks": 1, "categories": EMBEDDING}},
}


def columns() -> dict[str, list[Any]]:
    """Make penguins whose weight is told by island, sex and the length of their bills."""
    rng = np.random.default_rng(0)
    island = [str(name) for name in rng.choice(list(ISLANDS), ROWS)]
    sex = [None if draw < 0.05 else "f" if draw < 0.5 else "m" for draw in rng.random(ROWS)]
    bill = [None if rng.random() < 0.1 else float(rng.normal(44, 5)) for _ in range(ROWS)]
    mass = [
        ISLANDS[place] + (1.0 if kind == "m" else 0.0) + ((length or 44) - 44) / 20
        for place, kind, length in zip(island, sex, bill, strict=True)
    ]
    return {"island": island, "sex": sex, "bill": bill, "mass": mass}


def penguins(store: Path) -> StoredDataset:
    return store_table(store, columns())


def spec_of(store: Path, model: str, epochs: int = 40, **training: Any) -> JobSpec:
    return job_on(
        penguins(store), "regression", {"target": "mass"}, model=MODELS[model],
        training={"epochs": epochs, "batch_size": 16, "log_every_steps": 1, **training},
        optimizer={"adamw": {"learning_rate": 0.01}},
    )  # fmt: skip


def saved(spec: JobSpec, result: Result, folder: Path) -> TrainedModel:
    """Write a trained model as a job writes it, and load it."""
    assert result.model is not None
    bundle = data.load(spec)
    folder.mkdir(exist_ok=True)
    save_file(result.model.state_dict(), folder / WEIGHTS)
    write_json(folder / MODEL, predictor.describe(spec, bundle))
    save_file({"x": predictor.example(spec, bundle)}, folder / EXAMPLE)
    return trained.load(folder, spec)


@pytest.mark.parametrize("model", MODELS)
def test_a_job_learns_from_categories_and_predicts_for_raw_columns(
    model: str, store: Path, tmp_path: Path
) -> None:
    spec = spec_of(store, model)
    assert not check(spec)[0]
    assert spec.dataset.stored.facts.num_categories == 2
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    # Without the islands nobody comes below 2.
    assert report.last("test/mae") < 0.6
    loaded = saved(spec, result, tmp_path / "model")
    raw = pd.DataFrame(columns())
    said = loaded.predict(raw)["prediction"].to_numpy()

    # As the network says of the inputs that the data were turned into.
    bundle = data.load(spec)
    assert result.model is not None
    assert bundle.target_scaler is not None
    with torch.no_grad():
        outputs = result.model.eval()(bundle.train.x)[:, 0].double().numpy()
    expected = bundle.target_scaler.unscale(outputs)
    np.testing.assert_allclose(said[bundle.train_rows], expected, rtol=1e-4, atol=1e-4)

    # An island of which nobody has heard is none of the three, and like a missing one.
    asked = pd.DataFrame(
        {"island": [*ISLANDS, "Atlantis", None], "sex": ["m"] * 5, "bill": [44.0] * 5}
    )
    with pytest.warns(UnknownCategories):
        biscoe, dream, torgersen, unseen, missing = loaded.predict(asked)["prediction"]
    assert biscoe - dream > 2
    assert dream - torgersen > 2
    assert unseen == missing
    # It was trained: it says about what is true of a penguin of any island.
    assert abs(unseen - dream) < 1.5
    assert unseen not in (biscoe, dream, torgersen)


@pytest.mark.parametrize("categories", [EMBEDDING, None], ids=["embedding", "one-hot"])
def test_unseen_categories_are_predicted_and_named(
    categories: Any, store: Path, tmp_path: Path
) -> None:
    model = {"mlp": {"hidden": [8], **({"categories": categories} if categories else {})}}
    spec = job_on(
        penguins(store), "regression", {"target": "mass"}, model=model,
        training={"epochs": 2, "batch_size": 16},
    )  # fmt: skip
    result, _ = run(spec, may_be_unwell=True)
    loaded = saved(spec, result, tmp_path / "model")
    asked = pd.DataFrame({"island": ["Atlantis", "Mu", "Dream", None, "Mu"], "sex": ["x"] * 5})
    asked["bill"] = 44.0
    with pytest.warns(UnknownCategories) as said:
        predicted = loaded.predict(asked)["prediction"]
    assert [str(each.message).partition(": the model")[0] for each in said] == [
        "column island: 3 of 5 rows have categories that training has not seen, 'Atlantis', 'Mu'",
        "column sex: 5 of 5 rows have categories that training has not seen, 'x'",
    ]
    # All alike, and like a missing one.
    atlantis, mu, dream, missing, again = predicted
    assert atlantis == mu == missing == again != dream
    assert np.isfinite(predicted).all()
    # Nothing is said of what is known.
    loaded.predict(pd.DataFrame(columns()).drop(columns="mass"))
    # So does a file, in which the categories are texts.
    asked.to_csv(tmp_path / "asked.csv", index=False)
    with pytest.warns(UnknownCategories):
        assert loaded.predict_file(tmp_path / "asked.csv", tmp_path / "out.csv") == 5
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["prediction"], predicted)


def test_what_stands_for_unseen_categories_learns_by_replacement(store: Path) -> None:
    def unseen_of(share: float) -> list[Tensor]:
        spec = spec_of(store, "mlp", epochs=5)
        spec.model.mlp.categories.embedding.unseen_share = share
        result, _ = run(spec, may_be_unwell=True)
        assert result.model is not None
        module = result.model.get_submodule("categories")
        assert isinstance(module, CategoryEmbeddings)
        return [c.weight[:, -1] for c in module.columns if isinstance(c, nn.Linear)]

    island, sex = unseen_of(0.1)
    assert bool(island.any())
    assert bool(sex.any())
    # Some penguins have no sex, and all have an island.
    island, sex = unseen_of(0)
    assert not island.any()
    assert bool(sex.any())


@pytest.mark.parametrize("model", MODELS)
def test_a_run_that_is_killed_ends_the_same(model: str, store: Path, tmp_path: Path) -> None:
    spec = spec_of(store, model, epochs=4)
    undisturbed = run(spec, may_be_unwell=True)
    assert_exact_when_killed(spec, tmp_path / "disk", model, undisturbed)


def test_mlflow_predicts_the_same_for_raw_columns(store: Path, tmp_path: Path) -> None:
    spec = spec_of(store, "tabular", epochs=2)
    result, _ = run(spec, may_be_unwell=True)
    loaded = saved(spec, result, tmp_path / "model")
    bundle = data.load(spec)
    model = predictor.load(tmp_path / "model")
    by_mlflow = pyfunc(model, predictor.example(spec, bundle), tmp_path)
    asked = pd.DataFrame(columns()).drop(columns="mass").head(9)
    asked.loc[4, "island"] = "Atlantis"
    with pytest.warns(UserWarning, match="'Atlantis'"):
        said = by_mlflow.predict(asked)
    with pytest.warns(UnknownCategories):
        pd.testing.assert_frame_equal(said, loaded.predict(asked), rtol=1e-5)


def test_columns_of_categories_are_needed(store: Path) -> None:
    built_in = job(model=MODELS["mlp"])
    (violation,) = check(built_in)[0]
    assert violation.field == "model.mlp.categories"
    assert "diabetes, whose inputs have no columns of categories" in violation.found
    trunk = {"embedder": {"trunk": MODELS["mlp"]}}
    spec = job(task="metric_learning", dataset="digits", loss="supcon", model=trunk)
    assert [v.field for v in check(spec)[0]] == ["model.embedder.trunk.mlp.categories"]
    info = store_table(store, {"x": [1.0, 2, 3] * 9, "y": [1.0, 2, 4] * 9})
    spec = job_on(info, "regression", {"target": "y"}, model=MODELS["tabular"])
    assert [v.field for v in check(spec)[0]] == ["model.tabular.categories"]
