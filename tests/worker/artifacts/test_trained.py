"""A trained model as its user has it: tables, arrays and files in, named predictions out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.worker._jobs import tiny_spec

from talweg.worker import data, models
from talweg.worker.artifacts import predictor, trained
from talweg.worker.artifacts.talweg_outputs import named
from talweg.worker.artifacts.trained import InputError, TrainedModel
from talweg.worker.tracking.spool import EXAMPLE, MODEL, WEIGHTS, write_json


def untrained(folder: Path, **fields: Any) -> TrainedModel:
    """Load a model that a job could have left."""
    spec = tiny_spec(**fields)
    bundle = data.load(spec)
    description = predictor.describe(spec, bundle)
    network = models.build(spec.model, bundle.inputs.shape, description["num_outputs"], seed=3)
    save_file(network.state_dict(), folder / WEIGHTS)
    write_json(folder / MODEL, description)
    save_file({"x": predictor.example(spec, bundle)}, folder / EXAMPLE)
    return trained.load(folder, spec)


@pytest.fixture
def wine(tmp_path: Path) -> TrainedModel:
    return untrained(tmp_path, task="multiclass", dataset="wine", loss="cross_entropy")


@pytest.fixture
def frame(wine: TrainedModel) -> pd.DataFrame:
    values = np.random.default_rng(1).normal(size=(5, *wine.input_shape)) * 3 + 5
    return pd.DataFrame(values, columns=list(wine.input_names), index=list("abcde"))


def test_a_table_gives_one_with_its_index(wine: TrainedModel, frame: pd.DataFrame) -> None:
    predicted = wine.predict(frame)
    columns = [f"probability_{name}" for name in wine.classes]
    assert list(predicted.columns) == ["prediction", *columns]
    assert list(predicted.index) == list("abcde")
    np.testing.assert_allclose(predicted[columns].sum(axis=1), 1, rtol=1e-5)
    best = predicted[columns].to_numpy().argmax(axis=1)
    assert list(predicted["prediction"]) == [wine.classes[index] for index in best]
    with torch.inference_mode():
        raw = wine(torch.tensor(frame.to_numpy(), dtype=torch.float32))
    np.testing.assert_allclose(predicted[columns], raw, rtol=1e-5)


def test_order_other_columns_and_kinds_of_input_change_nothing(
    wine: TrainedModel, frame: pd.DataFrame
) -> None:
    wanted = wine.predict(frame)
    again = wine.predict(frame[frame.columns[::-1]].assign(note="text"))
    pd.testing.assert_frame_equal(again, wanted)
    columns = [name for name in wanted if name != "prediction"]
    for values in (frame.to_numpy(), frame.to_numpy().tolist()):
        np.testing.assert_allclose(wine.predict(values), wanted[columns], rtol=1e-5)
    of_columns = wine.predict({name: list(frame[name]) for name in frame})
    np.testing.assert_allclose(of_columns[columns], wanted[columns], rtol=1e-5)


def test_batches_change_nothing(
    wine: TrainedModel, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = wine.predict(frame)
    monkeypatch.setattr(trained, "_BATCH", 2)
    pd.testing.assert_frame_equal(wine.predict(frame), wanted, rtol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".npz"])
def test_files_of_each_format_keep_ids(
    wine: TrainedModel, frame: pd.DataFrame, tmp_path: Path, ending: str
) -> None:
    source, target = tmp_path / f"in{ending}", tmp_path / "new" / f"out{ending}"
    ids = [f"00{index}" for index in range(5)]
    table = frame.assign(code=ids).reset_index(drop=True)
    if ending == ".npz":
        np.savez(source, x=frame.to_numpy(), code=np.array(ids))
    elif ending == ".parquet":
        table.to_parquet(source)
    else:
        table.to_csv(source, index=False, sep="\t" if ending == ".tsv" else ",")
    assert wine.predict_file(source, target, id_column="code") == 5
    wanted = wine.predict(frame)
    columns = [name for name in wanted if name != "prediction"]
    if ending == ".npz":
        with np.load(target, allow_pickle=False) as arrays:
            assert list(arrays["code"]) == ids
            assert list(arrays["prediction"]) == list(wanted["prediction"])
            np.testing.assert_allclose(arrays["probabilities"], wanted[columns], rtol=1e-5)
    else:
        kinds = {"code": str, "prediction": str}
        written = (
            pd.read_parquet(target)
            if ending == ".parquet"
            else pd.read_csv(target, sep="\t" if ending == ".tsv" else ",", dtype=kinds)
        )
        assert list(written.columns) == ["code", *wanted.columns]
        assert list(written["code"]) == ids
        assert list(written["prediction"]) == list(wanted["prediction"])
        np.testing.assert_allclose(written[columns], wanted[columns], rtol=1e-5)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_what_does_not_fit_is_said_with_its_place(
    wine: TrainedModel, frame: pd.DataFrame, tmp_path: Path
) -> None:
    first, second = wine.input_names[:2]
    with pytest.raises(InputError, match=f"columns {first}, {second} are missing"):
        wine.predict(frame.drop(columns=[first, second]))
    wrong = frame.astype({second: object})
    wrong.iloc[1, 1], wrong.iloc[3, 1] = "red", None
    with pytest.raises(InputError, match=f"{second} .* row 2 has 'red'; row 4 has nothing"):
        wine.predict(wrong)
    with pytest.raises(InputError, match=r"\(N, 13\).*\(5, 3\)"):
        wine.predict(np.zeros((5, 3)))
    with pytest.raises(InputError, match="no rows"):
        wine.predict(np.zeros((0, 13)))
    for infinite in (np.inf, -np.inf, 1e39):
        wild = frame.copy()
        wild.iloc[[1, 3], 2] = infinite
        for given in (wild, wild.to_numpy(), wild.to_numpy().tolist()):
            with pytest.raises(InputError, match="must be finite, .* in row 2, 4$"):
                wine.predict(given)
    file = tmp_path / "in.csv"
    # Rows of files are counted alike, whatever is wrong with them.
    wrong.to_csv(file, index=False)
    with pytest.raises(InputError, match="row 2 has 'red'"):
        wine.predict(file)
    frame.to_csv(file, index=False)
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], lines[2] + ",1", *lines[3:]]))
    with pytest.raises(ValueError, match="row 2 has 14 values"):
        wine.predict(file)
    frame.to_csv(file, index=False)
    with pytest.raises(ValueError, match=r"out\.xlsx: predict can write \.csv"):
        wine.predict_file(file, tmp_path / "out.xlsx")
    with pytest.raises(ValueError, match="has no 'code' to copy"):
        wine.predict_file(file, tmp_path / "out.csv", id_column="code")
    np.savez(tmp_path / "in.npz", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read as npz"):
        wine.predict(tmp_path / "in.npz")


def test_outputs_of_nan_are_of_no_class() -> None:
    outputs = np.array([[0.2, 0.8], [np.nan, np.nan]])
    classes = {"classes": ["no", "yes"]}
    for kind in ("multiclass", "ordinal"):
        predicted = named(outputs, {"kind": kind, **classes}, None)["prediction"]
        assert (predicted[0], predicted.isna().tolist()) == ("yes", [False, True])
    binary = named(outputs[:, 1:], {"kind": "binary", **classes}, None)["prediction"]
    assert (binary[0], binary.isna().tolist()) == ("yes", [False, True])
    labels = named(outputs, {"kind": "multilabel", "labels": ["a", "b"]}, None)
    assert labels["prediction_b"].isna().tolist() == [False, True]
    assert labels["prediction_b"][0] == 1


def test_two_classes_follow_the_threshold(tmp_path: Path) -> None:
    fields = {"dataset": "breast_cancer", "loss": "bce_with_logits"}
    model = untrained(tmp_path, task={"binary": {"threshold": 0.8}}, **fields)
    names = list(model.input_names)
    rows = np.random.default_rng(0).normal(size=(200, len(names))) * 300 + 300
    predicted = model.predict(pd.DataFrame(rows, columns=names))
    second = predicted[f"probability_{model.classes[1]}"]
    assert len(model.classes) == 2
    assert 0 < (second >= 0.8).sum() < 200
    assert list(predicted["prediction"] == model.classes[1]) == list(second >= 0.8)


@pytest.mark.parametrize(
    ("loss", "columns"),
    [
        ("mse", ["prediction"]),
        ("gaussian_nll", ["prediction", "prediction_sd"]),
        ({"multi_quantile": {"quantiles": [0.1, 0.9]}}, ["prediction_0", "prediction_1"]),
    ],
)
def test_numbers_are_named_by_what_they_are(tmp_path: Path, loss: Any, columns: list[str]) -> None:
    model = untrained(tmp_path, loss=loss)
    frame = pd.DataFrame(np.ones((2, 10)), columns=list(model.input_names))
    assert list(model.predict(frame).columns) == columns


def test_images_give_arrays_and_tables_where_they_are_classes(tmp_path: Path) -> None:
    model = untrained(
        tmp_path,
        task="multiclass",
        dataset="digits",
        model={"convnet": {"channels": [4]}},
        loss="cross_entropy",
    )
    images = np.random.default_rng(0).uniform(0, 16, size=(3, *model.input_shape))
    assert model.predict(images).shape == (3, 10)
    np.testing.assert_array_equal(model.predict(images.reshape(3, -1)), model.predict(images))
    np.savez(tmp_path / "in.npz", images)
    model.predict_file(tmp_path / "in.npz", tmp_path / "out.csv")
    written = pd.read_csv(tmp_path / "out.csv")
    assert list(written.columns) == ["prediction", *(f"probability_{n}" for n in model.classes)]
