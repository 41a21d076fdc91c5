"""The settings of spaces: as many as counted, each once, in an order that nothing changes."""

import json
from itertools import islice
from random import Random
from typing import Any

import pytest
from tests.proto.sweeps.samples import INTERVAL, RATE, plan_of, sweep

from talweg.spec.sweeps import Setting
from talweg.spec.sweeps.space import Product, in_turn, product, shuffled

A: dict[str, Any] = {"path": "a", "values": [1, 2, 3]}
B: dict[str, Any] = {"path": "b", "values": ["x", "y"]}
TIED = {"zip": [{"path": "c", "values": [1, 2]}, {"path": "d", "values": [10, 20]}]}
CONDITIONAL = {
    "path": "loss",
    "choices": [
        {"value": "mse"},
        {"value": {"huber": {}}, "space": [{"path": "loss.huber.delta", "values": [1, 2, 3]}]},
        {
            "value": "focal",
            "space": [
                {"path": "loss.focal.gamma", "values": [1, 2]},
                {"path": "e", "choices": [{"value": 1, "space": [TIED]}, {"value": 2}]},
            ],
        },
    ],
}

# dimensions, number of settings
SPACES: list[tuple[list[dict[str, Any]], int]] = [
    ([A], 3),
    ([A, B], 6),
    ([TIED], 2),
    ([A, TIED, B], 12),
    ([CONDITIONAL], 1 + 3 + 2 * 3),
    ([B, CONDITIONAL, A], 2 * 10 * 3),
    ([{"path": "n", "integers": {"low": -2, "high": 3}}], 6),
    ([{"path": "n", "integers": {"low": 1, "high": 4}}, B], 8),
]


def space_of(dimensions: list[dict[str, Any]]) -> Product:
    return product(list(sweep(space=dimensions).space))


def key(setting: Setting) -> str:
    return json.dumps(setting)


@pytest.mark.parametrize(("dimensions", "count"), SPACES)
def test_each_index_gives_another_setting(dimensions: list[dict[str, Any]], count: int) -> None:
    space = space_of(dimensions)
    assert space.count == count
    assert len({key(space.at(index)) for index in range(count)}) == count
    with pytest.raises(IndexError):
        space.at(count)


def test_the_last_dimension_changes_first() -> None:
    space = space_of([A, B])
    assert [space.at(index) for index in range(4)] == [
        (("a", 1), ("b", "x")),
        (("a", 1), ("b", "y")),
        (("a", 2), ("b", "x")),
        (("a", 2), ("b", "y")),
    ]


def test_what_is_tied_stays_together() -> None:
    space = space_of([TIED])
    assert [space.at(index) for index in range(2)] == [
        (("c", 1), ("d", 10)),
        (("c", 2), ("d", 20)),
    ]


def test_a_choice_has_its_own_settings_alone() -> None:
    space = space_of([CONDITIONAL])
    for index in range(10):
        setting = dict(space.at(index))
        name = setting["loss"] if isinstance(setting["loss"], str) else "huber"
        assert ("loss.huber.delta" in setting) is (name == "huber")
        assert ("loss.focal.gamma" in setting) is (name == "focal")
        assert ("c" in setting) is (setting.get("e") == 1)
        # What depends on a value stands after it.
        assert next(iter(setting)) == "loss"


@pytest.mark.parametrize(("dimensions", "count"), SPACES)
def test_the_first_settings_have_each_value(dimensions: list[dict[str, Any]], count: int) -> None:
    space = space_of(dimensions)
    everything = {key((pair,)) for index in range(count) for pair in space.at(index)}
    seen = [key((pair,)) for setting in space.each() for pair in setting]
    is_interval = "integers" in dimensions[0]
    assert set(seen) <= everything
    assert is_interval or set(seen) == everything


def test_dimensions_take_turns_in_the_first_settings() -> None:
    long = {"path": "a", "values": list(range(1000))}
    space = space_of([long, long | {"path": "b"}, CONDITIONAL])
    first = [dict(setting) for setting in islice(space.each(), 40)]
    assert len({setting["a"] for setting in first}) > 10
    assert len({setting["b"] for setting in first}) > 10
    assert len({json.dumps(setting["loss"]) for setting in first}) == 3


