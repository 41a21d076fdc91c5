"""Models of users' data take raw columns and give names: here, and by MLflow's pyfunc."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from safetensors.torch import save_file
from tests.worker.data.stored.storing import job_on, store_arrays, store_table

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models
from talweg.worker.artifacts import mlflow_flavour, predictor
from talweg.worker.artifacts.predictor import Predictor
from talweg.worker.data.stored.talweg_table import Column, Table, TableError, UnknownCategories

ROWS = 60
FIRST = datetime(2024, 1, 1)
COLUMNS: dict[str, list[Any]] = {
    "size": [None if row % 9 == 4 else row * 1.5 for row in range(ROWS)],
    "town": [("Oslo", "Bergen", None, "12")[row % 4] for row in range(ROWS)],
    "sold": [None if row % 11 == 7 else FIRST + timedelta(days=row) for row in range(ROWS)],
    "new": [row % 3 == 0 for row in range(ROWS)],
    "customer": [f"c{row}" for row in range(ROWS)],
    "kind": [("flat", "house", "hut")[row % 7 % 3] for row in range(ROWS)],
    "let": [("no", "yes")[row % 5 % 2] for row in range(ROWS)],
    "price": [float(row) for row in range(ROWS)],
    "rent": [float(row % 8) for row in range(ROWS)],
}
INPUTS = ["size", "town", "sold", "new"]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    monkeypatch.setenv("TALWEG_BLOBS", str(folder))
    return folder


def job(store: Path, task: Any, loss: Any, **roles: Any) -> JobSpec:
    info = store_table(store, COLUMNS, texts=["customer"])
    return job_on(info, task, {"inputs": INPUTS, **roles}, loss=loss)


def saved(spec: JobSpec, folder: Path) -> tuple[Predictor, data.DataBundle]:
    """Write an untrained model as a trained one is written, and load it."""
    from talweg.spec import num_outputs

    bundle = data.load(spec)
    outputs = num_outputs(spec, bundle.num_targets)
    network = models.build(spec.model, bundle.inputs.shape, outputs, seed=0)
    description = predictor.describe(spec, bundle)
    (folder / "model.json").write_text(json.dumps(description, allow_nan=False))
    save_file(network.state_dict(), folder / "weights.safetensors")
    return predictor.load(folder), bundle


def pyfunc(model: Predictor, example: torch.Tensor, folder: Path) -> PyFuncModel:
    uri = f"sqlite:///{folder}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("models", artifact_location=f"{folder}/files")
    run = client.create_run(experiment)
    logged = client.create_logged_model(experiment, name="model", source_run_id=run.info.run_id)
    mlflow_flavour.log_model(
        model, example, run_id=run.info.run_id, model_id=logged.model_id, tracking_uri=uri
    )
    loaded: PyFuncModel = mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    return loaded


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({name: COLUMNS[name] for name in INPUTS} | columns)


def test_raw_columns_become_the_inputs_of_training(store: Path, tmp_path: Path) -> None:
    model, bundle = saved(job(store, "regression", "mse", target="price"), tmp_path)
    assert model.table is not None
    # Other columns of the file are passed over; the order does not matter.
    raw = pd.DataFrame(COLUMNS)[list(reversed(COLUMNS))]
    # Bit for bit, though dates are large beside their differences.
    assert torch.equal(model.encode(raw)[bundle.train_rows], bundle.train.x)
    # So do lists, and texts as a CSV file has them.
    as_text = {
        "size": COLUMNS["size"],
        "town": COLUMNS["town"],
        "sold": [None if day is None else day.isoformat() for day in COLUMNS["sold"]],
        "new": [str(new) for new in COLUMNS["new"]],
    }
    assert torch.equal(model.encode(as_text), model.encode(raw))
    # Names of data frames need be no texts.
    numbered = Table([Column("0", "number"), Column("7", "number")])
    assert numbered.encode(pd.DataFrame([[1, 2]], columns=[7, 0])).tolist() == [[2, 1]]
    # Rows without names are in the order of the inputs.
    rows = list(zip(*(COLUMNS[name] for name in INPUTS), strict=True))
    assert torch.equal(model.encode(rows), model.encode(raw))
    with pytest.raises(TableError, match="must have 4 values, size, town, sold, new, but have 3"):
        model.encode([row[:3] for row in rows])


def test_what_training_has_not_seen_is_taken(store: Path, tmp_path: Path) -> None:
    spec = job(store, "regression", "mse", target="price")
    spec.preprocessing.standardise_inputs = False
    model, _ = saved(spec, tmp_path)
    names = model.input_names
    unknown = {"size": [np.nan], "town": ["Rome"], "sold": ["2030-05-01"], "new": [None]}
    with pytest.warns(UnknownCategories, match="column town: 1 of 1 rows .* not seen, 'Rome':"):
        (row,) = model.encode(unknown).tolist()
    values = dict(zip(names, row, strict=True))
    assert values["town=other"] == values["size.is_missing"] == 1
    assert values["sold.is_missing"] == values["town=Oslo"] == 0
    # A category that looks like a number may be one.
    (row,) = model.encode({"size": [1], "town": [12.0], "sold": ["2030"], "new": [1]}).tolist()
    assert dict(zip(names, row, strict=True))["town=12"] == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"size": ["big"] * ROWS}, r"size must hold numbers, but has 'big' in row 1, .* 55 more"),
        ({"size": [np.inf] * ROWS}, "column size must hold finite numbers, but has inf in row 1"),
        ({"sold": ["31/12/2024"] * ROWS}, r"column sold must hold dates such as .* '31/12/2024'"),
        ({"sold": [5] * ROWS}, "column sold must hold dates"),
        ({"new": [2] * ROWS}, "column new must hold true or false, but has 2 in row 1"),
        ({"rooms": [2] * ROWS}, "that the training data did not have: rooms; this model takes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(
    columns: dict[str, Any], message: str, store: Path, tmp_path: Path
) -> None:
    model, _ = saved(job(store, "regression", "mse", target="price"), tmp_path)
    with pytest.raises(TableError, match=message):
        model.encode(frame(**columns))


def test_a_table_without_rows_gives_inputs_without_rows(store: Path, tmp_path: Path) -> None:
    model, _ = saved(job(store, "regression", "mse", target="price"), tmp_path)
    assert model.encode(frame().head(0)).shape == (0, len(model.input_names))


def test_all_that_is_missing_is_named(store: Path, tmp_path: Path) -> None:
    model, _ = saved(job(store, "regression", "mse", target="price"), tmp_path)
    with pytest.raises(TableError, match="lacks the columns size, new; this model takes"):
        model.encode(frame().drop(columns=["size", "new"]))


def test_pyfunc_gives_classes_with_their_probabilities(store: Path, tmp_path: Path) -> None:
    spec = job(store, "multiclass", "cross_entropy", target="kind")
    model, bundle = saved(spec, tmp_path)
    loaded = pyfunc(model, predictor.example(spec, bundle), tmp_path)
    raw = frame()
    raw.index = pd.Index([f"row {row}" for row in range(ROWS)])
    answer: Any = loaded.predict(raw)
    classes = ["flat", "house", "hut"]
    assert list(answer.columns) == ["prediction", *(f"probability_{name}" for name in classes)]
    assert list(answer.index) == list(raw.index)
    with torch.inference_mode():
        expected = model(model.encode(raw)).numpy()
    np.testing.assert_allclose(answer.iloc[:, 1:], expected, atol=1e-6)
    assert answer["prediction"].tolist() == [classes[best] for best in expected.argmax(axis=1)]
    with pytest.raises(MlflowException, match="The table does not fit: .* lacks the columns town"):
        loaded.predict(raw.drop(columns=["town"]))
    metadata: Any = loaded.metadata
    assert metadata.load_input_example() is None
    assert [column["name"] for column in metadata.metadata["table"]["columns"]] == INPUTS
    # As it is served.
    invocations: Any = scoring_server.invocations
    body = {"dataframe_split": {
        "columns": ["town", "new", "sold", "size"], "data": [["Oslo", True, "2024-01-05", None]],
    }}  # fmt: skip
    response = invocations(
        json.dumps(body), scoring_server.CONTENT_TYPE_JSON, loaded, metadata.get_input_schema()
    )
    assert response.status == 200, response.response
    (served,) = json.loads(response.response)["predictions"]
    assert served["prediction"] in classes


def test_pyfunc_names_two_classes_and_heeds_the_threshold(store: Path, tmp_path: Path) -> None:
    spec = job(store, {"binary": {"threshold": 0.9}}, "bce_with_logits", target="let")
    model, bundle = saved(spec, tmp_path)
    loaded = pyfunc(model, predictor.example(spec, bundle), tmp_path)
    answer: Any = loaded.predict(frame())
    assert list(answer.columns) == ["prediction", "probability_no", "probability_yes"]
    np.testing.assert_allclose(answer["probability_no"] + answer["probability_yes"], 1)
    assert set(answer["prediction"]) == {"no"}


def test_pyfunc_names_several_numbers(store: Path, tmp_path: Path) -> None:
    spec = job(store, "regression", "mse", targets=["price", "rent"])
    model, bundle = saved(spec, tmp_path)
    answer: Any = pyfunc(model, predictor.example(spec, bundle), tmp_path).predict(frame())
    assert list(answer.columns) == ["prediction_price", "prediction_rent"]
    # In the targets' units.
    assert 10 < answer["prediction_price"].mean() < 50


def test_images_of_bytes_are_taken_as_they_are(store: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    arrays: dict[str, Any] = {"image": pixels, "label": np.arange(40) % 2}
    info = store_arrays(store, arrays, categories={"label": ["cat", "dog"]})
    spec = job_on(
        info, "multiclass", {"inputs": ["image"], "target": "label"},
        model={"convnet": {"channels": [4]}}, loss="cross_entropy",
    )  # fmt: skip
    model, bundle = saved(spec, tmp_path)
    torch.testing.assert_close(model.encode(pixels), torch.from_numpy(pixels / 255).float())
    loaded = pyfunc(model, predictor.example(spec, bundle), tmp_path)
    one: Any = loaded.predict(pixels)
    other: Any = loaded.predict(pixels / 255)
    assert list(one.columns) == ["prediction", "probability_cat", "probability_dog"]
    pd.testing.assert_frame_equal(one, other)
