"""Weights that run away while every gradient is finite.

A learning rate or weight decay that is far too large multiplies the weights in each step, and no
gradient need show it. Weights are looked at now and then, and refused while they are finite still:
so far below what float32 holds, and so often, that they cannot overflow between two looks.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from talweg.spec import kind
from talweg.v1 import optimizers_pb2 as messages
from talweg.worker.training.guard.guard import read
from talweg.worker.training.optim import foreach

LARGEST_WEIGHT = 1e17
"""A weight beyond this has run away. Ten times it, the most that weight decay adds to a gradient,
still has a square that float32 holds."""
_LARGEST_OTHER = 1e37
_STEPS_APART = 128
_STEPS_APART_FOR_SUMS = 64
# What may come on top of the largest weight between two looks; float32 ends at 3.4e38.
_DECADES_LEFT = 18


@dataclass(frozen=True)
class GrowthBound:
    """How far an optimizer's numbers can grow between two looks at them."""

    factor: Callable[[Any], float]
    """From the filled message of the optimizer to what a step multiplies a weight by at most,
    beside what the gradient adds."""
    steps_apart: int = _STEPS_APART
    """Steps between two looks at the most."""


def _divided_decay(_: Any) -> float:
    """Return 1: weight decay, a part of the gradient, is divided by the gradient's own size."""
    return 1.0


def _decoupled_decay(optimizer: messages.AdamW) -> float:
    return abs(1 - optimizer.learning_rate * optimizer.weight_decay)


def _decay_with_momentum(optimizer: messages.Sgd) -> float:
    decay = optimizer.learning_rate * optimizer.weight_decay
    return 1 + 2 * decay / (1 - optimizer.momentum)


GROWTH_BOUNDS: Mapping[str, GrowthBound] = {
    "sgd": GrowthBound(_decay_with_momentum),
    "adam": GrowthBound(_divided_decay),
    "adamw": GrowthBound(_decoupled_decay),
    "rmsprop": GrowthBound(_divided_decay),
    # It adds up to 4e36 to its sums of squares in each step, and never takes away.
    "adagrad": GrowthBound(_divided_decay, _STEPS_APART_FOR_SUMS),
}
"""Every member of `Optimizer` with its bound."""


def steps_apart(optimizer: messages.Optimizer, *, rate_factor: float = 1.0) -> int:
    """Return how often weights must be looked at, in steps, so that they cannot overflow between.

    Gradients add to weights, at most 1e18 each, and weight decay multiplies them: where it stands
    outside the gradient (adamw) by 1 - rate · decay in a step; in SGD's gradient, with all that
    momentum makes of it, by at most 1 + 2 · rate · decay / (1 - momentum). Elsewhere it is divided
    by its own size.

    Args:
        optimizer: A filled optimizer. No schedule goes above its learning rate.
        rate_factor: The largest factor by which parameters learn faster than that.
    """
    faster = messages.Optimizer()
    faster.CopyFrom(optimizer)
    name, message = kind(faster)
    message.learning_rate *= rate_factor  # type: ignore[attr-defined]
    bound = GROWTH_BOUNDS[name]
    factor = bound.factor(message)
    if factor <= 1:
        return bound.steps_apart
    return max(1, min(bound.steps_apart, int(_DECADES_LEFT * math.log(10) / math.log(factor))))


class WeightWatch:
    """Looks at all that must be finite where a state is kept or given out."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Watch a model and what its optimizer adds up without end."""
        self._weights: dict[str, Tensor] = dict(model.named_parameters())
        self._statistics = {
            name: buffer
            for name, buffer in model.named_buffers()
            if buffer.is_floating_point() and buffer.numel()
        }
        self._all = [*self._weights.values(), *self._statistics.values()]
        self._adagrad = optimizer if isinstance(optimizer, torch.optim.Adagrad) else None

    def bad(self) -> dict[str, float]:
        """Name what no kept state and no result may hold, with its largest number.

        That is weights beyond 1e17, and what is not finite. The device is read once where all is
        well.
        """
        sums = self._sums()
        # No element is larger than the norm, which is the quicker to compute.
        norms = foreach.norms([*self._all, *sums.values()])
        if all(norm <= LARGEST_WEIGHT for norm in read(norms)):
            return {}
        named = {**self._weights, **self._statistics, **sums}
        largest = read(foreach.largest(list(named.values())))
        return {
            name: value
            for name, value in zip(named, largest, strict=True)
            if not value <= (LARGEST_WEIGHT if name in self._weights else _LARGEST_OTHER)
        }

    def _sums(self) -> dict[str, Tensor]:
        """Return the sums of squares that Adagrad keeps: each step adds up to 4e36 to them."""
        if self._adagrad is None:
            return {}
        return {
            f"{name} (sum of squares)": self._adagrad.state[weight]["sum"]
            for name, weight in self._weights.items()
            if "sum" in self._adagrad.state.get(weight, {})
        }
