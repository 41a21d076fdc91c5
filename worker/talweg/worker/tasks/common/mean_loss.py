"""Values over batches that are not kept."""

from collections.abc import Mapping

from torch import Tensor

from talweg.worker.losses import LossModule


class MeanLoss:
    """A loss over many samples of which only one batch is held at a time.

    The mean of the batches' losses, each by its number of samples; their sum where the loss is
    summed.
    """

    def __init__(self, criterion: LossModule) -> None:
        """Begin with no samples."""
        self._criterion = criterion
        self._sum = 0.0
        self._count = 0

    def add(self, inputs: Mapping[str, Tensor], num_samples: int) -> None:
        """Take a batch's inputs of the loss."""
        summed = self._criterion.reduction == "sum"
        self._sum += float(self._criterion(inputs)) * (1 if summed else num_samples)
        self._count += num_samples

    @property
    def value(self) -> float:
        """The loss of what was added."""
        return self._sum if self._criterion.reduction == "sum" else self._sum / self._count
