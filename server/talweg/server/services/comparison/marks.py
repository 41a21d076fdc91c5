"""Marks on values that a reader of a comparison must not take for ordinary ones."""

import statistics
from collections.abc import Sequence

_LEAST_IN_GROUP = 4
_LEAST = 3
_ROBUST_SDS = 10
# From the median absolute deviation to the sd, under a normal distribution.
_SD_PER_MAD = 1.4826
# An outlier is off by more than the median itself: seeds that agree to a digit have no outliers.
_LEAST_SD = 0.1


def outliers(groups: Sequence[Sequence[float]]) -> list[set[float]]:
    """Return the outliers of each group of values.

    A group that is too small to have any of its own is held against all values.
    """
    everything = [value for values in groups for value in values]
    return [
        _outliers(values, values if len(values) >= _LEAST_IN_GROUP else everything)
        for values in groups
    ]


def _outliers(values: Sequence[float], reference: Sequence[float]) -> set[float]:
    if len(reference) < _LEAST:
        return set()
    median = statistics.median(reference)
    deviation = statistics.median(abs(value - median) for value in reference)
    sd = max(_SD_PER_MAD * deviation, _LEAST_SD * abs(median))
    return {value for value in values if abs(value - median) > _ROBUST_SDS * sd > 0}