def test_items_in_turn() -> None:
    assert list(in_turn([iter("abc"), iter(""), iter("d"), iter("ef")])) == list("adebfc")
    # No deeper for more of them.
    assert len(list(in_turn([iter([index]) for index in range(20_000)]))) == 20_000


@pytest.mark.parametrize("count", range(1, 71))
def test_shuffled_is_a_permutation(count: int) -> None:
    order = [shuffled("0", count, index) for index in range(count)]
    assert sorted(order) == list(range(count))
    if count > 10:
        assert order != sorted(order)
        assert order != [shuffled("1", count, index) for index in range(count)]


def test_orders_look_random() -> None:
    # Each number comes about as often first.
    first = [shuffled(str(seed), 5, 0) for seed in range(1000)]
    assert all(150 < first.count(number) < 250 for number in range(5))


def test_a_huge_space_is_tried_everywhere() -> None:
    # More than 2**128 settings, whose first values a hash of 64 bits would leave as they are.
    dimensions = [{"path": f"p{index}", "values": list(range(10))} for index in range(60)]
    space = space_of(dimensions)
    count = 10**60
    assert space.count == count
    settings = [space.at(shuffled("0", count, index)) for index in range(40)]
    for position in range(60):
        assert len({setting[position][1] for setting in settings}) >= 6


def test_random_settings_of_a_list_never_repeat() -> None:
    plan = plan_of(algorithm="random", trials=10, space=[CONDITIONAL])
    settings = [key(plan.trial(number).setting) for number in range(1, 11)]
    assert len(set(settings)) == 10
    assert settings != sorted(settings)


def test_random_settings_are_the_same_however_many_are_asked_for() -> None:
    def settings(trials: int, **random: Any) -> list[Setting]:
        fields = {"algorithm": {"random": random}, "trials": trials}
        plan = plan_of(
            space=[INTERVAL, {"path": "n", "integers": {"low": 1, "high": 9}}], **fields
        )
        return [plan.trial(number).setting for number in range(1, trials + 1)]

    assert settings(40)[:7] == settings(7)
    assert settings(7) == settings(7, seed=0) != settings(7, seed=1)


def test_random_integers_are_tried_once_each() -> None:
    plan = plan_of(space=[{"path": "n", "integers": {"low": 3, "high": 7}}])
    assert plan.num_trials == 5
    assert sorted(plan.trial(number).setting[0][1] for number in range(1, 6)) == [3, 4, 5, 6, 7]


# interval, its kind, least and largest share of numbers below a point, the point
SHARES: list[tuple[str, dict[str, Any], float, float]] = [
    ("uniform", {"low": -1, "high": 3}, 0.25, 0.0),
    ("log_uniform", {"low": 1e-4, "high": 1}, 0.5, 1e-2),
    ("integers", {"low": 1, "high": 10}, 0.3, 3.5),
    ("integers", {"low": 1, "high": 1000, "log": True}, 1 / 3, 10.0),
]


@pytest.mark.parametrize(("kind", "interval", "share", "point"), SHARES)
def test_numbers_are_spread_as_asked(
    kind: str, interval: dict[str, Any], share: float, point: float
) -> None:
    space = space_of([{"path": "n", kind: interval}])
    random = Random(0)
    values = [space.draw(random)[0][1] for _ in range(4000)]
    assert all(interval["low"] <= value <= interval["high"] for value in values)
    assert sum(value < point for value in values) / 4000 == pytest.approx(share, abs=0.05)
    assert all(isinstance(value, int) for value in values) is (kind == "integers")
    if kind == "integers":
        assert {interval["low"], interval["high"]} <= set(values)


def test_numbers_of_a_narrow_interval_differ() -> None:
    space = space_of([{"path": RATE, "uniform": {"low": 1_000_000.1, "high": 1_000_000.2}}])
    random = Random(0)
    assert len({space.draw(random) for _ in range(50)}) == 50


def test_numbers_are_short() -> None:
    space = space_of([INTERVAL])
    random = Random(0)
    assert all(len(f"{space.draw(random)[0][1]:e}".split("e")[0]) <= 8 for _ in range(50))


def test_whole_numbers_are_integers() -> None:
    values = [1, 1.5, -2, 0, True, "1", None, [1, 2.5], {"x": 3}, 2**52, 1e300]
    space = space_of([{"path": "a", "values": values}])
    found = [space.at(index)[0][1] for index in range(len(values))]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
