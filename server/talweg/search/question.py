"""What is asked, as the server writes it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from talweg.spec.sweeps.space import Product, Setting
from talweg.spec.sweeps.space_json import space_from_json

RUNNING, FAILED, DIVERGED = "running", "failed", "diverged"
"""What became of a trial that has no value."""

Goal = Literal["minimize", "maximize"]
_GOALS = get_args(Goal)


@dataclass(frozen=True)
class Pruned:
    """A trial was stopped early: worse than all that have a value, better than diverged ones."""

    value: float
    """What it had reached."""
    evaluations: int
    """After how many evaluations; the more, the better it counts."""


Outcome = float | Pruned | str
"""The value of a trial, what it had reached; or RUNNING, FAILED or DIVERGED."""


@dataclass(frozen=True)
class Tried:
    """A trial of the search that has begun."""

    number: int
    """Its index in its search."""
    setting: Setting
    """Its values, in the order of the space."""
    outcome: Outcome
    """What became of it."""

    @classmethod
    def of(cls, number: int, setting: Sequence[Sequence[Any]], outcome: Any) -> "Tried":
        """Read a trial.

        Raises:
            ValueError: The outcome is none.
        """
        pairs = tuple((path, value) for path, value in setting)
        return cls(number, pairs, _outcome(number, outcome))


def _outcome(number: int, outcome: Any) -> Outcome:
    match outcome:
        case str() if outcome in (RUNNING, FAILED, DIVERGED):
            return outcome
        case bool():
            pass
        case int() | float():
            return float(outcome) if math.isfinite(outcome) else DIVERGED
        case {"value": int() | float() as value, "evaluations": int(evaluations)}:
            return Pruned(float(value), evaluations) if math.isfinite(value) else DIVERGED
    raise ValueError(f"trial {number} has the outcome {outcome!r}")


@dataclass(frozen=True)
class Question:
    """Which settings should be tried next."""

    space: Product
    """What is varied."""
    algorithm: str
    """qmc or tpe."""
    seed: int
    """Of the search."""
    numbers: Sequence[int]
    """The indices in the search of the settings that are wanted."""
    goal: Goal = "minimize"
    """Or maximize; of tpe."""
    num_startup: int = 10
    """Settings are random until so many trials have a value, diverged or were pruned; of tpe."""
    trials: Sequence[Tried] = ()
    """Those that have begun, by number; of tpe."""

    @classmethod
    def from_json(cls, line: bytes) -> "Question":
        """Read a question.

        Raises:
            ValueError: It is not one that can be answered.
            KeyError: A part of it is missing.
        """
        data: Mapping[str, Any] = json.loads(line)
        trials = [Tried.of(**trial) for trial in data.get("trials", ())]
        question = cls(
            space=space_from_json(data["space"]),
            algorithm=data["algorithm"],
            seed=int(data["seed"]),
            numbers=[int(number) for number in data["numbers"]],
            goal=data.get("goal", "minimize"),
            num_startup=int(data.get("num_startup", 10)),
            trials=sorted(trials, key=lambda trial: trial.number),
        )
        question.check()
        return question

    def check(self) -> None:
        """Raise where parts of it do not fit together.

        Raises:
            ValueError: They do not.
        """
        if self.goal not in _GOALS:
            raise ValueError(f"the goal must be one of {', '.join(_GOALS)}, but is {self.goal!r}")
        numbers = [*(trial.number for trial in self.trials), *self.numbers]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"numbers must differ, and be of no trial, but are {numbers}")
        count = self.space.count
        most = 2**30 if count is None else count
        if self.numbers and not 0 <= min(self.numbers) <= max(self.numbers) < most:
            raise ValueError(f"numbers must be >= 0 and < {most:,}, but are {self.numbers}")
