"""The corrected resampled t test."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from talweg.statistics.intervals import standard_error

# Of differences, which are less than the values that they are of, whose rounding they have.
_ROUNDING = 1e-9


def corrected_t_test(differences: Sequence[float], overlap: float) -> float:
    """Return the two-sided p value of a mean difference of 0 over overlapping splits.

    Training sets that share samples make the differences correlated: their variance is widened by
    the test samples per training sample. Differences that are all equal up to rounding, as those
    of shares on few test samples often are, have no variance to go by: their p value is that of
    sign flips.

    Args:
        differences: Two or more, one per split.
        overlap: Test samples per training sample; 0 makes it the paired t test.

    Reference: Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366
    """
    mean, error = float(np.mean(differences)), standard_error(differences, overlap)
    if np.ptp(differences) <= _ROUNDING * np.abs(differences).max():
        return 1.0 if mean == 0 else 0.5 ** (len(differences) - 1)
    return float(2 * special.stdtr(len(differences) - 1, -abs(mean) / error))
