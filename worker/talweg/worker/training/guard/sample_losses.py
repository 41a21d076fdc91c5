"""Which samples of a step are behind its loss: by the loss that each has by itself."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from talweg.worker.losses import LossModule
from talweg.worker.tasks import Batch
from talweg.worker.training.guard.guard import Guard
from talweg.worker.training.state.snapshot import (
    RandomState,
    Snapshots,
    Stateful,
    Values,
    copy_into,
)

# Each takes a pass through the network; under a loss that compares samples, of all the others.
_MOST, _MOST_COMPARED = 1024, 256
# A sample is behind a spike if that much of what the losses exceed their median by is its own.
_LEAST_SHARE = 0.1
# And it is so many times the median off: where weights run away, all samples are far off.
_LEAST_FACTOR = 5


class SampleLosses:
    """Gives the losses of single samples, and leaves the training as it was."""

    def __init__(
        self,
        model: nn.Module,
        criterion: LossModule,
        guard: Guard,
        *,
        device: torch.device,
        followed: Stateful,
    ) -> None:
        """Take a training.

        Args:
            model: The network.
            criterion: The task's loss.
            guard: Remembers the buffers before the step, which the step's batches may have spoilt.
            device: Where it trains.
            followed: What follows the outputs of layers.
        """
        self._model, self._criterion, self._guard = model, criterion, guard
        # All that a forward pass may change: neither weights nor the optimizer, which are large.
        self._changed = Snapshots(
            {
                "buffers": _Buffers(model, criterion),
                "random": RandomState(device),
                "followed": followed,
            }
        )

    def of(
        self, window: Sequence[Batch], loss_of: Callable[[Batch], Tensor]
    ) -> list[float] | None:
        """Return the loss of each sample of a step, by the weights as they are.

        It is computed in evaluation mode, where nothing depends on the other samples of the batch.
        Under a loss that compares or pools them it is what the batch's loss is lower by without
        the sample.

        Args:
            window: The step's batches.
            loss_of: Gives a batch's loss.

        Returns:
            By sample, in order; None where there are too many, or the loss refuses single samples.
        """
        compares = self._criterion.pools_batch
        if sum(map(len, window)) > (_MOST_COMPARED if compares else _MOST):
            return None
        before = self._changed.capture()
        self._guard.restore_buffers()

        def loss(batch: Batch) -> float:
            # All draw the same random numbers.
            self._changed.restore(before, only=("random",))
            return float(loss_of(batch).detach())

        self._model.eval()
        self._criterion.eval()
        try:
            losses = [value for batch in window for value in _of_batch(batch, loss, compares)]
        except ValueError:
            return None
        finally:
            self._model.train()
            self._criterion.train()
            self._changed.restore(before)
        return losses


class _Buffers:
    """The buffers of modules; see `Stateful`."""

    def __init__(self, *modules: nn.Module) -> None:
        self._modules = modules

    def tensors(self) -> Mapping[str, Tensor]:
        return {
            f"{place}.{name}": buffer
            for place, module in enumerate(self._modules)
            for name, buffer in module.named_buffers()
        }

    def values(self) -> Values:
        return {}

    def restore(self, tensors: Mapping[str, Tensor], values: Values) -> None:
        copy_into(self.tensors(), tensors)


def median_of(losses: Sequence[float]) -> float:
    """Return the median of the finite losses; 0 where there are none."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    return statistics.median(finite) if finite else 0.0


def behind(losses: Sequence[float], *, either_side: bool = False) -> list[int]:
    """Return the places of the losses that make up the excess over the median, worst first.

    Args:
        losses: Of each sample.
        either_side: Losses far below the median count too: they may have large gradients.
    """
    median = median_of(losses)
    excess = {
        place: abs(loss - median) if either_side else max(loss - median, 0.0)
        for place, loss in enumerate(losses)
        if math.isfinite(loss)
    }
    least = max(_LEAST_SHARE * sum(excess.values()), _LEAST_FACTOR * abs(median))
    places = [place for place, own in excess.items() if own >= least and own > 0]
    return sorted(places, key=lambda place: -excess[place])


def _of_batch(batch: Batch, loss: Callable[[Batch], float], compares: bool) -> list[float]:
    rows = torch.arange(len(batch))

    def only(chosen: Tensor) -> Batch:
        return Batch(
            {name: array[chosen.to(array.device)] for name, array in batch.arrays.items()}
        )

    if not compares:
        return [loss(only(rows == row)) for row in range(len(batch))]
    if len(batch) < 2:
        return [0.0]
    whole = loss(only(rows >= 0))
    return [whole - loss(only(rows != row)) for row in range(len(batch))]
