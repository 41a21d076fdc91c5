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


def sign_flip_test(differences: Sequence[float], *, exact_to: int = EXACT_TO) -> float:
    """Return the two-sided p value of a mean difference of 0.

    The share of choices of signs whose sum is at least as far from 0 as the sum that was found.
    Above so many differences by random choices of a fixed seed, where what was found counts as
    one of them.

    Args:
        differences: One or more, independent.
        exact_to: Number of differences up to which all choices of signs count.

    Reference: Fisher 1935, The Design of Experiments, §21; Phipson and Smyth 2010,
        https://doi.org/10.2202/1544-6115.1585
    """
    array = np.abs(np.asarray(differences, dtype=float))
    found = abs(float(np.sum(np.asarray(differences, dtype=float))))
    least = found - _ROUNDING * float(array.sum())
    if len(array) <= exact_to:
        return _exact_share(array, least)
    return (_count_random(array, least) + 1) / (NUM_RESAMPLES + 1)


def smallest_p(num: int) -> float:
    """Return the smallest p value that so many differences can have: all of one sign."""
    if num <= EXACT_TO:
        return min(1.0, 2.0 ** (1 - num))
    return 1 / (NUM_RESAMPLES + 1)


def least_differences(p: float) -> int:
    """Return how many differences can have a p value as small as this."""
    return max(1, math.ceil(1 - math.log2(p)))


def _exact_share(array: NDArray[np.float64], least: float) -> float:
    """Return the share of all choices of signs whose sum is as far from 0.

    Every sum is one of the first half of the signs and one of the second: those of each are
    listed, and the pairs that reach it are counted by a binary search.

    Reference: Horowitz and Sahni 1974, https://doi.org/10.1145/321812.321823
    """
    if least <= 0:
        return 1.0
    half = len(array) // 2
    first, second = _all_sums(array[:half]), np.sort(_all_sums(array[half:]))
    reaching = len(second) - np.searchsorted(second, least - first, side="left")
    # As many are as far below 0.
    return float(2 * int(reaching.sum()) / 2 ** len(array))


def _all_sums(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of all choices of signs."""
    sums = np.zeros(1)
    for each in array:
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
