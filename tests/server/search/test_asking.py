"""The settings of a sweep's trials, by its algorithm."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf import json_format

from talweg.server.services.search.asking import (
    AskingService,
    Outcome,
    Pruned,
    Tried,
    history_of,
    needs_history,
)
from talweg.server.services.search.process import SearchProcess
from talweg.server.store.record.rows import TrialRow
from talweg.spec.sweeps import Plan, Setting, check_sweep, fill_sweep
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE
from talweg.v1.sweeps_pb2 import SweepSpec, Trial

RATE = "optimizer.adamw.learning_rate"
LEARNING_RATE = {
    "path": RATE,
    "log_uniform": {"low": 1e-4, "high": 1e-1},
}
LOSSES = {
    "path": "loss",
    "choices": [
        {"value": "mse"},
        {
            "value": {"huber": {}},
            "space": [{"path": "loss.huber.delta", "uniform": {"low": 0.5, "high": 2.0}}],
        },
    ],
}


def plan(**changes: Any) -> Plan:
    """Return a plan of 12 trials for each of two losses; `changes` replace parts of its sweep."""
    sweep = {
        "base": {
            "task": {"regression": {}},
            "dataset": {"diabetes": {}},
            "model": {"mlp": {"hidden": [8]}},
        },
        "space": [LOSSES, LEARNING_RATE],
        "compare": {"path": "loss"},
        "trials": 12,
        **changes,
    }
    filled = fill_sweep(json_format.ParseDict(sweep, SweepSpec()))
    assert check_sweep(filled) == []
    return Plan(filled)


def outcome(setting: Setting, number: int) -> Outcome:
    if number % 7 == 3:
        return "failed"
    rate = float(dict(setting)[RATE])
    if number % 5 == 4:
        return Pruned(rate, 2)
    return "diverged" if rate > 0.05 else abs(rate - 0.01)


@pytest.fixture
async def asking() -> AsyncIterator[AskingService]:
    process = SearchProcess()
    yield AskingService(process)
    await process.close()


async def test_grid_and_random_start_no_process() -> None:
    process = SearchProcess()
    asking = AskingService(process)
    listed = [{"path": "loss", "values": ["mse", "mae"]}]
    for known in (
        plan(algorithm={"random": {"seed": 3}}),
        plan(space=listed, compare=None, trials=None),
    ):
        numbers = range(1, known.num_trials + 1)
        found = await asking.settings(known, numbers, {}, goal=MINIMIZE)
        assert found == [known.trial(number).setting for number in numbers]
        assert not needs_history(known)
    assert process.pid is None


async def test_each_compared_value_has_a_search_of_its_own(asking: AskingService) -> None:
    tpe = plan(algorithm={"tpe": {"num_startup": 4}})
    assert needs_history(tpe)
    history: dict[int, list[Tried]] = {0: [], 1: []}
    for number in range(1, tpe.num_trials + 1):
        (setting,) = await asking.settings(tpe, [number], history, goal=MINIMIZE)
        search, _ = tpe.place(number)
        history[search].append(Tried(number, setting, outcome(setting, number)))
    assert [dict(each.setting)["loss"] for each in history[0]] == ["mse"] * 12
    assert all("loss.huber.delta" in dict(each.setting) for each in history[1])
    # What one search has seen does not move the other.
    for search, numbers in ((0, [23]), (1, [24])):
        alone = {search: history[search][:-1]}
        (again,) = await asking.settings(tpe, numbers, alone, goal=MINIMIZE)
        assert again == history[search][-1].setting
    (other,) = await asking.settings(tpe, [23], {0: history[0][:-1]}, goal=MAXIMIZE)
    assert other != history[0][-1].setting


async def test_trials_of_a_call_are_answered_in_its_order(asking: AskingService) -> None:
    for algorithm in ("qmc", "tpe"):
        asked = plan(algorithm={algorithm: {"seed": 5}})
        numbers = [4, 1, 2, 3]
        together = await asking.settings(asked, numbers, {}, goal=MINIMIZE)
        assert [dict(each)["loss"] for each in together] == [
            {"huber": {}},
            "mse",
            {"huber": {}},
            "mse",
        ]
        ones = [(await asking.settings(asked, [each], {}, goal=MINIMIZE))[0] for each in numbers]
        assert together == ones
        sorted_ = await asking.settings(asked, sorted(numbers), {}, goal=MINIMIZE)
        assert sorted_ == together[1:] + together[:1]
        reseeded = plan(algorithm={algorithm: {"seed": 6}})
        assert await asking.settings(reseeded, numbers, {}, goal=MINIMIZE) != together


async def test_values_without_settings_of_their_own_begin_at_the_same_ones(
    asking: AskingService,
) -> None:
    values = {"path": "loss", "values": ["mse", {"huber": {"delta": 2.0}}]}
    for algorithm in ("qmc", "tpe"):
        asked = plan(algorithm={algorithm: {}}, space=[values, LEARNING_RATE])
        found = await asking.settings(asked, range(1, 9), {}, goal=MINIMIZE)
        rates = [dict(each)[RATE] for each in found]
        assert rates[::2] == rates[1::2]
        assert len(set(rates)) == 4


def test_rows_of_trials_become_a_history() -> None:
    setting = ((RATE, 0.01),)

    def row(number: int, search: int = 0, **changes: Any) -> TrialRow:
        return TrialRow(1, number, search, json.dumps(setting), **changes)

    rows = [
        row(1),
        row(2, 1, state=int(Trial.SUCCEEDED), value=0.5),
        row(3, state=int(Trial.SUCCEEDED)),
        row(4, 1, state=int(Trial.DIVERGED)),
        row(5, state=int(Trial.FAILED)),
        row(6, 1, state=int(Trial.CANCELLED)),
        row(7, pruned_at=3, value=0.7),
        row(8, 1, state=int(Trial.PRUNED), pruned_at=9, value=0.2),
        row(9, state=int(Trial.SUCCEEDED), value=0.1, is_final=True),
    ]
    history = history_of(rows)
    assert {search: [each.number for each in tried] for search, tried in history.items()} == {
        0: [1, 3, 5, 7],
        1: [2, 4, 6, 8],
    }
    assert [each.outcome for each in history[0]] == ["running", "failed", "failed", Pruned(0.7, 3)]
    assert [each.outcome for each in history[1]] == [0.5, "diverged", "failed", Pruned(0.2, 9)]
    assert history[0][0].setting == setting
