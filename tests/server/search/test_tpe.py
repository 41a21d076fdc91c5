"""Settings by the tree-structured Parzen estimator."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

import pytest
from tests.server.search.searching import (
    SQUARE,
    at_random,
    best,
    paths,
    quadratic,
    search,
    values,
)

from talweg.search.answering import Answering
from talweg.search.question import DIVERGED, FAILED, RUNNING, Outcome, Pruned, Question, Tried
from talweg.spec.sweeps.space import Choices, Product, Uniform, Values, random_setting

LOSSES = Product(
    [
        Choices(
            "loss",
            [
                ("mse", Product()),
                ({"huber": {}}, Product([Uniform("loss.huber.delta", 0.1, 10.0, is_log=True)])),
                ({"sum": {"a": [1, 2]}}, Product([Values(["w"], [[1], [True], [[1, 2]]])])),
            ],
        ),
        Uniform("lr", 1e-5, 1.0, is_log=True),
        Uniform("hidden", 1, 256, is_log=True, is_integer=True),
        Values(["batch", "clip"], [[32, 1.0], [128, 4.0]]),
    ]
)


def test_it_beats_random_search() -> None:
    by_random = [best(at_random(SQUARE, quadratic, 60, seed=seed)) for seed in range(20)]
    by_tpe = [best(search(SQUARE, quadratic, 60, seed=seed)) for seed in range(4)]
    assert max(by_tpe) < statistics.median(by_random)
    upwards = search(SQUARE, lambda at: -quadratic(at), 40, goal="maximize")
    assert min(quadratic(dict(trial.setting)) for trial in upwards) < 0.2


def test_conditional_values_are_varied_where_they_apply_alone() -> None:
    def objective(at: Mapping[str, Any]) -> float:
        value: float = abs(math.log10(at["lr"]) + 2) + abs(at["hidden"] - 64) / 64
        if at["loss"] == {"huber": {}}:
            return value + abs(float(at["loss.huber.delta"]) - 2)
        return value + 3

    trials = search(LOSSES, objective, 50)
    own = {"mse": [], "huber": ["loss.huber.delta"], "sum": ["w"]}
    names = []
    for trial in trials:
        loss = dict(trial.setting)["loss"]
        names.append(loss if isinstance(loss, str) else next(iter(loss)))
        assert paths(trial.setting) == ["loss", *own[names[-1]], "lr", "hidden", "batch", "clip"]
    assert set(names[:10]) == set(own)
    assert names[30:].count("huber") > 12
    assert {type(each) for each in values(trials, "hidden")} == {int}
    assert all(1 <= each <= 256 for each in values(trials, "hidden"))
    assert all(1e-5 <= each <= 1.0 for each in values(trials, "lr"))
    assert all(each == float(f"{each:.6g}") for each in values(trials, "lr"))
    pairs = set(zip(values(trials, "batch"), values(trials, "clip"), strict=True))
    assert pairs == {(32, 1.0), (128, 4.0)}
    assert best(trials) < best(at_random(LOSSES, objective, 50))


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_the_region_of_diverged_trials_is_left(share: float) -> None:
    space = Product([Uniform("lr", 0.0, 1.0), Uniform("y", 0.0, 1.0)])

    def objective(at: Mapping[str, Any]) -> float:
        edge = 1 - share
        return math.inf if at["lr"] > edge else (at["lr"] - 0.9 * edge) ** 2 + at["y"]

    trials = search(space, objective, 50)
    by_random = at_random(space, objective, 50)
    num_diverged = [trial.outcome for trial in trials].count(DIVERGED)
    assert 0 < num_diverged < 0.8 * [trial.outcome for trial in by_random].count(DIVERGED)
    assert best(trials) < best(by_random)


def test_pruned_trials_rank_by_how_far_they_came() -> None:
    line = Product([Uniform("x", 0.0, 1.0)])
    # The best one of ten is the one to be near to.
    places = [index / 9 for index in range(10)]

    def asked(good: int, outcome: Outcome, others: Outcome) -> float:
        trials = [
            Tried(index, (("x", place),), outcome if index == good else others)
            for index, place in enumerate(places)
        ]
        questions = [Question(line, "tpe", 0, [number], trials=trials) for number in range(10, 17)]
        settings = [Answering().settings(each)[0] for each in questions]
        return statistics.median(float(dict(each)["x"]) for each in settings)

    for better, worse in (
        (5.0, Pruned(0.1, 3)),
        (Pruned(0.2, 4), Pruned(0.1, 3)),
        (Pruned(0.1, 3), Pruned(0.2, 3)),
        (Pruned(9.0, 1), DIVERGED),
    ):
        assert asked(1, better, worse) < 0.3
        assert asked(8, better, worse) > 0.7


def test_values_that_are_not_finite_are_those_of_diverged_trials() -> None:
    reached = {"value": math.nan, "evaluations": 1}
    for value in (math.nan, math.inf, -math.inf, reached, DIVERGED):
        assert Tried.of(0, [], value).outcome == DIVERGED
    with pytest.raises(ValueError, match="trial 3 has the outcome True"):
        Tried.of(3, [], True)


def test_failed_trials_teach_nothing_and_are_not_repeated() -> None:
    done = at_random(SQUARE, quadratic, 20)
    failed = [Tried(20 + index, (("x", 4.9), ("y", index / 9)), FAILED) for index in range(9)]
    with_failed = Question(SQUARE, "tpe", 0, [40], trials=[*done, *failed])
    assert Answering().settings(with_failed) == Answering().settings(
        Question(SQUARE, "tpe", 0, [40], trials=done)
    )
    listed = Product([Values(["x"], [[index] for index in range(30)])])
    tried = [Tried(index, (("x", index),), FAILED) for index in range(29)]
    question = Question(listed, "tpe", 0, [29], trials=tried)
    assert Answering().settings(question) == [(("x", 29),)]
    # Nor do they bring the random start to its end.
    starts = Question(SQUARE, "tpe", 0, [40], trials=[*done[:9], *failed])
    assert Answering().settings(starts) == [random_setting(SQUARE, "0", 40)]


def test_running_trials_are_kept_away_from() -> None:
    done = at_random(SQUARE, quadratic, 60)
    numbers = list(range(60, 68))
    together = Answering().settings(Question(SQUARE, "tpe", 0, numbers, trials=done))
    alone = [
        Answering().settings(Question(SQUARE, "tpe", 0, [number], trials=done))[0]
        for number in numbers
    ]
    assert together[0] == alone[0]
    assert len(set(alone)) == len(numbers)

    def spread(settings: list[Any]) -> float:
        points = [tuple(dict(setting).values()) for setting in settings]
        return statistics.mean(math.dist(a, b) for a in points for b in points)

    assert spread(together) > 1.2 * spread(alone)


def test_asking_in_steps_with_running_trials_gives_the_same() -> None:
    done = at_random(LOSSES, lambda at: at["lr"], 15)
    together = Answering().settings(Question(LOSSES, "tpe", 3, [15, 16, 17], trials=done))
    answering = Answering()
    running: list[Tried] = []
    for number in (15, 16, 17):
        question = Question(LOSSES, "tpe", 3, [number], trials=[*done, *running])
        (setting,) = answering.settings(question)
        running.append(Tried(number, setting, RUNNING))
    assert [trial.setting for trial in running] == together


def test_what_is_kept_never_changes_an_answer() -> None:
    """Trials that end in another order, fail, are tried again, and two searches in turn."""
    kept = Answering()

    def both(trials: list[Tried], number: int, seed: int = 0) -> Any:
        given = sorted(trials, key=lambda trial: trial.number)
        question = Question(SQUARE, "tpe", seed, [number], num_startup=4, trials=given)
        settings = kept.settings(question)
        assert settings == Answering().settings(question)
        return settings[0]

    histories: list[list[Tried]] = [[], []]
    for number in range(16):
        for which, trials in enumerate(histories):
            setting = both(trials, number, seed=which)
            trials.append(Tried(number, setting, RUNNING))
            # The one before the last ends before the last one does.
            if number % 3 == 2:
                for late in (number - 1, number - 2, number):
                    known = trials[late]
                    value = quadratic(dict(known.setting))
                    pruned = Pruned(value, late % 2 + 1)
                    ends: list[Outcome] = [DIVERGED, pruned, value, value]
                    became = ends[late % 4] if which == 0 else pruned
                    trials[late] = Tried(late, known.setting, became)
    first = histories[0]
    first[3] = Tried(3, first[3].setting, FAILED)
    both(first, 16)
    first[3] = Tried(3, first[3].setting, 0.01)
    both(first, 16)
    del first[5]
    both(first, 16)


def test_of_finitely_many_settings_each_is_tried_once() -> None:
    space = Product(
        [Values(["a"], [[0], [1], [2], [3]]), Choices("b", [(0, Product()), (1, Product())])]
    )
    trials = search(space, lambda at: at["a"] + at["b"], 8)
    assert len({trial.setting for trial in trials}) == 8
    more = Question(space, "tpe", 0, [3], trials=trials[:3] + trials[4:])
    assert Answering().settings(more) == [trials[3].setting]
    alike = search(Product([Values(["w"], [[1], [True]])]), lambda at: 0.0, 2)
    assert sorted(map(str, values(alike, "w"))) == ["1", "True"]
    # Where none is left an interval's numbers come again.
    integers = Product([Uniform("n", 1, 3, is_log=True, is_integer=True)])
    again = search(integers, lambda at: at["n"], 15)
    assert set(values(again, "n")) == {1, 2, 3}


def test_a_space_without_dimensions_has_one_setting() -> None:
    assert [trial.setting for trial in search(Product(), lambda at: 1.0, 1)] == [()]
