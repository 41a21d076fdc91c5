"""How many seeds show a difference."""

import math

from scipy import special

POWER = 0.8
"""The probability that a difference is shown."""
COVERED = 0.8
"""The probability with which an interval holds the standard deviation."""
_MOST = 100_000
# The power is 1 by any measure, and the noncentral distribution's series end.
_CERTAIN = 30.0


def sd_interval(sd: float, num: int) -> tuple[float, float]:
    """Return the interval that holds the true standard deviation with probability `COVERED`.

    Of normal values, by the chi-square distribution; each end is missed with half of the rest.

    Args:
        sd: Of a sample.
        num: Its size, 2 at least.
    """
    rest = (1 - COVERED) / 2
    degrees = num - 1
    low, high = 2 * special.gammaincinv(degrees / 2, [1 - rest, rest])
    return sd * math.sqrt(degrees / float(low)), sd * math.sqrt(degrees / float(high))


def pairs_needed(
    sd: float, *, difference: float, alpha: float, least: int, overlap: float = 0.0
) -> int | None:
    """Return how many pairs show a true difference with probability `POWER`.

    By the power of the paired t test, which the permutation test comes close to.

    Args:
        sd: Of the paired differences.
        difference: The true mean difference, > 0.
        alpha: The error of the test, two-sided.
        least: The answer is no less, since fewer cannot be significant.
        overlap: As for `standard_error`.

    Returns:
        The number; None above 100,000, and where no number of overlapping splits suffices.

    Reference: Cohen 1988, Statistical Power Analysis, chapter 2.
    """
    low, high = max(2, least) - 1, max(2, least)
    while _power(sd, difference, alpha, high, overlap) < POWER:
        if high >= _MOST:
            return None
        low, high = high, min(2 * high, _MOST)
    while high - low > 1:
        middle = (low + high) // 2
        if _power(sd, difference, alpha, middle, overlap) < POWER:
            low = middle
        else:
            high = middle
    return high


def _power(sd: float, difference: float, alpha: float, num: int, overlap: float) -> float:
    error = sd * math.sqrt(1 / num + overlap)
    critical = float(special.stdtrit(num - 1, 1 - alpha / 2))
    if error == 0 or difference / error > critical + _CERTAIN:
        return 1.0
    # The other tail, significant in the wrong direction, is no success.
    return 1 - float(special.nctdtr(num - 1, difference / error, critical))
