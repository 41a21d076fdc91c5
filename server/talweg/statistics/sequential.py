"""Whether a comparison needs more pairs: a group-sequential design over the paired differences.

Looks are taken at numbers of pairs that are fixed before. At each look three questions are asked:

- Is there a difference? The p value of the sign-flip test, or of the corrected resampled t test
  where splits overlap, against a level of an error-spending function (Lan and DeMets 1983,
  https://doi.org/10.1093/biomet/70.3.659; that of Hwang, Shih and De Cani 1990). The p value is
  exact at each look; that looks together err with no more than was spent rests on their joint
  normal distribution, in which overlapping splits are as much as their corrected variance says.
- Is it within the margin? Two one-sided tests, with an error of their own that is spent alike.
- Can it still be found? Conditional power (Lan, Simon and Halperin 1982,
  https://doi.org/10.1080/07474948208836014). Ending for futility never makes an error, so the
  levels do not count on it: it may be ignored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from talweg.statistics.sign_flip import least_differences, smallest_p
from talweg.statistics.spending import bounds, hwang_shih_decani

GAMMA = -1.5
"""Of the spending function: between that of Pocock, which spends early, and that of O'Brien and
Fleming, whose first levels no permutation of few pairs can reach."""
SPENT = 0.95
"""Of the error. P values of heavy tails at different looks are less alike than the joint normal
distribution says, so looks err a little more often together: in tests/studies/sequential.py by 8%
of the error where all of it was spent."""
GROWTH = 1.125
"""How many times as many pairs the next look has, rounded up."""
FUTILE_BY_ESTIMATE = 0.02
"""Conditional power below which a comparison ends, if what was seen is the truth: low, since few
pairs say little of the truth."""
FUTILE_BY_MARGIN = 0.1
"""Conditional power below which it ends, if a difference of the margin is the truth, or none."""


@dataclass(frozen=True)
class Design:
    """What is fixed before the first look."""

    most: int
    """Pairs at the last look."""
    error: float
    """Of a wrong difference over all looks, two-sided; and of a wrong equivalence."""
    overlap: float = 0.0
    """As for `standard_error`."""

    def time(self, pairs: int) -> float:
        """Return how much of all that may be known so many pairs tell, 1 at the last look."""
        return min(1.0, (1 / self.most + self.overlap) / (1 / pairs + self.overlap))

    def smallest_p(self, pairs: int) -> float:
        """Return the smallest p value that so many pairs can have."""
        return 0.0 if self.overlap else smallest_p(pairs)


@dataclass(frozen=True)
class Levels:
    """What p values are held against at a look; None where no p value could be small enough."""

    difference: float | None
    """Two-sided p values up to it show a difference."""
    equivalence: float
    """P values of two one-sided tests up to it show an equivalence."""
    last_difference: float
    """The level of a last look at the most pairs, if the looks go on to it."""
    last_equivalence: float
    """The same for equivalence."""


def schedule(most: int, error: float) -> list[int]:
    """Return the numbers of pairs at which looks are taken.

    From the first one at which a difference can be significant, by `GROWTH` to the most.

    Args:
        most: Pairs at the last look.
        error: Over all looks.
    """
    design = Design(most, error)
    least = min(most, max(2, least_differences(error)))
    first = next((num for num in range(least, most) if _can_stop(design, num)), most)
    numbers = [first]
    while numbers[-1] < most:
        following = int(np.ceil(numbers[-1] * GROWTH))
        numbers.append(min(most, max(following, numbers[-1] + 1)))
    return numbers


def _can_stop(design: Design, pairs: int) -> bool:
    level = levels(design, [pairs]).difference
    return level is not None


def levels(design: Design, pairs: Sequence[int], *, is_last: bool = False) -> Levels:
    """Return the levels of a look.

    A look at which no p value could be small enough spends nothing of the error.

    Args:
        design: What is fixed.
        pairs: Numbers of pairs of all looks up to this one, growing.
        is_last: Nothing follows it, so that all that is left of the error is spent.
    """
    used: list[int] = []
    level: float | None = None
    for index, num in enumerate(pairs):
        ends = num >= design.most or (is_last and index == len(pairs) - 1)
        level = _level(design, [*used, num], sides=2, is_last=ends)
        if design.smallest_p(num) <= level:
            used.append(num)
        else:
            level = None
    ends = is_last or pairs[-1] >= design.most
    equivalence = _level(design, pairs, sides=1, is_last=ends)
    if ends:
        return Levels(level, equivalence, level or 0.0, equivalence)
    return Levels(
        level,
        equivalence,
        _level(design, [*used, design.most], sides=2, is_last=True),
        _level(design, [*pairs, design.most], sides=1, is_last=True),
    )


def _level(design: Design, pairs: Sequence[int], *, sides: int, is_last: bool) -> float:
    times = tuple(map(design.time, pairs))
    error = SPENT * design.error
    spent = [hwang_shih_decani(time, error, GAMMA) for time in times]
    if is_last:
        spent[-1] = error
    bound = bounds(times, tuple(spent), sides=sides)[-1]
    return float(sides * special.ndtr(-bound))


def power_by_estimate(p: ArrayLike, last_level: float, time: float) -> NDArray[np.float64]:
    """Return the probability that the last look shows a difference, if what was seen is true.

    Args:
        p: Two-sided p values.
        last_level: The level of the last look.
        time: Of this look, < 1.
    """
    statistic = -special.ndtri(np.asarray(p) / 2)
    drift = statistic / np.sqrt(time)
    return _conditional_power(statistic, drift, -special.ndtri(last_level / 2), time)


def power_by_drift(
    p: ArrayLike, drift: ArrayLike, last_level: float, time: float
) -> NDArray[np.float64]:
    """Return the probability that the last look shows a difference of a certain size.

    Args:
        p: Two-sided p values.
        drift: The difference in standard errors of the last look, in the direction that was seen.
        last_level: The level of the last look.
        time: Of this look, < 1.
    """
    statistic = -special.ndtri(np.asarray(p) / 2)
    return _conditional_power(statistic, np.asarray(drift), -special.ndtri(last_level / 2), time)


def power_of_equivalence(
    mean: ArrayLike, margin: ArrayLike, last_level: float, time: float
) -> NDArray[np.float64]:
    """Return the probability that the last look shows an equivalence, if there is no difference.

    Args:
        mean: The mean difference in standard errors of the last look.
        margin: In the same unit.
        last_level: The level of the last look.
        time: Of this look, < 1.
    """
    mean, margin = np.asarray(mean), np.asarray(margin)
    last = -special.ndtri(last_level)
    sides = [
        _conditional_power((margin + sign * mean) * np.sqrt(time), margin, last, time)
        for sign in (-1, 1)
    ]
    return np.maximum(0.0, sides[0] + sides[1] - 1)


def _conditional_power(
    statistic: NDArray[np.float64], drift: NDArray[np.float64], last: float, time: float
) -> NDArray[np.float64]:
    """Return the probability that a Brownian motion with a drift ends beyond the last bound."""
    still = last - statistic * np.sqrt(time) - drift * (1 - time)
    return np.asarray(special.ndtr(-still / np.sqrt(1 - time)))
