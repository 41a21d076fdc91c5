"""What `decide` could save otherwise with several values: other looks, spending and corrections.

    python -m tests.studies.sharing [STUDIES]

Studies of normal values that all differ from one baseline by the effect that a fixed number of
seeds shows with probability 0.8. Runs are those of the fixed number of the same power under the
same correction. Under Holm the error of a value that is decided goes to those that are open, at
the same look and after it: Maurer and Bretz 2013, https://doi.org/10.1080/19466315.2013.807748.
"""

import sys
from dataclasses import dataclass
from itertools import product
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from tests.studies.sequential import ERROR, MOST, POWER, sign_flip_p

from talweg.statistics import sequential
from talweg.statistics.sequential import FUTILE_BY_ESTIMATE, Design, levels, power_by_estimate

PLANNED, MOST_FIXED = 20, 40
SPENDING = (-1.5, -2.5, -4.0)
GROWTHS = (1.125, 1.0)


@dataclass(frozen=True)
class _Ended:
    """How studies ended: a column a value."""

    different: NDArray[np.bool_]
    pairs: NDArray[np.int_]


def main(studies: int) -> None:
    """Print a row for each design."""
    print("| values | correction | spending γ | looks | power | fixed seeds of that power "
          "| seeds of a value | of the baseline | runs | runs at twice the effect |")  # fmt: skip
    print("| --- " * 10 + "|")
    for values, is_holm in ((1, False), (3, False), (3, True)):
        drawn = np.random.default_rng(100).standard_normal((studies, values + 1, MOST_FIXED))
        differences = drawn[:, 1:] - drawn[:, :1]
        effect = _effect(differences, is_holm)
        for gamma, growth in product(SPENDING, GROWTHS):
            with (
                mock.patch.object(sequential, "GAMMA", gamma),
                mock.patch.object(sequential, "GROWTH", growth),
            ):
                row = _row(differences, effect, is_holm)
            name = "Holm" if is_holm else "Bonferroni"
            print(f"| {values} | {name} | {gamma} | {' | '.join(row)} |", flush=True)


def _row(differences: NDArray[np.float64], effect: float, is_holm: bool) -> list[str]:
    values = differences.shape[1]
    looks = sequential.schedule(MOST, ERROR / values)
    once, twice = (_decided(differences + times * effect, looks, is_holm) for times in (1, 2))
    reached = float(once.different.mean())
    numbers = range(PLANNED - 8, MOST_FIXED + 1, 2)
    powers = [_fixed_power(differences + effect, number, is_holm) for number in numbers]
    fixed = float(np.interp(reached, np.maximum.accumulate(powers), list(numbers)))
    arm, baseline = once.pairs.mean(), once.pairs.max(axis=1).mean()
    runs = [
        (each.pairs.sum(axis=1) + each.pairs.max(axis=1)).mean() / (values + 1) / fixed
        for each in (once, twice)
    ]
    shares = [f"{share:.1%}" for share in (arm / fixed, baseline / fixed, *runs)]
    return [str(len(looks)), f"{reached:.1%}", f"{fixed:.1f}", *shares]


def _decided(differences: NDArray[np.float64], looks: list[int], is_holm: bool) -> _Ended:
    """Decide studies by differences alone, as talweg.statistics does without a margin."""
    studies, values, _ = differences.shape
    different = np.zeros((studies, values), bool)
    pairs = np.full((studies, values), looks[-1])
    is_open = ~different
    for index, number in enumerate(looks):
        p = _p(differences[:, :, :number])
        of_shares = [
            levels(Design(MOST, ERROR / share), looks[: index + 1])
            for share in range(1, values + 1)
        ]
        for _ in range(values if is_holm else 1):
            left = _left(different, is_holm)
            bound = np.array([0.0] + [each.difference or 0.0 for each in of_shares])[left]
            found = is_open & (p <= bound[:, None])
            different |= found
            pairs[found] = number
            is_open &= ~found
        if number < looks[-1]:
            power = np.stack(
                [power_by_estimate(p, each.last_difference, number / MOST) for each in of_shares]
            )
            own = power[_left(different, is_holm) - 1, np.arange(studies)]
            futile = is_open & (own < FUTILE_BY_ESTIMATE)
            pairs[futile] = number
            is_open &= ~futile
    return _Ended(different, pairs)


def _left(different: NDArray[np.bool_], is_holm: bool) -> NDArray[np.int_]:
    """Return among how many values the error is shared, by study."""
    studies, values = different.shape
    return values - different.sum(axis=1) if is_holm else np.full(studies, values)


def _effect(differences: NDArray[np.float64], is_holm: bool) -> float:
    low, high = 0.0, 5.0
    for _ in range(12):
        effect = (low + high) / 2
        power = _fixed_power(differences + effect, PLANNED, is_holm)
        low, high = (effect, high) if power < POWER else (low, effect)
    return (low + high) / 2


def _fixed_power(differences: NDArray[np.float64], number: int, is_holm: bool) -> float:
    p = np.sort(_p(differences[:, :, :number]), axis=1)
    values = p.shape[1]
    shares = values - np.arange(values) if is_holm else np.full(values, values)
    found = p <= ERROR / shares
    return float((np.cumprod(found, axis=1) if is_holm else found).mean())


def _p(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    shape = differences.shape
    return sign_flip_p(differences.reshape(-1, shape[2])).reshape(shape[:2])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
