"""Divides the training data into the batches of each optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from talweg.v1.spec_pb2 import Training
from talweg.worker.training.schedules import Length


class Batch(NamedTuple):
    """Samples that go through the network together."""

    x: Tensor
    """Inputs (n, …)."""
    target: Tensor
    """Targets, as the loss takes them."""
    share: float
    """The batch's part in the optimizer step's loss; 1 without accumulation."""


@dataclass(frozen=True)
class Plan:
    """How a run's steps follow from the sizes."""

    num_samples: int
    """Training samples."""
    batch_size: int
    """Samples in a batch."""
    accumulation: int
    """Batches in an optimizer step."""
    sums: bool
    """The loss is a sum over samples: an optimizer step then averages over its batches, else over
    its samples."""
    length: Length
    """Optimizer steps."""

    @classmethod
    def of(cls, training: Training, num_samples: int, *, sums: bool) -> Plan:
        """Plans a filled `Training`.

        Args:
            training: How long, in what batches.
            num_samples: Training samples.
            sums: Whether the loss's reduction is sum.
        """
        steps_an_epoch = -(-num_samples // (training.batch_size * training.accumulation))
        steps = training.steps if training.HasField("steps") else training.epochs * steps_an_epoch
        return cls(
            num_samples=num_samples,
            batch_size=training.batch_size,
            accumulation=training.accumulation,
            sums=sums,
            length=Length(steps=steps, steps_an_epoch=steps_an_epoch),
        )

    @property
    def epochs(self) -> int:
        """Passes over the training data; the last may be cut short."""
        return -(-self.length.steps // self.length.steps_an_epoch)


class Batches:
    """The training data, in another order each epoch."""

    def __init__(self, x: Tensor, targets: Tensor, plan: Plan) -> None:
        """Takes inputs and targets, on the device where they are needed."""
        self._x = x
        self._targets = targets
        self._plan = plan
        self._order = torch.empty(0, dtype=torch.long)
        # Batches of the epoch before the step that was given last.
        self._before = 0

    def of_epoch(self, generator: torch.Generator) -> Iterator[list[Batch]]:
        """Draws an epoch's order and gives the batches of each optimizer step.

        One copy in the new order and slices of it cost less than gathering batch by batch.
        """
        plan = self._plan
        self._order = torch.randperm(plan.num_samples, generator=generator)
        order = self._order.to(self._x.device)
        xs = torch.split(self._x.index_select(0, order), plan.batch_size)
        targets = torch.split(self._targets.index_select(0, order), plan.batch_size)
        if plan.accumulation == 1:
            for self._before, (x, target) in enumerate(zip(xs, targets, strict=True)):
                yield [Batch(x, target, 1.0)]
            return
        for start in range(0, len(xs), plan.accumulation):
            self._before = start
            window = slice(start, start + plan.accumulation)
            counts = [len(x) for x in xs[window]]
            yield [
                Batch(x, target, 1 / len(counts) if plan.sums else count / sum(counts))
                for x, target, count in zip(xs[window], targets[window], counts, strict=True)
            ]

    def samples(self) -> list[int]:
        """Gives the samples of the step that was given last: indices into the training part."""
        size = self._plan.batch_size
        first = self._before * size
        samples: list[int] = self._order[first : first + size * self._plan.accumulation].tolist()
        return samples
