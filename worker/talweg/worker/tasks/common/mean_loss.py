"""A loss over batches that are not kept."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.worker.losses import LossModule, Part

# Some losses have no value of one sample alone, so none is left to itself.
_FEWEST = 2


class MeanLoss:
    """A loss over many samples of which only one batch is held at a time.

    It is the loss of all samples at once, up to rounding, however they are cut into batches. A
    loss that pools its batch cannot be put together so: it is taken of equally many samples at a
    time, whatever the batches are, and averaged.
    """

    def __init__(self, criterion: LossModule, at_once: int) -> None:
        """Begin with no samples.

        Args:
            criterion: The loss.
            at_once: Samples that a loss which pools its batch takes at a time.
        """
        self._criterion = criterion
        self._at_once = at_once
        self._waiting: dict[str, list[Tensor]] = {}
        self._num_waiting = 0
        self._summands: list[_Summand] = []

    def add(self, inputs: Mapping[str, Tensor], num_samples: int) -> None:
        """Take a batch's inputs of the loss."""
        if not self._criterion.pools_batch:
            self._take(inputs)
            return
        for name, tensor in inputs.items():
            self._waiting.setdefault(name, []).append(tensor)
        self._num_waiting += num_samples
        while self._num_waiting >= self._at_once + _FEWEST:
            self._take_waiting(self._at_once)

    @property
    def value(self) -> float:
        """The loss of what was added."""
        if self._num_waiting:
            self._take_waiting(self._num_waiting)
        return sum(summand.value for summand in self._summands)

    def _take_waiting(self, count: int) -> None:
        joined = {name: torch.cat(tensors) for name, tensors in self._waiting.items()}
        self._take({name: tensor[:count] for name, tensor in joined.items()})
        self._num_waiting -= count
        rest = {name: [tensor[count:]] for name, tensor in joined.items()}
        self._waiting = rest if self._num_waiting else {}

    def _take(self, inputs: Mapping[str, Tensor]) -> None:
        parts = self._criterion.parts(inputs)
        if not self._summands:
            self._summands = [_Summand(part.factor, part.least) for part in parts]
        for summand, part in zip(self._summands, parts, strict=True):
            summand.add(part)


@dataclass
class _Summand:
    """One summand of a loss: a mean over all samples, or their sum."""

    factor: float
    least: float
    total: float = 0.0
    weight: float | None = None

    def add(self, part: Part) -> None:
        value = float(part.value)
        if part.weight is None:
            self.total += value
            return
        weight = float(part.weight)
        self.total += value * self._divisor(weight)
        self.weight = (self.weight or 0.0) + weight

    @property
    def value(self) -> float:
        divisor = 1.0 if self.weight is None else self._divisor(self.weight)
        # A part of weight 0 counts for nothing, also where it overflows.
        return self.factor * self.total / divisor if self.factor else 0.0

    def _divisor(self, weight: float) -> float:
        return max(weight, self.least) or 1.0
