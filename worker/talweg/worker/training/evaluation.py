"""Judges a model on data that it does not learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talweg.worker.data import Part
from talweg.worker.tasks import Predictions, TaskRunner

# Inputs go through the network in batches of about 4 MiB, or as large as in training.
_NUMBERS_IN_A_BATCH = 2**20


@dataclass(frozen=True)
class HeldPart:
    """A part of the data where the network is."""

    x: Tensor
    """Inputs."""
    target: Tensor
    """Targets, as the loss takes them."""
    y: Tensor
    """Targets as the data has them, in CPU memory."""

    @classmethod
    def of(cls, part: Part, task: TaskRunner, device: torch.device) -> HeldPart:
        """Brings a part to a device."""
        return cls(part.x.to(device), task.targets(part.y).to(device), part.y)

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.y)


@dataclass(frozen=True)
class Evaluation:
    """What came of it."""

    values: dict[str, float]
    """The loss and the task's metrics, by name without the part's."""
    predictions: Predictions
    """What the model says."""


def evaluate(model: nn.Module, task: TaskRunner, part: HeldPart, *, batch_size: int) -> Evaluation:
    """Runs a part through model and loss in evaluation mode, and leaves them in training mode.

    The loss is that of all samples together, so that it does not depend on batches; only the
    network runs batch by batch.

    Args:
        model: The network.
        task: Reads and judges its outputs.
        part: The samples, at least one.
        batch_size: Samples in a batch of training.
    """
    numbers = max(math.prod(part.x.shape[1:]), 1)
    model.eval()
    task.criterion.eval()
    with torch.no_grad():
        batches = torch.split(part.x, max(batch_size, _NUMBERS_IN_A_BATCH // numbers))
        outputs = torch.cat([model(x) for x in batches]) if len(batches) > 1 else model(part.x)
        loss = float(task.criterion({"pred": outputs, "target": part.target}))
    model.train()
    task.criterion.train()
    predictions = task.predict(outputs, part.y)
    # The metrics of numbers that are not finite are none, and numpy would warn of each.
    metrics = task.metrics(predictions) if bool(torch.isfinite(outputs).all()) else {}
    return Evaluation({"loss": loss, **metrics}, predictions)
