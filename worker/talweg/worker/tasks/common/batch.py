"""Batches, and what the losses of several of them make up together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from talweg.worker.losses.base import Factors


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples that go through the network together."""

    arrays: Mapping[str, Tensor]
    """What `TaskRunner.arrays` gives of these samples, by name (n, …)."""
    share: float | Tensor = 1.0
    """The batch's part in the optimizer step's loss; 1 without accumulation."""
    factors: Factors = ()
    """What each summand of the loss is multiplied by beside, where their parts differ."""

    @property
    def x(self) -> Tensor:
        """Inputs."""
        return self.arrays["x"]

    @property
    def target(self) -> Tensor:
        """Targets as the loss takes them, where the task has one array of them."""
        return self.arrays["target"]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.arrays["x"])


class Summand(NamedTuple):
    """One of the losses that a task adds up."""

    target: str
    """The name of the array of its targets."""
    divisor: Callable[[Tensor], Tensor | None] | None
    """Gives what its mean over targets divides by, None for the number of samples; see
    `LossModule.divisor`. None where it is not asked."""
    sums: bool
    """Whether its reduction is sum."""
