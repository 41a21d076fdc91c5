"""Specs in words."""

import re
from typing import Any

import pytest
from tests.proto.specs import base, random_spec

from talweg.spec import display_name, fill, fill_message, flatten, from_dict, label, seed_of
from talweg.v1.losses_parts_pb2 import ClassWeights
from talweg.v1.losses_pb2 import Huber, Loss
from talweg.v1.models_pb2 import Model
from talweg.v1.spec_pb2 import JobSpec, Training

# message, label
LABELS: list[tuple[type[Loss] | type[Model], Any, str]] = [
    (Loss, "huber", "huber"),
    (Loss, {"huber": {"delta": 1.0}}, "huber"),
    (Loss, {"huber": {"delta": 2}}, "huber delta=2"),
    (Loss, {"huber": {"delta": 2.5e-7, "reduction": "sum"}}, "huber delta=2.5e-07 reduction=sum"),
    (Loss, {"poisson_nll": {"log_input": False}}, "poisson_nll log_input=false"),
    (Loss, {"cross_entropy": {"weight": [1, 2.5]}}, "cross_entropy weight=[1, 2.5]"),
    (Loss, {"focal": {"alpha": [1, 2]}}, "focal alpha=[1, 2]"),
    (Loss, {"focal": {"alpha": "balanced"}}, "focal alpha=balanced"),
    (Loss, {"focal": {"alpha": {"effective_number": {}}}}, "focal alpha=effective_number"),
    (
        Loss,
        {"focal": {"gamma": 1, "alpha": {"effective_number": {"beta": 0.9}}}},
        "focal gamma=1 alpha=effective_number(beta=0.9)",
    ),
    (
        Loss,
        {"sum": {"terms": [{"loss": "mse"}, {"loss": {"huber": {"delta": 2}}, "weight": 0.5}]}},
        "sum(mse, huber delta=2 weight=0.5)",
    ),
    (Model, "mlp", "mlp"),
    (Model, {"mlp": {"hidden": [64, 64], "nonlinearity": "relu"}}, "mlp"),
    (Model, {"mlp": {"hidden": [8], "nonlinearity": "tanh"}}, "mlp hidden=[8] nonlinearity=tanh"),
    (
        Model,
        {"sequential": {"layers": [{"conv2d": {"out_channels": 8}}, "relu", "linear"]}},
        "sequential(conv2d out_channels=8, relu, linear)",
    ),
    (Loss, {}, "nothing"),
]


@pytest.mark.parametrize(("message_type", "value", "expected"), LABELS)
def test_labels(message_type: type[Loss] | type[Model], value: Any, expected: str) -> None:
    message = from_dict(value, message_type)
    assert label(message) == expected
    assert label(fill_message(message)) == expected


def test_labels_of_parts() -> None:
    assert label(Training(batch_size=8, epochs=5)) == "epochs=5 batch_size=8"
    assert label(Huber(delta=3)) == "delta=3"
    assert label(Huber()) == ""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("balanced", "balanced"),
        ("effective_number", "effective_number"),
        ({"effective_number": {"beta": 0.9}}, "effective_number beta=0.9"),
        ([1, 2.5], "[1, 2.5]"),
    ],
)
def test_labels_of_class_weights(weights: Any, expected: str) -> None:
    """As they stand for groups by loss.cross_entropy.weight."""
    assert label(fill_message(from_dict(weights, ClassWeights))) == expected


def test_flatten() -> None:
    value = base(
        loss={"sum": {"terms": [{"loss": "mse"}, {"loss": {"huber": {"delta": 2}}}]}},
        tags={"team": "a"},
        outputs={"model": False},
        resources={"device": "cpu"},
    )
    assert flatten(from_dict(value)) == {
        "tags.team": "a",
        "task": "regression",
        "dataset": "diabetes",
        "model": "mlp",
        "model.mlp.hidden": "[64, 64]",
        "loss": "sum",
        "loss.sum.terms.0.loss": "mse",
        "loss.sum.terms.1.loss": "huber",
        "loss.sum.terms.1.loss.huber.delta": "2",
        "optimizer": "adamw",
        "optimizer.adamw.learning_rate": "0.003",
        "training.epochs": "60",
        "training.batch_size": "32",
        "training.seed": "0",
        "resources.device": "cpu",
        "outputs.model": "false",
    }


def test_flatten_names_weights_that_are_computed() -> None:
    spec = from_dict({"loss": {"cross_entropy": {"weight": {"balanced": {}}}}})
    assert flatten(spec) == {
        "loss": "cross_entropy",
        "loss.cross_entropy.weight": "balanced",
    }
    loss = fill_message(from_dict({"focal": {"alpha": "effective_number"}}, Loss))
    values = flatten(loss)
    assert values["focal.alpha"] == "effective_number"
    assert values["focal.alpha.effective_number.beta"] == "0.999"


@pytest.mark.parametrize("seed", range(0, 200, 4))
def test_names_that_trackers_take(seed: int) -> None:
    filled = fill(random_spec(seed))
    for name, value in flatten(filled).items():
        assert re.fullmatch(r"[\w.-]{1,250}", name)
        assert isinstance(value, str)
    assert label(filled.loss).startswith(filled.loss.WhichOneof("kind") or "?")


def test_display_name_and_seed() -> None:
    spec = from_dict(base(training={"seed": 3}))
    assert seed_of(spec) == 3
    assert display_name(spec) == display_name(fill(spec)) == "huber on diabetes, seed 3"
    spec.split.fold, spec.split.folds = 2, 5
    assert display_name(spec) == "huber on diabetes, fold 2 of 5, seed 3"
    spec.display_name = "mine"
    assert display_name(spec) == "mine"
    assert display_name(JobSpec()) == "nothing on nothing, seed 0"
