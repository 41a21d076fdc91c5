"""Ranks from numbers."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from talweg.worker.errors import UserSpecError


@dataclass(frozen=True)
class Ranks:
    """Numbers cut into ranks."""

    bounds: NDArray[np.float64]
    """The largest number of each rank but the last (K-1,), rising."""

    @classmethod
    def of(cls, numbers: NDArray[np.float64], count: int) -> "Ranks":
        """Cut at the quantiles, so that each rank holds about as many of the numbers.

        Args:
            numbers: The training targets (N,).
            count: Ranks K, at least 2.

        Raises:
            UserSpecError: A rank would be empty.
        """
        bounds = np.quantile(numbers, np.arange(1, count) / count)
        ranks = cls(bounds)
        if len(np.unique(ranks.of_numbers(numbers))) < count:
            raise UserSpecError(
                f"task.ordinal.ranks must leave no rank empty, but {count} ranks of "
                f"{len(numbers)} training targets, {len(np.unique(numbers))} of them different, "
                "do: use fewer ranks"
            )
        return ranks

    def of_numbers(self, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the rank of each number, from 0."""
        return np.searchsorted(self.bounds, numbers, side="left").astype(np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the ranks, such as "up to 80", "80 to 120" and "above 120"."""
        texts = [f"{bound:.4g}" for bound in self.bounds]
        between = (f"{low} to {high}" for low, high in pairwise(texts))
        return (f"up to {texts[0]}", *between, f"above {texts[-1]}")
