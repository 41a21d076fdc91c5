"""The paired permutation test: under no difference each sign is as likely as the other."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EXACT_TO = 20
"""Number of differences up to which all 2^n choices of signs are tried."""
NUM_RESAMPLES = 99_999
"""Above that, so many random choices."""
_SEED = 0
# Sums that differ by rounding alone count as equal.
_ROUNDING = 1e-10
# The signs of eight differences are a byte.
_SIGNS = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)


def sign_flip_test(differences: Sequence[float]) -> float:
    """Return the two-sided p value of a mean difference of 0.

    The share of choices of signs whose sum is at least as far from 0 as the sum that was found.
    Exact up to `EXACT_TO` differences; above, by random choices of a fixed seed, where what was
    found counts as one of them.

    Args:
        differences: One or more, independent.

    Reference: Fisher 1935, The Design of Experiments, §21; Phipson and Smyth 2010,
        https://doi.org/10.2202/1544-6115.1585
    """
    array = np.abs(np.asarray(differences, dtype=float))
    found = abs(float(np.sum(np.asarray(differences, dtype=float))))
    least = found - _ROUNDING * float(array.sum())
    if len(array) <= EXACT_TO:
        return float(np.mean(np.abs(_all_sums(array)) >= least))
    return (_count_random(array, least) + 1) / (NUM_RESAMPLES + 1)


def smallest_p(num: int) -> float:
    """Return the smallest p value that so many differences can have: all of one sign."""
    if num <= EXACT_TO:
        return min(1.0, 2.0 ** (1 - num))
    return 1 / (NUM_RESAMPLES + 1)


def least_differences(p: float) -> int:
    """Return how many differences can have a p value as small as this."""
    return max(1, math.ceil(1 - math.log2(p)))


def _all_sums(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of all choices of signs with the first one fixed: the others mirror them."""
    sums = array[:1]
    for each in array[1:]:
        sums = np.concatenate([sums + each, sums - each])
    return sums


def _count_random(array: NDArray[np.float64], least: float) -> int:
    """Count the random choices of signs whose sum is as far from 0; eight signs are one draw."""
    generator = np.random.default_rng(_SEED)
    eights = np.pad(array, (0, -len(array) % 8)).reshape(-1, 8)
    sums = np.zeros(NUM_RESAMPLES)
    for eight in eights:
        sums += (_SIGNS @ eight)[generator.integers(256, size=NUM_RESAMPLES, dtype=np.uint8)]
    return int(np.count_nonzero(np.abs(sums) >= least))
