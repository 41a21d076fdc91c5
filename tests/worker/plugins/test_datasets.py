"""Data sets from plug-ins: read as stored data are, divided, checked, known again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.worker.plugins.conftest import Install
from tests.worker.training.jobs import flat, job, run, trained
from tests.worker.training.killing import Disk, SendsAwayAt, with_checkpoints

from talweg.v1.jobs_pb2 import Job, Outcome, Warning
from talweg.worker import data, diagnostics
from talweg.worker.artifacts import predictor
from talweg.worker.models import saved
from talweg.worker.training import NeverStop, RecordingReporter

CODE = """
import numpy as np
import pandas as pd
from sklearn import datasets
from talweg.plugins import Data, Parameter, declare

def diabetes(parameters):
    raw = datasets.load_diabetes()
    return {"x": raw.data, "y": raw.target}

def wine(parameters):
    raw = datasets.load_wine()
    return Data({"x": raw.data, "y": raw.target}, class_names=[str(n) for n in raw.target_names])

@declare(Parameter("num_samples", int, default=300, ge=20))
def houses(parameters):
    rng = np.random.default_rng(0)
    count = parameters["num_samples"]
    frame = pd.DataFrame({
        "area": rng.uniform(20, 200, count),
        "town": rng.choice(["Basel", "Bern"], count),
        "sold": pd.date_range("2020-01-01", periods=count),
        "owner": np.arange(count) % 40,
        "note": [f"house {index}" for index in range(count)],
    })
    frame["price"] = 3 * frame["area"] + 50 * (frame["town"] == "Bern")
    frame.loc[:9, "area"] = np.nan
    return Data(frame, target="price", group="owner", ignore=["note", "owner"])

def images(parameters):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 1, 16, 16), dtype=np.uint8)
    mask = (x[:, 0] > 128).astype(np.uint8)
    return Data({"x": x, "mask": mask, "image": x / 255}, class_names=["dark", "bright"])

def pairs(parameters):
    rng = np.random.default_rng(0)
    left = rng.normal(size=(200, 4))
    same = rng.integers(0, 2, 200)
    right = np.where(same[:, None] == 1, left + 0.1, -left)
    return {"left": left, "right": right, "same": same}

def labels(parameters):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4))
    return Data({"x": x, "y": (x[:, :2] > 0).astype(int)}, class_names=["warm", "wet"])

def boxes(parameters):
    rng = np.random.default_rng(0)
    x = np.zeros((60, 1, 32, 32))
    corner = rng.integers(0, 24, (60, 2))
    for image, (left, top) in zip(x, corner):
        image[0, top:top + 8, left:left + 8] = 1
    return {
        "x": x, "boxes": np.concatenate([corner, corner + 8], axis=1)[:, None].astype(float),
        "classes": np.ones((60, 1), dtype=int), "count": np.ones(60, dtype=int),
    }
