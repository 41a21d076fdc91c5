"""All that training changes, in one object: what a checkpoint would hold."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from talweg.worker.training import foreach

NUM_REMEMBERED = 20
"""Losses and gradient norms that are kept for the case of a divergence."""


def _history() -> deque[float]:
    return deque(maxlen=NUM_REMEMBERED)


@dataclass
class Watched:
    """The best value that a watched metric has had."""

    best: float = math.nan
    """The value; NaN before the first."""
    step: int = 0
    """The step of the best value."""
    waited: int = 0
    """Evaluations since, or since the last fall of the learning rate."""

    def see(self, value: float, *, step: int, maximise: bool, min_delta: float = 0.0) -> bool:
        """Takes a new value and tells whether it is better by more than min_delta.

        A value that is not a number is never better.
        """
        gain = value - self.best if maximise else self.best - value
        if gain > min_delta or (math.isnan(self.best) and not math.isnan(value)):
            self.best, self.step, self.waited = value, step, 0
            return True
        self.waited += 1
        return False


@dataclass
class Refusals:
    """What has come of the steps that the guard refused."""

    skipped: int = 0
    """Steps that were left out."""
    in_a_row: int = 0
    """How many of them came one behind the other, up to `last_step`."""
    last_step: int = 0
    """The last step that was refused."""
    rollbacks: int = 0
    """How often training went back to an earlier state."""
    rate_factor: float = 1.0
    """What the schedule's learning rates are multiplied by."""


@dataclass
class TrainingState:
    """One model in training."""

    model: nn.Module
    """The network."""
    optimizer: torch.optim.Optimizer
    """Over the parameters, with its own moments."""
    order: torch.Generator
    """Draws the order of the batches."""
    step: int = 0
    """Optimizer steps begun, those that were refused or gone back on among them."""
    applied: int = 0
    """Optimizer steps that stand in the weights."""
    epoch: int = 0
    """Epochs begun."""
    falls: int = 0
    """How often the learning rate has fallen because a metric stopped improving."""
    plateau: Watched = field(default_factory=Watched)
    """What the learning rate is watched by."""
    stopping: Watched = field(default_factory=Watched)
    """What early stopping is watched by."""
    best: list[Tensor] | None = None
    """Parameters and buffers of the best evaluation, under early stopping."""
    refusals: Refusals = field(default_factory=Refusals)
    """Where the guard refused steps and training went on."""
    losses: deque[float] = field(default_factory=_history)
    """The last losses, oldest first."""
    norms: deque[float] = field(default_factory=_history)
    """The last gradient norms, oldest first."""

    def keep_best(self) -> None:
        """Keeps a copy of the weights and buffers as they are."""
        self.best = [tensor.detach().clone() for tensor in self._tensors()]

    def take_best(self) -> None:
        """Goes back to the weights and buffers that were kept."""
        assert self.best is not None
        with torch.no_grad():
            foreach.copy(self._tensors(), self.best)

    def _tensors(self) -> list[Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]
