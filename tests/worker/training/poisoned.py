"""Runs with bad steps, made bad where data, losses and gradients really come from."""

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from talweg.v1.jobs_pb2 import Divergence
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import Batch
from talweg.worker.training import NeverStop, RecordingReporter, Stop
from talweg.worker.training.batching.batches import Order
from talweg.worker.training.interface import Control
from talweg.worker.training.loop import NO_CHECKPOINTS, Checkpoints, train
from talweg.worker.training.setup import Setup, set_up

CPU = torch.device("cpu")
BATCH_NORM = {"mlp": {"hidden": [16, 8], "batch_norm": True, "dropout": 0.3}}


class Run:
    """One training, of which chosen steps go bad.

    The steps are counted from 1 as the data come, and each goes bad by one of the ways of
    `WAYS`: in its last batch, where it has several.
    """

    def __init__(
        self, spec: JobSpec, bad: Mapping[int, str] | None = None, device: torch.device = CPU
    ) -> None:
        self.report = RecordingReporter()
        # As every run has it.
        torch.set_num_threads(1)
        self.setup: Setup = set_up(spec, device, self.report)
        self.setup.step.loss_of = self._loss_of
        torch.manual_seed(spec.training.seed + 1)
        self._bad = dict(bad or {})
        self._left_out: Collection[int] = ()
        self._way = ""
        weight = dict(self.setup.state.model.named_parameters()).get("linear2.weight")
        if weight is not None:
            weight.register_hook(self._gradient)  # type: ignore[no-untyped-call]

    def of_epoch(self, order: Order) -> Iterator[list[Batch]]:
        """Return the batches, as the loop asks for them."""
        first = (self.setup.state.epoch - 1) * self.setup.plan.length.steps_an_epoch
        for window in self.setup.batches.of_epoch(order):
            drawn = first + order.position
            if drawn in self._left_out:
                continue
            self._way = self._bad.get(drawn, "")
            yield [*window[:-1], self._changed(window[-1])]

    def to_the_end(
        self,
        *,
        without: Collection[int] = (),
        control: Control | None = None,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
    ) -> Divergence | Stop | None:
        """Train, and leave steps out as if their batches had never been."""
        setup, plan = self.setup, self.setup.plan
        self._left_out = without
        length = dataclasses.replace(plan.length, steps=plan.length.steps - len(without))
        return train(
            setup.step,
            plan=dataclasses.replace(plan, length=length),
            batches=self,  # type: ignore[arg-type]
            evaluator=setup.evaluator,
            report=self.report,
            control=control or NeverStop(),
            checkpoints=checkpoints,
        )

    def learnt(self) -> dict[str, Any]:
        """Return what steps changed: weights, buffers, optimizer, random state, losses."""
        state = self.setup.state
        return {
            "model": dict(state.model.state_dict()),
            "optimizer": state.optimizer.state_dict()["state"],
            "random": torch.get_rng_state(),
            "losses": list(state.losses),
            "norms": list(state.norms),
            "rate": state.optimizer.param_groups[0]["lr"] if state.applied else 0.0,
            "applied": state.applied,
        }

    def _changed(self, batch: Batch) -> Batch:
        arrays = {name: array.clone() for name, array in batch.arrays.items()}
        x, target = arrays["x"], arrays["target"]
        if self._way in ("nan input", "huge input"):
            x[1, ..., 2] = math.nan if self._way == "nan input" else 1e30
        if self._way == "inf target":
            target[0] = math.inf
        return Batch(arrays, batch.share)

    def _loss_of(self, batch: Batch) -> Tensor:
        loss = self.setup.loss_of(batch)
        # Its gradients are finite: the slope of what is added is 0.
        return loss + math.inf if self._way == "inf loss" else loss

    def _gradient(self, gradient: Tensor) -> Tensor:
        if self._way == "inf gradient":
            changed = gradient.clone()
            changed[0, 0] = math.inf
            return changed
        return gradient * 1e25 if self._way == "overflow" else gradient


WAYS = ("nan input", "huge input", "inf target", "inf loss", "inf gradient", "overflow")
"""How a step goes bad."""


def same(one: Any, other: Any) -> bool:
    """Return whether nested states agree bit for bit."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
