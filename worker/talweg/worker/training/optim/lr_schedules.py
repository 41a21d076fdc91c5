"""How the learning rate moves: each schedule is a function of the step.

To add one: a function from its filled message to a curve, and its row in `SCHEDULES`, which a test
holds complete.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from talweg.spec import kind
from talweg.v1 import optimizers_pb2 as messages


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    steps: int
    """Optimizer steps in all."""
    steps_an_epoch: int
    """Optimizer steps of one pass over the training data."""


@dataclass(frozen=True)
class Plateau:
    """A learning rate that is reduced when a metric stops improving."""

    metric: str
    """The validation metric that is watched."""
    patience: int
    """Evaluations without improvement after which it is reduced, 1 at least."""


# From the step, counted from 1, and the reductions so far, to the step's learning rate.
Curve = Callable[[int, int], float]


@dataclass(frozen=True)
class Schedule:
    """A learning rate for every step."""

    learning_rate: Curve
    """Gives a step's learning rate: from the step, counted from 1, and from how often the watched
    metric has stopped improving, which only `plateau` heeds."""
    plateau: Plateau | None = None
    """What is watched; None where the step alone decides."""

    def times(self, factor: Callable[[int], float]) -> "Schedule":
        """Return the schedule whose learning rates are multiplied by a factor of the step."""
        curve = self.learning_rate

        def multiplied(step: int, reductions: int) -> float:
            return curve(step, reductions) * factor(step)

        return replace(self, learning_rate=multiplied)


def build(schedule: messages.Schedule, *, learning_rate: float, length: Length) -> Schedule:
    """Build a filled schedule.

    Args:
        schedule: The schedule.
        learning_rate: The optimizer's.
        length: How long the run is.
    """
    name, message = kind(schedule)
    curve = SCHEDULES[name](message, learning_rate, length)
    plateau = None
    if isinstance(message, messages.Plateau):
        plateau = Plateau(message.metric, max(message.patience, 1))
    return Schedule(_warmed_up(curve, message.warmup_steps), plateau)  # type: ignore[attr-defined]


def _warmed_up(curve: Curve, warmup_steps: int) -> Curve:
    if not warmup_steps:
        return curve

    def warmed_up(step: int, reductions: int) -> float:
        if step >= warmup_steps:
            return curve(step, reductions)
        # Towards what the curve gives at the end of the warm-up.
        return curve(warmup_steps, reductions) * step / warmup_steps

    return warmed_up


def _constant(_: messages.Constant, base: float, length: Length) -> Curve:
    return lambda step, reductions: base


def _step(schedule: messages.Step, base: float, length: Length) -> Curve:
    every = schedule.every_epochs * length.steps_an_epoch
    gamma = schedule.gamma
    return lambda step, reductions: base * gamma ** ((step - 1) // every)


def _cosine(schedule: messages.Cosine, base: float, length: Length) -> Curve:
    first = max(schedule.warmup_steps, 1)
    span = max(length.steps - first, 1)
    low = base * schedule.final_share
    return lambda step, reductions: _along_cosine(base, low, (step - first) / span)


def _one_cycle(schedule: messages.OneCycle, base: float, length: Length) -> Curve:
    first = max(schedule.warmup_steps, 1)
    start = base / schedule.start_divisor
    end = start / schedule.final_divisor
    # The step at which the rate stands highest, as torch's OneCycleLR counts it.
    top = first - 1 + schedule.rising_share * (length.steps - first + 1)
    rising = max(top - first, 1e-9)
    falling = max(length.steps - max(top, first), 1e-9)

    def curve(step: int, reductions: int) -> float:
        if step <= top:
            return _along_cosine(start, base, (step - first) / rising)
        return _along_cosine(base, end, (step - max(top, first)) / falling)

    return curve


def _plateau(schedule: messages.Plateau, base: float, length: Length) -> Curve:
    factor = schedule.factor
    lowest = min(schedule.min_rate, base)
    return lambda step, reductions: max(base * factor**reductions, lowest)


def _along_cosine(start: float, end: float, share: float) -> float:
    """Go from start at 0 to end at 1 along half a cosine."""
    share = min(max(share, 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


SCHEDULES: dict[str, Callable[[Any, float, Length], Curve]] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "plateau": _plateau,
}
"""Every member of `Schedule` with its curve, before warm-up."""
