"""Settings of the form PATH=VALUE."""

import copy
from typing import Any

import pytest
from tests.proto.specs import base

from talweg.spec import SpecError, from_dict, override

LAYERS = {"sequential": {"layers": ["flatten", {"linear": {"out_features": 3}}, "relu", "linear"]}}
SUM = {"sum": {"terms": [{"loss": "mse"}, {"loss": "mae", "weight": 2}]}}

# start, assignments, path of the changed part, what stands there then
CHANGES: list[tuple[dict[str, Any], list[str], str, Any]] = [
    ({}, ["training.epochs=5"], "training", {"epochs": 5, "batch_size": 32, "seed": 0}),
    ({}, ["training.steps=5"], "training", {"steps": 5, "batch_size": 32, "seed": 0}),
    ({}, ["training.clip_norm=1", "training.clip_value=2"], "training",
     {"epochs": 60, "batch_size": 32, "seed": 0, "clip_value": 2}),
    ({}, ["loss=mae"], "loss", "mae"),
    ({}, ["loss={quantile: {q: 0.9}}"], "loss", {"quantile": {"q": 0.9}}),
    ({}, ["loss.mae={}"], "loss", {"mae": {}}),
    ({}, ["loss.quantile.q=0.9"], "loss", {"quantile": {"q": 0.9}}),
    ({}, ["loss.huber.reduction=sum"], "loss", {"huber": {"delta": 1.0, "reduction": "sum"}}),
    ({"loss": "huber"}, ["loss.huber.delta=1e-3"], "loss", {"huber": {"delta": 1e-3}}),
    ({"loss": "mse"}, ["loss.huber.delta=2"], "loss", {"huber": {"delta": 2}}),
    ({"loss": {"cross_entropy": {"weight": [1, 2]}}}, ["loss.cross_entropy.weight.values=[3]"],
     "loss", {"cross_entropy": {"weight": {"values": [3]}}}),
    ({}, ["model.mlp.hidden=[8, 8]"], "model", {"mlp": {"hidden": [8, 8]}}),
    ({}, ["model.mlp.hidden[1]=8"], "model", {"mlp": {"hidden": [64, 8]}}),
    ({"model": LAYERS}, ["model.sequential.layers[1].linear.out_features=8"], "model",
     {"sequential": {"layers": ["flatten", {"linear": {"out_features": 8}}, "relu", "linear"]}}),
    ({"model": LAYERS}, ["model.sequential.layers.2.gelu={}"], "model",
     {"sequential": {"layers": ["flatten", {"linear": {"out_features": 3}}, {"gelu": {}},
                                "linear"]}}),
    ({"loss": SUM}, ["loss.sum.terms[0].weight=3"], "loss",
     {"sum": {"terms": [{"loss": "mse", "weight": 3}, {"loss": "mae", "weight": 2}]}}),
    ({}, ["tags.a.b=5"], "tags", {"a.b": "5"}),
    ({"tags": {"x": "y"}}, ["tags.a=b"], "tags", {"x": "y", "a": "b"}),
    ({}, ["experiment=2024"], "experiment", "2024"),
    ({}, ["experiment='2024'"], "experiment", "2024"),
    ({}, ["display_name=a = b"], "display_name", "a = b"),
    ({}, ["display_name=true"], "display_name", "true"),
    ({"display_name": "x"}, ["display_name="], "display_name", None),
    ({}, ["training.early_stopping={}"], "training",
     {"epochs": 60, "batch_size": 32, "seed": 0, "early_stopping": {}}),
    ({}, [" training.epochs = 5 "], "training", {"epochs": 5, "batch_size": 32, "seed": 0}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "assignments", "path", "expected"), CHANGES, ids=[" ".join(c[1]) for c in CHANGES]
)
def test_override(start: dict[str, Any], assignments: list[str], path: str, expected: Any) -> None:
    value = base(**start)
    before = copy.deepcopy(value)
    result = override(value, assignments)
    assert result[path] == expected
    assert {k: v for k, v in result.items() if k != path} == {
        k: v for k, v in before.items() if k != path
    }
    assert value == before
    from_dict(result)


# assignment, field, part of the description
MISTAKES = [
    ("training.epoch=5", "training.epoch", "did you mean 'epochs'?"),
    ("loss.hubr.delta=5", "loss.hubr", "did you mean 'huber'?"),
    ("training.epochs", "training.epochs", "PATH=VALUE"),
    ("=5", "=5", "PATH=VALUE"),
    ("training.epochs.x=5", "training.epochs", "nothing below it"),
    ("model.mlp.hidden[2]=5", "model.mlp.hidden[2]", "an index below 2"),
    ("model.mlp.hidden[0].x=5", "model.mlp.hidden[0]", "nothing below it"),
    ("loss.sum.terms[0].weight=1", "loss.sum.terms[0]", "there are no items"),
    ("loss={huber", "loss:1", "YAML or JSON"),
]


@pytest.mark.parametrize(("assignment", "field", "expected"), MISTAKES)
def test_mistakes(assignment: str, field: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        override(base(), [assignment])
    (violation,) = caught.value.violations
    assert violation.field.startswith(field)
    assert expected in violation.description


def test_all_mistakes_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        override(base(), ["los=1", "training.epochs=3", "tak=2"])
    assert [v.field for v in caught.value.violations] == ["los", "tak"]


@pytest.mark.parametrize("path", ["training.seed", "training.epochs", "training.precision"])
def test_nothing_behind_the_equals_sign_is_refused(path: str) -> None:
    """As of a shell variable that is not set."""
    with pytest.raises(SpecError) as caught:
        override({}, [f"{path}="])
    (violation,) = caught.value.violations
    assert violation.field == path
    assert "shell variable" in violation.hint
