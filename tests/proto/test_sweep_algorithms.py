"""Searches of a sweep by qmc and tpe: checks, and their spaces as JSON."""

import json
from typing import Any

import pytest
from google.protobuf import json_format

from talweg.spec.sweeps import Plan, check_sweep, fill_sweep, space_to_json
from talweg.spec.sweeps.space import Product, Uniform
from talweg.spec.sweeps.space_json import space_from_json
from talweg.v1.sweeps_pb2 import SweepSpec

RATE = {"path": "optimizer.adamw.learning_rate", "log_uniform": {"low": 1e-4, "high": 0.1}}
SPACE = [
    RATE,
    {"path": "training.epochs", "integers": {"low": 1, "high": 64, "log": True}},
    {
        "path": "loss",
        "choices": [
            {"value": "mse"},
            {
                "value": {"huber": {}},
                "space": [{"path": "loss.huber.delta", "values": [0.5, 1, 2]}],
            },
        ],
    },
    {
        "zip": [
            {"path": "training.batch_size", "values": [32, 128]},
            {"path": "training.clip_norm", "values": [1.0, 4.0]},
        ]
    },
]


def sweep(algorithm: dict[str, Any], **changes: Any) -> SweepSpec:
    base = {
        "task": {"regression": {}},
        "dataset": {"diabetes": {}},
        "model": {"mlp": {"hidden": [8]}},
    }
    given = {"base": base, "space": SPACE, "algorithm": algorithm, **changes}
    return fill_sweep(json_format.ParseDict(given, SweepSpec()))


def violations(spec: SweepSpec) -> list[tuple[str, str]]:
    return [(each.field, each.description) for each in check_sweep(spec)]


def test_defaults_are_filled() -> None:
    tpe = sweep({"tpe": {}})
    assert json_format.MessageToDict(tpe.algorithm) == {"tpe": {"seed": 0, "numStartup": 10}}
    assert json_format.MessageToDict(sweep({"qmc": {}}).algorithm) == {"qmc": {"seed": 0}}
    for spec in (tpe, sweep({"qmc": {}})):
        assert violations(spec) == []
        assert Plan(spec).num_trials == 20
        assert not Plan(spec).is_known


def test_what_takes_too_long_is_refused() -> None:
    long = [{"path": "training.epochs", "values": list(range(1, 1002))}]
    inner = [{"path": "loss", "choices": [{"value": "mse", "space": long}]}]
    for space, at in ((long, 0), ([RATE, *inner], 1)):
        assert violations(sweep({"tpe": {}}, space=space)) == [
            (
                "algorithm.tpe",
                f"found a list of 1,001 values in space[{at}]; allowed lists of at most 1,000. "
                "give numbers as an interval, or search by random or qmc",
            )
        ]
        assert violations(sweep({"qmc": {}}, space=space)) == []
    many = sweep({"tpe": {}}, trials=5001)
    assert [field for field, _ in violations(many)] == ["trials"]
    assert violations(sweep({"qmc": {}}, trials=5001)) == []
    zero = sweep({"tpe": {"num_startup": 0}})
    assert [field for field, _ in violations(zero)] == ["algorithm.tpe.num_startup"]


def test_points_of_too_many_dimensions_are_refused() -> None:
    widest: list[dict[str, Any]] = [
        {"path": f"base.tags.{index}", "values": ["a", "b"]} for index in range(100)
    ]
    for _ in range(3):
        widest = [{"path": "x", "choices": [{"value": 1, "space": widest}]}] * 5
    spec = sweep({"qmc": {}}, space=widest)
    found = [each for each in violations(spec) if each[0] == "algorithm.qmc"]
    assert found == [
        ("algorithm.qmc", "found 12,655 dimensions; allowed at most 1,000. or search by random")
    ]


def test_a_space_comes_back_from_json() -> None:
    space = Plan(sweep({"tpe": {}})).searches[0].space
    again = space_from_json(json.loads(json.dumps(space_to_json(space))))
    assert space_to_json(again) == space_to_json(space)
    assert list(again.each()) == list(space.each())
    point = [0.3, 0.9, 0.7, 0.5, 0.6]
    assert again.width == len(point)
    assert again.pick(point) == space.pick(point)
    assert dict(again.pick(point))["loss.huber.delta"] == 1
    assert type(dict(again.pick(point))["training.epochs"]) is int


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"values": [[1]], "paths": ["x"]},
        {"product": [{"values": [[1, 2]], "paths": ["x"]}]},
        {"product": [{"choices": [], "path": "x"}]},
        {"product": [{**space_to_json(Uniform("x", 0.0, 1.0)), "is_log": True}]},
        {"product": [{**space_to_json(Uniform("x", 0.0, 1.0)), "interval": [1.0, 0.0]}]},
    ],
)
def test_what_is_no_space_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="space"):
        space_from_json(wrong)
    assert space_from_json({"product": []}) == Product([])
