"""Confidence intervals of a mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

BOOTSTRAP_FROM = 30
"""Number of values from which the studentised bootstrap is used."""
_NUM_RESAMPLES = 9_999
_SEED = 0
# Values that differ by rounding alone count as equal.
_ROUNDING = 1e-12
# Numbers that one block of resamples holds.
_BLOCK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    """Its lower end."""
    high: float
    """Its upper end."""


def sample_sd(values: Sequence[float]) -> float:
    """Return the sample standard deviation; exactly 0 where all are equal up to rounding."""
    array = np.asarray(values, dtype=float)
    is_equal = np.ptp(array) <= _ROUNDING * np.abs(array).max()
    return 0.0 if is_equal else float(array.std(ddof=1))


def standard_error(values: Sequence[float], overlap: float = 0.0) -> float:
    """Return the standard error of the mean, s·√(1/n + overlap).

    Args:
        values: Two or more.
        overlap: 0 for independent values; for values of overlapping splits the test samples per
            training sample, by which their variance is corrected.

    Reference: Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366
    """
    return float(sample_sd(values) * np.sqrt(1 / len(values) + overlap))


def t_interval(values: Sequence[float], level: float, overlap: float = 0.0) -> Interval:
    """Return Student's interval of the mean.

    Args:
        values: Two or more.
        level: Its nominal coverage, such as 0.95.
        overlap: As for `standard_error`.

    Reference: Student 1908, https://doi.org/10.1093/biomet/6.1.1
    """
    mean = float(np.mean(values))
    quantile = float(special.stdtrit(len(values) - 1, (1 + level) / 2))
    half = quantile * standard_error(values, overlap)
    return Interval(mean - half, mean + half)


def bootstrap_t_interval(values: Sequence[float], level: float) -> Interval:
    """Return the studentised bootstrap interval of the mean, which follows skewed values.

    The t statistic of resamples takes the place of Student's distribution.

    Args:
        values: Two or more, better 30.
        level: Its nominal coverage, such as 0.95.

    Reference: Hall 1988, https://doi.org/10.1214/aos/1176350933
    """
    array = np.asarray(values, dtype=float)
    error = standard_error(values)
    if error == 0:
        return Interval(float(array[0]), float(array[0]))
    statistics = np.sort(_resampled_t(array))
    mean, tail = float(array.mean()), (1 - level) / 2
    # The nearest statistics outside, since some may be infinite: a resample of equal values.
    low, high = np.quantile(statistics, tail, method="lower"), np.quantile(
        statistics, 1 - tail, method="higher"
    )  # fmt: skip
    if not np.isfinite([low, high]).all():
        return t_interval(values, level)
    return Interval(float(mean - high * error), float(mean - low * error))


def _resampled_t(array: NDArray[np.float64]) -> NDArray[np.float64]:
    generator = np.random.default_rng(_SEED)
    blocks = []
    left = _NUM_RESAMPLES
    while left:
        size = min(left, max(1, _BLOCK // len(array)))
        resamples = array[generator.integers(len(array), size=(size, len(array)))]
        off = resamples.mean(axis=1) - array.mean()
        errors = resamples.std(axis=1, ddof=1) / np.sqrt(len(array))
        equal = np.ptp(resamples, axis=1) == 0
        blocks.append(np.where(equal, np.copysign(np.inf, off), off / np.where(equal, 1, errors)))
        left -= size
    return np.concatenate(blocks)