"""
NAMES = ("diabetes", "wine", "houses", "images", "pairs", "labels", "boxes")
POINTS = {f"talweg.datasets:{name}": name for name in NAMES}


@pytest.fixture(autouse=True)
def _plugins(install: Install) -> None:
    install(CODE, POINTS, module="own_data")


def plugin(name: str, **parameters: Any) -> dict[str, Any]:
    return {"plugin": {"name": name, "parameters": parameters}}


def test_it_trains_bit_for_bit_as_the_same_data_of_the_catalogue() -> None:
    for task, name, loss in (("regression", "diabetes", "mse"),
                             ("multiclass", "wine", "cross_entropy")):  # fmt: skip
        mine = job(task=task, dataset=plugin(name), loss=loss)
        theirs = job(task=task, dataset=name, loss=loss)
        assert torch.equal(flat(trained(mine)), flat(trained(theirs)))
        bundles = data.load(mine), data.load(theirs)
        assert bundles[0].class_names == bundles[1].class_names
        assert np.array_equal(bundles[0].train_rows, bundles[1].train_rows)


def test_a_table_of_raw_columns_travels_with_the_model() -> None:
    spec = job(dataset=plugin("houses"), training={"epochs": 40})
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.model is not None
    assert "area lacks 10 values" in " ".join(report.lines)
    bundle = data.load(spec)
    # Dates become seven numbers, a category one for each value and one for others.
    assert bundle.inputs.shape == (2 + 3 + 7,)
    owners = [set((part % 40).tolist()) for part in (bundle.train_rows,)]
    assert len(owners[0]) < 40, "all rows of an owner stand in one part"
    description = json.loads(json.dumps(predictor.describe(spec, bundle)))
    model = predictor.Predictor(saved.rebuild(description, result.model.state_dict())).eval()
    rows = pd.DataFrame({
        "town": ["Bern", None], "area": [100.0, np.nan], "sold": ["2020-05-01", "2020-05-02"],
    })  # fmt: skip
    with torch.no_grad():
        predicted = model(model.encode(rows))
    assert predicted[0].item() == pytest.approx(350, rel=0.3)
    assert torch.isfinite(predicted).all()


ROLES: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("segmentation", "images", {"model": {"unet": {"channels": [4]}}, "loss": "dice"},
     ("dark", "bright")),
    ("image_translation", "images", {"model": {"unet": {"channels": [4]}}, "loss": "mae"}, ()),
    ("metric_learning", "pairs", {"model": "embedder", "loss": "contrastive"}, ()),
    ("multilabel", "labels", {"loss": "bce_with_logits"}, ("warm", "wet")),
    ("detection", "boxes", {"model": {"detector": {"channels": [4]}}, "loss": "detection"},
     ("background", "class 1")),
    ("vae", "labels", {"model": "autoencoder", "loss": "vae"}, ()),
    ("self_supervised", "wine", {"model": "embedder", "loss": "nt_xent"}, ()),
    ("gan", "labels", {"model": "adversarial", "loss": "gan", "training": {"steps": 8}}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("task", "name", "fields", "classes"), ROLES,
                         ids=[f"{row[0]}, {row[1]}" for row in ROLES])  # fmt: skip
def test_arrays_play_the_roles_that_a_task_needs(
    task: str, name: str, fields: dict[str, Any], classes: tuple[str, ...]
) -> None:
    what = {"metric_learning": {"given": "pairs"}} if task == "metric_learning" else {}
    spec = job(**{"task": {task: what.get(task, {})}, "dataset": plugin(name), **fields})
    result, _ = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    if classes:
        assert data.load(spec).class_names == classes


def test_the_digest_is_that_of_what_is_returned() -> None:
    few, many, again = (
        data.load(job(dataset=plugin("houses", num_samples=count))).digest
        for count in (100, 120, 100)
    )
    assert few == again != many


# code, the task, what the job says of it
WORSE: list[tuple[str, str, str]] = [
    ("return 5", "regression", "must return a pandas.DataFrame, or arrays by name, but returned"),
    ("return {}", "regression", "must return 1 to 10,000 columns, but returned 0"),
    ("return {'x': np.ones((9, 2)), 'y': np.ones(8)}", "regression",
     "columns of one length, at least 1, but returned x of 9, y of 8"),
    ("return {'x': np.ones((9, 2)), 'y': 3}", "regression", "but y is a single value"),
    ("return {'x': [[1, 2], [3]], 'y': [1, 2]}", "regression", "values of different shapes in x"),
    ("return {'x': np.full((9, 2), None), 'y': np.ones(9)}", "regression",
     "must return arrays of numbers, but x is of object"),
    ("return {'x': np.full((9, 2), np.nan), 'y': np.ones(9)}", "regression",
     'dataset.plugin.inputs: found 18 NaN or infinite values in "x", in rows 1, 2, 3'),
    ("return {'a': np.ones(9), 'y': [1.0] * 8 + [np.nan]}", "regression",
     'dataset.plugin.target: found 1 missing values in "y", in row 9'),
    ("return Data({'a': np.ones(9), 'cost': np.ones(9)}, target='price')", "regression",
     'dataset.plugin.target: found "price"; allowed one of a, cost'),
    ("return {'a': [str(i) for i in range(200)], 'y': np.ones(200)}", "regression",
     "return it as a categorical of pandas"),
    ("return {'a': [b'x'] * 9, 'y': np.ones(9)}", "regression", "a has a value of type bytes"),
    ("return {'x': np.ones((9, 2)), 'y': np.ones(9)}", "multiclass",
     "allowed a column of 2 to 1,000 classes"),
    ("return Data({'x': np.ones((9, 2)), 'y': [0, 1, 2] * 3}, class_names=['a', 'b'])",
     "multiclass", "has 2 class_names, but y counts up to class 2"),
    ("return Data({'x': np.ones((9, 2)), 'y': np.ones(9)}, class_names='ab')", "regression",
     "must return names as texts, but class_names is 'ab'"),
    ("return {'x': np.ones((9, 2)), 'y': np.ones(9)}", "segmentation",
     "dataset.plugin.mask: found nothing"),
    ("return {'x': np.ones((9, 1, 8, 8)), 'y': np.ones(9)}", "tabular",
     "model: found tabular on plugin, whose inputs are images"),
    ("return {'x': np.ones((2, 2)), 'y': np.ones(2)}", "regression", "split.validation"),
    ("raise OSError('no such table')", "regression", "with parameters {}: OSError: no such table"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "task", "says"), WORSE, ids=[row[0][:70] for row in WORSE])
def test_what_is_wrong_with_the_data_is_the_jobs_fault(
    install: Install, code: str, task: str, says: str
) -> None:
    head = "import numpy as np\nfrom talweg.plugins import Data\n\ndef make(parameters):\n    "
    install(head + code, {"talweg.datasets:own": "make"})
    fields: dict[str, Any] = {
        "multiclass": {"loss": "cross_entropy"},
        "segmentation": {"loss": "dice", "model": "unet"},
        "tabular": {"task": "regression", "model": "tabular"},
    }.get(task, {})
    result, report = run(job(**{"task": task, "dataset": plugin("own"), **fields}))
    assert (result.state, result.cause, report.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert says in result.message, result.message


def test_leakage_is_warned_of_in_the_plugins_words(install: Install) -> None:
    code = """
