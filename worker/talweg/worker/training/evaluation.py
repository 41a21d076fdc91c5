"""Evaluation of a model on data that it does not learn from."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.data.large import is_large
from talweg.worker.tasks import Batch, EvalResult, TaskRunner


@dataclass(frozen=True)
class HeldSplit:
    """A part of the data where the network is."""

    arrays: Mapping[str, Tensor]
    """What batches carry, by name: all where batches are, or all in CPU memory, where one of them
    is too large for it and stays in its file."""
    device: torch.device
    """Where batches are."""

    @classmethod
    def of(cls, part: DataSplit, task: TaskRunner, device: torch.device) -> "HeldSplit":
        """Bring a part to a device."""
        arrays = task.arrays(part)
        # All or none, as losses pick some by others before the first step.
        if not any(is_large(array.nbytes) for array in arrays.values()):
            arrays = {name: array.to(device) for name, array in arrays.items()}
        return cls(arrays, device)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values())))

    def batch(self, start: int, end: int) -> Batch:
        """Return the samples from an index to before another."""
        return Batch(
            {name: array[start:end].to(self.device) for name, array in self.arrays.items()}
        )

    def chosen(self, samples: Tensor) -> Batch:
        """Return the samples of some indices (n,), on the CPU, in their order."""
        return Batch(
            {
                name: array.index_select(0, samples.to(array.device)).to(self.device)
                for name, array in self.arrays.items()
            }
        )


@dataclass(frozen=True)
class Splits:
    """The data of a run."""

    bundle: DataBundle
    """All of it, in CPU memory."""
    train: HeldSplit
    """What the model learns from."""
    validation: HeldSplit
    """What evaluations between epochs go by; may be empty."""
    test: HeldSplit
    """What the final figures come from; may be empty."""

    @classmethod
    def of(cls, bundle: DataBundle, task: TaskRunner, device: torch.device) -> "Splits":
        """Bring all data to a device."""
        parts = (bundle.train, bundle.validation, bundle.test)
        return cls(bundle, *(HeldSplit.of(part, task, device) for part in parts))


def evaluate(
    model: nn.Module, task: TaskRunner, part: HeldSplit, *, batch_size: int
) -> EvalResult:
    """Run a part through model and loss in evaluation mode, and leave them in training mode.

    Args:
        model: The network.
        task: Reads and judges its outputs.
        part: The samples, at least one.
        batch_size: Samples in a batch of training.
    """
    model.eval()
    task.criterion.eval()
    accumulator = task.accumulator(model)
    at_once = task.samples_at_once(batch_size, part.arrays["x"])
    order = task.evaluation_order(len(part))
    with torch.no_grad():
        for start in range(0, len(part), at_once):
            end = start + at_once
            batch = part.batch(start, end) if order is None else part.chosen(order[start:end])
            accumulator.add(batch)
        result = accumulator.result()
    model.train()
    task.criterion.train()
    return result
