"""A predictor that knows nothing of the inputs, computed by hand, and beaten."""

from typing import Any

import numpy as np
import pytest
from tests.worker.training.jobs import job, run

from talweg.spec import goal_of
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.options_pb2 import MINIMIZE
from talweg.worker import data

JOBS: dict[str, dict[str, Any]] = {
    "regression": {"dataset": "diabetes", "loss": "mse"},
    "several targets": {
        "task": "regression",
        "dataset": {"synthetic_regression": {"num_targets": 3}},
        "loss": "mse",
    },
    "binary": {"dataset": "breast_cancer", "loss": "bce_with_logits"},
    "multiclass": {"dataset": "wine", "loss": "cross_entropy"},
    "multilabel": {"dataset": "synthetic_multilabel", "loss": "bce_with_logits"},
}

RAN_AWAY: dict[str, Any] = {
    "loss": "huber",
    "model": {"mlp": {"hidden": [64]}},
    "optimizer": {"adamw": {"learning_rate": 300}},
}


def told(name: str, **fields: Any) -> tuple[dict[str, float], Any]:
    spec = job(
        **{"task": name, **JOBS[name]},
        model={"mlp": {"hidden": [32]}},
        training={"epochs": 40, "evaluate_every_epochs": 40},
        **fields,
    )
    _, report = run(spec)
    return {name: value for _, values in report.points for name, value in values.items()}, spec


@pytest.mark.parametrize("name", JOBS)
def test_a_trained_model_beats_it(name: str) -> None:
    values, spec = told(name, diagnostics={})
    trivial = {name: value for name, value in values.items() if name.startswith("trivial/")}
    assert trivial
    for metric, value in trivial.items():
        if metric.endswith(("ece", "f1")):
            # A constant answer is calibrated well, and always yes finds every case.
            continue
        reached = values[metric.replace("trivial/", "test/")]
        lower = goal_of(spec, metric.replace("trivial/", "test/")) == MINIMIZE
        assert reached < value if lower else reached > value, metric


def test_it_says_the_mean() -> None:
    values, spec = told("regression", diagnostics={"trivial": True})
    bundle = data.load(spec)
    assert bundle.target_scaler is not None
    train, test = (
        bundle.target_scaler.unscale(part.y.double().numpy())
        for part in (bundle.train, bundle.test)
    )
    assert values["trivial/mae"] == pytest.approx(np.abs(test - train.mean()).mean(), rel=1e-5)
    assert values["trivial/rmse"] == pytest.approx(
        np.sqrt(np.square(test - train.mean()).mean()), rel=1e-5
    )


def test_it_says_the_most_frequent_class() -> None:
    values, spec = told("multiclass", diagnostics={})
    bundle = data.load(spec)
    usual = int(np.bincount(bundle.train.y.numpy()).argmax())
    assert values["trivial/accuracy"] == pytest.approx(
        float((bundle.test.y == usual).float().mean())
    )


def test_nobody_asked() -> None:
    for fields in ({}, {"diagnostics": {"trivial": False}}):
        values, _ = told("regression", **fields)
        assert not any(name.startswith("trivial/") for name in values)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_ran_away_is_told(seed: int) -> None:
    spec = job(**RAN_AWAY, training={"seed": seed, "epochs": 3})
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED
    (warning,) = [one for one in report.warnings if one.kind == Warning.WORSE_THAN_TRIVIAL]
    assert "which was 300" in warning.message
    # So that comparisons mark it.
    assert report.last("test/mae") > 1e6 * report.last("trivial/mae")


@pytest.mark.parametrize("name", JOBS)
def test_a_model_that_has_learnt_is_not_told(name: str) -> None:
    spec = job(**{"task": name, **JOBS[name]}, training={"epochs": 40})
    _, report = run(spec)
    assert not [one for one in report.warnings if one.kind == Warning.WORSE_THAN_TRIVIAL]
    assert not [point for _, values in report.points for point in values if "trivial" in point]


def test_a_job_that_will_have_none_is_told_nothing() -> None:
    spec = job(**RAN_AWAY, diagnostics={"trivial": False})
    _, report = run(spec, may_be_unwell=True)
    assert not [one for one in report.warnings if one.kind == Warning.WORSE_THAN_TRIVIAL]
