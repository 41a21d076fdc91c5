"""Values so skewed that intervals of their mean cover less than they say."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEAST = 8
"""The test of skewness needs so many values; of fewer nothing is said."""
_ALPHA = 0.01
# Cochran's rule: with so many values per squared skewness, a 95% interval errs in at most 6%.
_PER_SQUARE = 25
# The studentised bootstrap follows skewness and needs fewer: a choice, whose effect
# tests/studies/answers.py shows.
_PER_SQUARE_OF_BOOTSTRAP = 10


def is_skewed(values: Sequence[float], *, bootstrapped: bool = False) -> bool:
    """Return whether the values are skewed beyond chance, and too few for their skewness.

    Args:
        values: Any number of them.
        bootstrapped: The interval is of the studentised bootstrap, not Student's.

    Reference: D'Agostino 1970, https://doi.org/10.1093/biomet/57.3.679; Cochran 1977, Sampling
        Techniques, section 2.15.
    """
    array = np.asarray(values, dtype=float)
    if len(array) < LEAST or np.ptp(array) <= 1e-12 * np.abs(array).max():
        return False
    skewness = _skewness(array)
    is_chance = _p_of_normal(skewness, len(array)) > _ALPHA
    per_square = _PER_SQUARE_OF_BOOTSTRAP if bootstrapped else _PER_SQUARE
    return not is_chance and len(array) < per_square * skewness**2


def _skewness(array: NDArray[np.float64]) -> float:
    deviations = array - array.mean()
    return float(np.mean(deviations**3) / np.mean(deviations**2) ** 1.5)


def _p_of_normal(skewness: float, n: int) -> float:
    """Return how likely normal values are as skewed, on either side: D'Agostino's test."""
    y = skewness * math.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    numerator = 3 * (n * n + 27 * n - 70) * (n + 1) * (n + 3)
    kurtosis = numerator / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w_squared = math.sqrt(2 * (kurtosis - 1)) - 1
    scaled = y / math.sqrt(2 / (w_squared - 1))
    z = math.asinh(scaled) / math.sqrt(math.log(w_squared) / 2)
    return float(2 * special.ndtr(-abs(z)))
