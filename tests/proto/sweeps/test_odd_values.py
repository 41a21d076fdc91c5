"""Odd values end in violations, and never in an exception; many of them in time."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.proto.specs import base
from tests.proto.sweeps.samples import RATE, space, sweep, values

from talweg.spec import from_dict
from talweg.spec.sweeps import (
    Plan,
    check_sweep,
    fill_sweep,
    first_settings,
)
from talweg.v1.sweeps_pb2 import SweepSpec


# Values that no job has, put where a value stands.
def _number(number: float) -> Callable[[SweepSpec], None]:
    def put(spec: SweepSpec) -> None:
        spec.space[0].values.values[0].number_value = number

    return put


def _nested(spec: SweepSpec) -> None:
    value = spec.space[0].values.values[0]
    for _ in range(30):
        value = value.list_value.values.add()
    value.number_value = math.nan


def _without_kind(spec: SweepSpec) -> None:
    spec.space[0].values.values[0].Clear()


def _empty_struct(spec: SweepSpec) -> None:
    spec.space[0].values.values[0].struct_value.SetInParent()


def _struct_with_nan(spec: SweepSpec) -> None:
    fields = spec.space[0].values.values[0].struct_value.fields
    fields["huber"].struct_value.fields["delta"].number_value = math.inf


def _choice_with_nan(spec: SweepSpec) -> None:
    spec.space[0].ClearField("values")
    spec.space[0].choices.add().value.number_value = math.nan


def _tied_nan(spec: SweepSpec) -> None:
    spec.space[0].Clear()
    part = spec.space[0].zip.add(path="loss")
    part.values.values.add().number_value = -math.inf


def _odd_interval(low: float, high: float) -> Callable[[SweepSpec], None]:
    def put(spec: SweepSpec) -> None:
        spec.space[0].ClearField("values")
        spec.space[0].path = RATE
        spec.space[0].uniform.low, spec.space[0].uniform.high = low, high

    return put


def _huge_integers(spec: SweepSpec) -> None:
    spec.space[0].ClearField("values")
    spec.space[0].path = "training.epochs"
    spec.space[0].integers.low, spec.space[0].integers.high = -(2**63), 2**63 - 1


def _no_base(spec: SweepSpec) -> None:
    spec.ClearField("base")


ODD: list[Callable[[SweepSpec], None]] = [
    _number(math.nan),
    _number(math.inf),
    _number(-math.inf),
    _number(1e300),
    _nested,
    _empty_struct,
    _struct_with_nan,
    _choice_with_nan,
    _tied_nan,
    _odd_interval(math.nan, 1),
    _odd_interval(0, math.nan),
    _odd_interval(-math.inf, math.inf),
    _odd_interval(-1.7e308, 1.7e308),
    _odd_interval(1, 0),
    _huge_integers,
    _no_base,
]


@pytest.mark.parametrize("change", ODD, ids=range(len(ODD)))
def test_odd_values_are_violations(change: Callable[[SweepSpec], None]) -> None:
    for path in ("loss", "training.epochs", "model.mlp.hidden", "tags", "dataset"):
        spec = sweep(**space(values(path, 1, 2)))
        change(spec)
        # Over the wire, as a server gets it.
        spec = SweepSpec.FromString(spec.SerializeToString())
        assert check_sweep(fill_sweep(spec))


def odd() -> Iterator[Any]:
    yield from (None, True, 0, -0.0, 1e-320, 1e308, 2**60, "", " ", "☃" * 50, "\0", "\x1b[31m")
    yield from ([], [[]], [[[[None]]]], {}, {"": ""}, {"a": {"b": {"c": []}}}, {"mse": None})
    deep: Any = 1
    for _ in range(15):
        deep = {"x": [deep]}
    yield deep


PATHS = [
    "", ".", "..", "loss", "loss.", ".loss", "loss.huber", "loss.huber.delta", "loss[0]",
    "model.mlp.hidden", "model.mlp.hidden[0]", "model.mlp.hidden[99]", "model.mlp.hidden[-1]",
    "model.mlp.hidden[1e9]", "tags", "tags.a", "tags.a.b", "training", "training.epochs", "☃",
    "a" * 500, "\0", "dataset.stored.facts", "task", "base.loss", "loss.sum.terms[0].loss",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("compare", [False, True])
def test_odd_values_at_odd_paths_are_no_exceptions(path: str, compare: bool) -> None:
    listed = list(odd())
    for first in listed:
        spec = SweepSpec(base=from_dict(base()))
        dimension = spec.space.add(path=path)
        dimension.values.extend([first, "mse"])
        if compare:
            spec.compare.path = path
        check_sweep(fill_sweep(SweepSpec.FromString(spec.SerializeToString())))


@pytest.mark.parametrize("compare", [False, True])
def test_ten_thousand_values(compare: bool) -> None:
    fields = space(values("training.batch_size", *range(1, 10_001)))
    if compare:
        fields["compare"] = "training.batch_size"
    assert check_sweep(fill_sweep(sweep(**fields))) == []
    fields["space"][0]["values"][7_000] = "x"
    (violation,) = check_sweep(fill_sweep(sweep(**fields)))
    assert violation.field == "space: training.batch_size"


def test_messages_stay_short_whatever_is_varied() -> None:
    fields = space(
        values("loss", *(f"{index}" * 200 for index in range(1, 1000))),
        compare={"path": "loss", "baseline": "mse"},
    )
    (violation,) = check_sweep(fill_sweep(sweep(**fields)))
    assert len(str(violation)) < 3000
    assert "999 in all" in str(violation)


def test_what_is_checked_first_is_of_each_search() -> None:
    fields = space(
        values("loss", "mse", "mae", "log_cosh"),
        values("training.batch_size", *range(1, 400)),
        compare="loss",
    )
    settings = first_settings(Plan(fill_sweep(sweep(**fields))))
    assert len(settings) == 200
    assert {dict(setting)["loss"] for setting in settings[:3]} == {"mse", "mae", "log_cosh"}
