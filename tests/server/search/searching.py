"""A search run to its end without jobs: a function takes their place."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from talweg.search.answering import Answering
from talweg.search.question import DIVERGED, Question, Tried
from talweg.spec.sweeps.space import Product, Setting, Uniform, random_setting

Objective = Callable[[Mapping[str, Any]], float]

SQUARE = Product([Uniform("x", -5.0, 5.0), Uniform("y", -5.0, 5.0)])


def quadratic(values: Mapping[str, Any]) -> float:
    """Return a value that is least, 0, at (2, -1)."""
    return float((values["x"] - 2.0) ** 2 + (values["y"] + 1.0) ** 2)


def outcome(value: float) -> float | str:
    return float(value) if math.isfinite(value) else DIVERGED


def search(
    space: Product, objective: Objective, trials: int, *, seed: int = 0, **more: Any
) -> list[Tried]:
    """Return the trials of a search by tpe, one after the other."""
    answering = Answering()
    done: list[Tried] = []
    for number in range(trials):
        (setting,) = answering.settings(
            Question(space, "tpe", seed, [number], trials=tuple(done), **more)
        )
        done.append(Tried(number, setting, outcome(objective(dict(setting)))))
    return done


def at_random(space: Product, objective: Objective, trials: int, *, seed: int = 0) -> list[Tried]:
    settings = [random_setting(space, str(seed), number) for number in range(trials)]
    return [
        Tried(number, setting, outcome(objective(dict(setting))))
        for number, setting in enumerate(settings)
    ]


def best(trials: list[Tried]) -> float:
    return min(trial.outcome for trial in trials if isinstance(trial.outcome, float))


def values(trials: list[Tried], path: str) -> list[Any]:
    return [dict(trial.setting).get(path) for trial in trials]


def paths(setting: Setting) -> list[str]:
    return [path for path, _ in setting]
