"""Equivalence within a margin."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from talweg.statistics.intervals import standard_error


def equivalence_test(differences: Sequence[float], margin: float, overlap: float = 0.0) -> float:
    """Return the p value of two one-sided t tests: small if the mean is within ±margin.

    Differences that are all equal have no variance to go by: their p value is that of sign flips.

    Args:
        differences: Two or more.
        margin: The largest difference that does not matter, > 0.
        overlap: As for `standard_error`.

    Reference: Schuirmann 1987, https://doi.org/10.1007/BF01068419
    """
    mean, error = float(np.mean(differences)), standard_error(differences, overlap)
    if error == 0:
        return 0.5 ** len(differences) if abs(mean) < margin else 1.0
    # The nearer bound decides: its test has the larger p value.
    return float(special.stdtr(len(differences) - 1, (abs(mean) - margin) / error))