import numpy as np

def make(parameters):
    a = np.random.default_rng(0).normal(size=100)
    return {"a": a, "b": 2 * a + 1, "y": a}
"""
    install(code, {"talweg.datasets:own": "make"})
    _, report = run(job(dataset=plugin("own")), may_be_unwell=True)
    leakage = [each for each in report.warnings if each.kind == Warning.DATA_LEAKAGE]
    assert {each.field for each in leakage} == {"dataset.plugin.inputs"}
    assert any("a equals the target y" in each.message for each in leakage)


def test_a_warning_that_only_the_data_bring_is_told() -> None:
    large = {"epochs": 1, "batch_size": 500}
    _, report = run(job(dataset=plugin("houses"), training=large), may_be_unwell=True)
    assert Warning.BATCH_ABOVE_DATA in [each.kind for each in report.warnings]


def test_other_data_than_those_it_began_with_end_a_job(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os
import numpy as np

def make(parameters):
    x = np.random.default_rng(int(os.environ["OWN_SEED"])).normal(size=(100, 3))
    return {"x": x, "y": x[:, 0]}
"""
    install(code, {"talweg.datasets:own": "make"})
    spec = with_checkpoints(job(dataset=plugin("own")), every_steps=1)
    report = RecordingReporter()
    disk = Disk(tmp_path / "disk", report)

    def attempt(seed: int, control: Any) -> Any:
        monkeypatch.setenv("OWN_SEED", str(seed))
        return diagnostics.run(spec, report=report, control=control, device="cpu", store=disk)

    assert attempt(0, SendsAwayAt(3)).state == Job.QUEUED
    result = attempt(1, NeverStop())
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "must return the same data for the same parameters" in result.message
    assert attempt(0, NeverStop()).state == Job.SUCCEEDED


def test_the_log_says_where_the_data_come_from() -> None:
    report = RecordingReporter()
    diagnostics.run(
        job(dataset=plugin("wine"), task="multiclass", loss="cross_entropy"),
        report=report, control=NeverStop(), device="cpu",
    )  # fmt: skip
    assert "dataset.plugin is plug-in 'wine' (own_data 1)." in report.lines
