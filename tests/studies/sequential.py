"""Comparisons that add seeds while the question is open, by studies of known truth.

Each study draws pairs up to the most and is decided as talweg.statistics does it, all studies at
once. P values above 2^12 choices of signs are of 4,999 random choices, the same ones for all
studies of a look, where talweg tries them all up to 20 pairs, and 99,999 above.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from talweg.statistics.sequential import (
    FUTILE_BY_ESTIMATE,
    FUTILE_BY_MARGIN,
    Design,
    levels,
    power_by_drift,
    power_by_estimate,
    power_of_equivalence,
    schedule,
)

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]

_EXACT_TO = 13
_NUM_RESAMPLES = 4_999
_BLOCK = 1_000
_ROUNDING = 1e-10
MOST = 30
ERROR = 0.05
POWER = 0.8
PLANNED = (15, 20, 30)
"""Fixed numbers of seeds, each of which shows the planned effect with probability `POWER`."""
COMPARISONS = (1, 3)
# A fixed number of seeds of the same power is found among so many.
_MOST_FIXED = 40


@dataclass(frozen=True)
class Decided:
    """How studies ended."""

    different: NDArray[np.bool_]
    """A difference was found, and no equivalence."""
    equivalent: NDArray[np.bool_]
    """An equivalence was found."""
    pairs: NDArray[np.int_]
    """Taken until then."""


def decided(differences: NDArray[np.float64], error: float, margin: float | None) -> Decided:
    """Decide studies.

    Args:
        differences: A row of paired differences a study, as many as may be taken.
        error: Of each study.
        margin: Of equivalence.
    """
    studies, most = differences.shape
    design = Design(most, error)
    different, equivalent = np.zeros(studies, bool), np.zeros(studies, bool)
    pairs = np.full(studies, most)
    still = np.arange(studies)
    looks = schedule(most, error)
    for index, num in enumerate(looks):
        values = differences[still, :num]
        level = levels(design, looks[: index + 1])
        p, mean = sign_flip_p(values), values.mean(axis=1)
        errors = values.std(axis=1, ddof=1) / np.sqrt(num)
        found = p <= (level.difference or 0.0)
        equal = np.zeros(len(still), bool)
        if margin is not None:
            of_equivalence = stats.t.sf((margin - np.abs(mean)) / errors, num - 1)
            equal = of_equivalence <= level.equivalence
        ended = found | equal
        if num < most:
            ended |= _futile(p, mean, errors, margin, design, num)
        equivalent[still[equal]] = True
        different[still[found & ~equal]] = True
        pairs[still[ended]] = num
        still = still[~ended]
    return Decided(different, equivalent, pairs)


def _futile(
    p: NDArray[np.float64],
    mean: NDArray[np.float64],
    errors: NDArray[np.float64],
    margin: float | None,
    design: Design,
    num: int,
) -> NDArray[np.bool_]:
    looks = schedule(design.most, design.error)
    level = levels(design, looks[: looks.index(num) + 1])
    time = design.time(num)
    futile = power_by_estimate(p, level.last_difference, time) < FUTILE_BY_ESTIMATE
    if margin is not None:
        last = errors * np.sqrt(time)
        futile &= power_by_drift(p, margin / last, level.last_difference, time) < FUTILE_BY_MARGIN
        futile &= (
            power_of_equivalence(mean / last, margin / last, level.last_equivalence, time)
            < FUTILE_BY_MARGIN
        )
    return futile


def sign_flip_p(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p of each row, by the same choices of signs for all."""
    signs = _signs(values.shape[1])
    found = []
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        sizes = np.abs(block)
        least = np.abs(block.sum(axis=1)) - _ROUNDING * sizes.sum(axis=1)
        count = np.count_nonzero(np.abs(sizes @ signs) >= least[:, None], axis=1)
        if values.shape[1] <= _EXACT_TO:
            found.append(count / signs.shape[1])
        else:
            found.append((count + 1) / (signs.shape[1] + 1))
    return np.concatenate(found) if found else np.zeros(0)


