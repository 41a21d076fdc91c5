"""Values so skewed that intervals of their mean cover less than they say."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

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
    skewness = float(stats.skew(array))
    is_chance = float(stats.skewtest(array).pvalue) > _ALPHA
    per_square = _PER_SQUARE_OF_BOOTSTRAP if bootstrapped else _PER_SQUARE
    return not is_chance and len(array) < per_square * skewness**2
