"""Which samples training admits: the easiest first, more from epoch to epoch, in the end all."""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from talweg.v1.curriculum_pb2 import EasyFirst
from talweg.worker.tasks import Batch, TaskRunner
from talweg.worker.training.batching.batches import Batches
from talweg.worker.training.evaluation import HeldSplit
from talweg.worker.training.interface import Reporter
from talweg.worker.training.state.snapshot import Values

# A batch of one sample has no spread, which some networks and losses need.
_FEWEST = 2
# Shares are sums of decimal fractions, which binary ones miss by a little.
_TOLERANCE = 1e-9


class Curriculum(Protocol):
    """What decides which samples an epoch draws."""

    def epoch_begins(self, epoch: int) -> None:
        """Settle it, at an epoch's begin or where a run goes on within one; epochs from 1."""

    def epoch_ended(self, step: int) -> None:
        """Tell what an epoch drew that ended with a step."""


class _Everything:
    def epoch_begins(self, epoch: int) -> None:
        pass

    def epoch_ended(self, step: int) -> None:
        pass


EVERYTHING: Curriculum = _Everything()
"""All samples, always."""


class EasyBeforeHard:
    """Admits samples by their difficulty, which is found once and kept."""

    def __init__(
        self,
        settings: EasyFirst,
        *,
        batches: Batches,
        num_samples: int,
        num_epochs: int,
        measure: Callable[[], Tensor],
        difficulty: Tensor | None,
        report: Reporter,
    ) -> None:
        """Admit all samples yet.

        Args:
            settings: Filled.
            batches: Told which samples to draw.
            num_samples: Training samples.
            num_epochs: Of the whole run.
            measure: Gives each training sample's loss (N,), as the network is now.
            difficulty: How hard each training sample is (N,), where the data tell.
            report: Takes the share that is admitted, and the threshold.
        """
        self._batches = batches
        self._measure = measure
        self._report = report
        self._known = difficulty is not None
        if difficulty is None:
            difficulty = torch.zeros(num_samples, dtype=torch.float64)
        self._difficulty = _ordered(difficulty)
        self._first_pass = 0 if self._known else settings.difficulty.first_pass.epochs
        self._start = settings.start_share
        self._full = full_from(settings.rising_share, num_epochs - self._first_pass)
        self._share, self._threshold = 1.0, math.inf

    def epoch_begins(self, epoch: int) -> None:
        """Admit what an epoch is to draw; see `Curriculum`."""
        passed = epoch - self._first_pass
        if passed < 1:
            # Nobody knows yet, or nobody knew then.
            self._share, self._threshold = 1.0, math.inf
            self._batches.admit(None)
            return
        if not self._known:
            self._difficulty = _ordered(self._measure())
            self._known = True
        self._admit(share_of(passed, start=self._start, full=self._full))

    def epoch_ended(self, step: int) -> None:
        """Tell the share that was admitted, and the hardest of it where that is a number."""
        values = {"curriculum/share": self._share}
        if math.isfinite(self._threshold):
            values["curriculum/threshold"] = self._threshold
        self._report.metrics(step, values)

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the difficulties; see `Stateful`."""
        return {"difficulty": self._difficulty}

    def values(self) -> Values:
        """Return whether they are known; see `Stateful`."""
        return {"known": self._known}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        """Take them back; see `Stateful`."""
        shape, wanted = tuple(tensors["difficulty"].shape), tuple(self._difficulty.shape)
        if shape != wanted:
            raise ValueError("difficulty must be of shape")
        self._difficulty, self._known = tensors["difficulty"].clone(), values["known"]

    def _admit(self, share: float) -> None:
        self._threshold = threshold_of(self._difficulty, share)
        admitted = torch.nonzero(self._difficulty <= self._threshold).flatten()
        self._share = len(admitted) / len(self._difficulty)
        self._batches.admit(admitted if self._share < 1 else None)


def full_from(rising_share: float, num_epochs: int) -> int:
    """Return the epoch, from 1, from which on all samples are admitted; 2 at the least."""
    return max(2, math.ceil(rising_share * num_epochs - _TOLERANCE))


def share_of(epoch: int, *, start: float, full: int) -> float:
    """Return the share of the samples that is admitted in an epoch.

    Args:
        epoch: From 1, in which it is the start share.
        start: The start share.
        full: The epoch from which on it is 1.
    """
    return 1.0 if epoch >= full else start + (1 - start) * (epoch - 1) / (full - 1)


def threshold_of(difficulty: Tensor, share: float) -> float:
    """Return the difficulty up to which at least a share of the samples is admitted, two at least.

    Args:
        difficulty: Of each sample (N,), without NaN.
        share: Above 0.
    """
    count = max(math.ceil(share * len(difficulty) - _TOLERANCE), min(_FEWEST, len(difficulty)))
    return float(difficulty.kthvalue(count).values)


def losses_by_sample(
    model: nn.Module, task: TaskRunner, part: HeldSplit, *, batch_size: int
) -> Tensor:
    """Return the loss of each sample by itself, in evaluation mode; leaves them in training mode.

    Args:
        model: The network.
        task: Reads its outputs.
        part: The samples.
        batch_size: Samples that go through the network at once.

    Returns:
        The losses (N,), float64, on the CPU.
    """
    model.eval()
    task.criterion.eval()
    losses: list[Tensor] = []
    with torch.no_grad():
        for start in range(0, len(part), batch_size):
            batch = part.batch(start, start + batch_size)
            outputs = model(batch.x)
            for index in range(len(batch)):
                own = slice(index, index + 1)
                alone = Batch({name: array[own] for name, array in batch.arrays.items()})
                losses.append(task.criterion(task.loss_inputs(outputs[own], alone)))
    model.train()
    task.criterion.train()
    return torch.stack(losses).double().cpu()


def _ordered(difficulty: Tensor) -> Tensor:
    """Return what is no number stands behind all numbers."""
    difficulty = difficulty.double()
    return difficulty.where(~difficulty.isnan(), math.inf)