@cache
def _signs(num: int) -> NDArray[np.float64]:
    if num <= _EXACT_TO:
        bits = np.arange(2 ** (num - 1))[None, :] >> np.arange(num)[:, None] & 1
    else:
        bits = np.random.default_rng(num).integers(2, size=(num, _NUM_RESAMPLES))
    return np.asarray(1 - 2 * bits, dtype=np.float64)


def print_tables(draws: Mapping[str, Draw], studies: int) -> None:
    """Print how often verdicts are wrong, and how many runs they take.

    Args:
        draws: Values between seeds, by name.
        studies: Of each kind.
    """
    print(f"\nSeeds that are added while the question is open, {MOST} at most\n")
    print(
        "| values | comparisons | any better or worse | at least | seeds | any equivalent, at the "
        "margin | at least | seeds |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for seed, (name, draw) in enumerate(draws.items()):
        for comparisons in COMPARISONS:
            differences = _differences(draw, comparisons, studies, seed)
            cells = []
            for effect, margin in ((0.0, None), (1.0, 1.0)):
                found = _decided(differences, effect=effect, margin=margin)
                wrong = found.different if margin is None else found.equivalent
                count = int(wrong.any(axis=1).sum())
                least = float(stats.beta.ppf(0.025, count, studies - count + 1)) if count else 0.0
                cells += [f"{count / studies:.1%}", f"{least:.1%}", f"{found.pairs.mean():.1f}"]
            print(f"| {name} | {comparisons} | {' | '.join(cells)} |")
    print("\nRuns beside those of a fixed number of seeds of the same power, normal values\n")
    print("| comparisons | planned | power | fixed | runs at the effect | at twice the effect |")
    print("| --- | --- | --- | --- | --- | --- |")
    for comparisons in COMPARISONS:
        differences = _differences(draws["normal"], comparisons, studies, 100)
        for planned in PLANNED:
            print(f"| {comparisons} | {planned} | {' | '.join(_price(differences, planned))} |")


def _differences(draw: Draw, comparisons: int, studies: int, seed: int) -> NDArray[np.float64]:
    """Return differences to one baseline where there is none: studies, comparisons, pairs."""
    values = draw(np.random.default_rng(seed), (studies, comparisons + 1, _MOST_FIXED))
    return values[:, 1:] - values[:, :1]


def _decided(
    differences: NDArray[np.float64], *, effect: float = 0.0, margin: float | None = None
) -> Decided:
    """Decide studies in which all values are worse than their baseline by an effect.

    Returns:
        A column a comparison.
    """
    shape = differences.shape[:2]
    rows = (differences[:, :, :MOST] + effect).reshape(-1, MOST)
    found = decided(rows, ERROR / shape[1], margin)
    return Decided(
        found.different.reshape(shape), found.equivalent.reshape(shape), found.pairs.reshape(shape)
    )


def _price(differences: NDArray[np.float64], planned: int) -> list[str]:
    """Return power and runs where all values have the effect that a fixed number would show."""
    comparisons = differences.shape[1]
    of_one = differences[:, 0]

    def power(num: int, effect: float) -> float:
        return float(np.mean(sign_flip_p(of_one[:, :num] + effect) <= ERROR / comparisons))

    low, high = 0.0, 5.0
    for _ in range(16):
        effect = (low + high) / 2
        low, high = (effect, high) if power(planned, effect) < POWER else (low, effect)
    once, twice = (_decided(differences, effect=times * effect) for times in (1, 2))
    reached = float(once.different[:, 0].mean())
    numbers = range(planned - 10, _MOST_FIXED + 1)
    powers = np.maximum.accumulate([power(num, effect) for num in numbers])
    # Between two whole numbers, as the power is.
    fixed = float(np.interp(reached, powers, numbers))
    # The baseline runs as long as any value does.
    runs = [
        float(np.mean(each.pairs.sum(axis=1) + each.pairs.max(axis=1))) / (comparisons + 1)
        for each in (once, twice)
    ]
    return [f"{reached:.1%}", f"{fixed:.1f}", *(f"{each / fixed:.1%}" for each in runs)]
