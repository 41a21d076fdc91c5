"""All that training changes, in one object."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor, nn

from talweg.worker.training.batching.batches import Order
from talweg.worker.training.optim import foreach
from talweg.worker.training.optim.update import Update
from talweg.worker.training.state.snapshot import Values, copy_into

NUM_REMEMBERED = 20
"""Losses and gradient norms that are kept for the case of a divergence."""


def _history() -> deque[float]:
    return deque(maxlen=NUM_REMEMBERED)


@dataclass
class BestValue:
    """The best value that a metric has had so far."""

    best: float = math.nan
    """The value; NaN before the first."""
    step: int = 0
    """The step of the best value."""
    waited: int = 0
    """Evaluations with a value since, or since the last reduction of the learning rate."""
    missing: int = 0
    """Evaluations in a row without a value, the last among them."""

    def see(self, value: float, *, step: int, maximise: bool, min_delta: float = 0.0) -> bool:
        """Take a new value and tell whether it is better by more than min_delta.

        What is not a number is no value: neither better nor worse, it is not waited by.
        """
        if math.isnan(value):
            self.missing += 1
            return False
        self.missing = 0
        gain = value - self.best if maximise else self.best - value
        if gain > min_delta or math.isnan(self.best):
            self.best, self.step, self.waited = value, step, 0
            return True
        self.waited += 1
        return False


@dataclass
class Refusals:
    """What has come of the steps that were refused."""

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
    update: Update
    """Turns the parameters' gradients into new values, by an optimizer with its own moments."""
    order: Order
    """The order of the batches, and how far it has been followed."""
    step: int = 0
    """Optimizer steps begun, those that were refused or gone back on among them."""
    applied: int = 0
    """Optimizer steps that stand in the weights."""
    epoch: int = 0
    """Epochs begun."""
    stopped_early: bool = False
    """Whether early stopping has ended the training."""
    lr_reductions: int = 0
    """How often the learning rate was reduced because a metric stopped improving."""
    plateau: BestValue = field(default_factory=BestValue)
    """What the learning rate is watched by."""
    stopping: BestValue = field(default_factory=BestValue)
    """What early stopping is watched by."""
    leading: BestValue = field(default_factory=BestValue)
    """What tells which evaluation is the best so far."""
    best: list[Tensor] | None = None
    """Parameters and buffers of the best evaluation, under early stopping."""
    kept: BestValue = field(default_factory=BestValue)
    """That evaluation."""
    refusals: Refusals = field(default_factory=Refusals)
    """Where the guard refused steps and training went on."""
    spikes: Refusals = field(default_factory=Refusals)
    """Where finite steps were refused because they were far out of line."""
    losses: deque[float] = field(default_factory=_history)
    """The last losses, oldest first."""
    norms: deque[float] = field(default_factory=_history)
    """The last gradient norms, oldest first."""

    @property
    def rate_factor(self) -> float:
        """What the schedule's learning rates are multiplied by, after all rollbacks."""
        return self.refusals.rate_factor * self.spikes.rate_factor

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, with its settings and its state."""
        return self.update.optimizer

    def keep_best(self) -> None:
        """Keep a copy of the weights and buffers as they are, which `leading` has just seen."""
        self.kept = replace(self.leading)
        self.best = [tensor.detach().clone() for tensor in self._tensors()]

    def take_best(self) -> None:
        """Go back to the weights and buffers that were kept."""
        assert self.best is not None
        with torch.no_grad():
            foreach.copy(self._tensors(), self.best)

    @property
    def epochs_complete(self) -> int:
        """Passes over the training data that are over, their evaluation included."""
        return self.epoch - (self.order.position > 0)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are neither the model's nor the optimizer's; see `Stateful`."""
        best = {} if self.best is None else dict(enumerate(self.best))
        copies = {f"best.{number}": tensor for number, tensor in best.items()}
        return {"order": self.order.state, **copies}

    def values(self) -> Values:
        """Return the counts and histories; see `Stateful`."""
        return {
            "step": self.step,
            "applied": self.applied,
            "epoch": self.epoch,
            "position": self.order.position,
            "falls": self.lr_reductions,
            "plateau": asdict(self.plateau),
            "stopping": asdict(self.stopping),
            "leading": asdict(self.leading),
            "kept": asdict(self.kept),
            "stopped_early": self.stopped_early,
            "refusals": asdict(self.refusals),
            "spikes": asdict(self.spikes),
            "losses": list(self.losses),
            "norms": list(self.norms),
        }

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        self.order.go_to(tensors["order"], values["position"])
        if len(tensors) == 1:
            self.best = None
        else:
            best = [tensor.detach().clone() for tensor in self._tensors()]
            names = [f"best.{number}" for number in range(len(best))]
            copies = {name: tensor for name, tensor in tensors.items() if name != "order"}
            copy_into(dict(zip(names, best, strict=True)), copies)
            self.best = best
        self.step, self.epoch = values["step"], values["epoch"]
        self.lr_reductions = values["falls"]
        self.applied = values["applied"]
        self.stopped_early = values["stopped_early"]
        self.plateau = BestValue(**values["plateau"])
        self.stopping = BestValue(**values["stopping"])
        self.leading = BestValue(**values["leading"])
        self.refusals = Refusals(**values["refusals"])
        # Checkpoints of earlier versions do not hold these; they kept what patience went by.
        self.kept = BestValue(**values.get("kept", values["stopping"]))
        self.spikes = Refusals(**values.get("spikes", {}))
        self.losses, self.norms = _history(), _history()
        self.losses.extend(values["losses"])
        self.norms.extend(values["norms"])

    def _tensors(self) -> list[Tensor]:
        return [*self.model.parameters(), *self.model.buffers()]


@dataclass(frozen=True)
class CurrentStep:
    """The step under way, for a loss that goes by it; refused steps do not count."""

    state: TrainingState
    """The training."""

    @property
    def step(self) -> int:
        """The step's number among those that stand in the weights, from 1."""
        return self.state.applied + 1

    @property
    def epoch(self) -> int:
        """The epoch, from 1."""
        return self.state.epoch
