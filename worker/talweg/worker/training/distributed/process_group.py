"""Whose a step is: one process's, or several that share each batch."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from talweg.worker.tasks import Batch


class ProcessGroup(Protocol):
    """The processes that train one model."""

    def loss(self, batch: Batch, loss_of: Callable[[Batch], Tensor]) -> Tensor:
        """Run this process's part of a batch, joined to the graph.

        Its backward pass gives every process the gradients of the whole.
        """

    def total(self, loss: Tensor) -> Tensor:
        """Return the loss of a whole step, the same to every process, from its own part."""


class _Alone:
    def loss(self, batch: Batch, loss_of: Callable[[Batch], Tensor]) -> Tensor:
        return loss_of(batch)

    def total(self, loss: Tensor) -> Tensor:
        return loss


ALONE: ProcessGroup = _Alone()
"""A single process."""
