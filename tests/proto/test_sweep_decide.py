"""Sweeps that add seeds while the question is open: their file, defaults and checks."""

from typing import Any

import pytest

from talweg.spec import from_dict
from talweg.spec.sweeps import Plan, check_sweep, fill_sweep
from talweg.v1.sweeps_pb2 import SweepSpec

LOSSES = ["mse", "mae", "log_cosh", "huber"]


def sweep(compare: dict[str, Any]) -> SweepSpec:
    given = {
        "base": {
            "task": "regression",
            "dataset": "diabetes",
            "model": {"mlp": {"hidden": [8]}},
        },
        "space": [{"path": "loss", "values": LOSSES}],
        "compare": {"path": "loss", **compare},
    }
    return fill_sweep(from_dict(given, SweepSpec, path=""))


def violations(compare: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each.field, each.found, each.allowed) for each in check_sweep(sweep(compare))]


def test_defaults_and_shorthand() -> None:
    filled = sweep({"decide": {}}).compare
    assert (filled.decide.max_seeds, filled.decide.error) == (30, 0.05)
    assert not filled.HasField("final_seeds")
    assert sweep({"decide": 20}).compare.decide.max_seeds == 20
    assert sweep({}).compare.final_seeds == 10
    assert not sweep({}).compare.HasField("decide")


def test_the_number_of_jobs_is_the_most_that_there_may_be() -> None:
    plan = Plan(sweep({"decide": {"max_seeds": 20}}))
    assert plan.decides
    assert plan.num_jobs == 4 + 4 * 20
    assert not Plan(sweep({"final_seeds": 7})).decides
    assert Plan(sweep({"final_seeds": 7})).num_jobs == 4 + 4 * 7


def test_seeds_are_either_fixed_or_added() -> None:
    assert violations({"decide": {}}) == []
    assert violations({"decide": {}, "final_seeds": 12}) == [
        ("compare.final_seeds", "12", "nothing beside compare.decide")
    ]


@pytest.mark.parametrize(
    ("decide", "allowed"),
    [
        # Three comparisons: 2^(1-n) must be at most a third of the error.
        ({"max_seeds": 6}, "a number >= 7"),
        ({"max_seeds": 8, "error": 0.01}, "a number >= 10"),
    ],
)
def test_so_few_seeds_that_nothing_can_be_significant(
    decide: dict[str, Any], allowed: str
) -> None:
    ((field, found, bound),) = violations({"decide": decide})
    assert (field, found, bound) == ("compare.decide.max_seeds", str(decide["max_seeds"]), allowed)
    least = int(allowed.split()[-1])
    assert violations({"decide": {**decide, "max_seeds": least}}) == []


@pytest.mark.parametrize("error", [0, 0.5, 1])
def test_the_error_has_bounds(error: float) -> None:
    assert [field for field, _, _ in violations({"decide": {"error": error}})] == [
        "compare.decide.error"
    ]
