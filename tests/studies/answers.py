"""How well intervals and verdicts of comparisons keep what they say, by studies of known truth.

    python -m tests.studies.answers [STUDIES]     # 10,000 of each kind; takes some minutes

For each distribution of the values between seeds and each number of seeds it prints how
often intervals cover the truth, and for three groups beside a baseline the share of studies with a
wrong verdict; then the same for seeds that are added while the question is open, and how many runs
that takes. Nothing is trained.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tests.studies.sequential import print_tables

from talweg.statistics.intervals import BOOTSTRAP_FROM, bootstrap_t_interval, t_interval
from talweg.statistics.question import GroupValues, Question
from talweg.statistics.skewness import is_skewed
from talweg.statistics.verdicts import answer

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]

# All with mean 0 and sd 1, but for Student's t with 3 degrees of freedom, whose sd is √3.
DISTRIBUTIONS: Mapping[str, Draw] = {
    "normal": lambda generator, shape: generator.normal(0, 1, shape),
    "t, 3 df": lambda generator, shape: generator.standard_t(3, shape),
    "exponential": lambda generator, shape: generator.exponential(1, shape) - 1,
    "lognormal": lambda generator, shape: (
        (generator.lognormal(0, 1, shape) - np.exp(0.5)) / np.sqrt((np.e - 1) * np.e)
    ),
}
NUMBERS = (5, 10, 30)
NUM_GROUPS = 3
DECIDED = ("normal", "t, 3 df", "lognormal")
"""Of studies that add seeds while the question is open."""


def coverage(draw: Draw, num: int, studies: int, seed: int) -> tuple[float, float, float]:
    """Return how often intervals of mean and difference cover, and how often skewness is told."""
    generator = np.random.default_rng(seed)
    one, two = draw(generator, (studies, num)), draw(generator, (studies, num))
    covered = of_differences = warned = 0
    for values, others in zip(one, two, strict=True):
        bootstrapped = num >= BOOTSTRAP_FROM
        interval = bootstrap_t_interval if bootstrapped else t_interval
        found = interval(list(values), 0.95)
        covered += found.low <= 0 <= found.high
        found = t_interval(list(values - others), 0.95)
        of_differences += found.low <= 0 <= found.high
        warned += is_skewed(list(values), bootstrapped=bootstrapped)
    return covered / studies, of_differences / studies, warned / studies


def verdicts(
    draw: Draw, num: int, studies: int, seed: int, *, effect: float, margin: float | None
) -> tuple[float, float]:
    """Return the share of studies with any group better or worse, and with any equivalent.

    Args:
        draw: The values of a seed.
        num: Seeds per group.
        studies: How many.
        seed: Of their values.
        effect: By how much each group is worse than the baseline.
        margin: Of equivalence.
    """
    generator = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(studies):
        values = draw(generator, (NUM_GROUPS + 1, num))
        values[1:] += effect
        # The groups' own intervals are no part of it, and take most of the time.
        groups = [GroupValues([0.0], list(each - values[0])) for each in values[1:]]
        found = {
            group.difference.verdict.name
            for group in answer(Question(groups, margin=margin)).groups
            if group.difference
        }
        counts["different"] += bool(found & {"BETTER", "WORSE"})
        counts["equivalent"] += "EQUIVALENT" in found
    return counts["different"] / studies, counts["equivalent"] / studies


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("studies", type=int, nargs="?", default=10_000)
    studies = parser.parse_args().studies
    low, high = stats.binom.ppf([0.025, 0.975], studies, 0.05) / studies
    print(f"{studies:,} studies each; 5% shows as {low:.2%} to {high:.2%} in 95 of 100 runs\n")
    print("| values | n | mean covered | difference covered | warned of skewness |")
    print("| --- | --- | --- | --- | --- |")
    for seed, (name, draw) in enumerate(DISTRIBUTIONS.items()):
        for num in NUMBERS:
            shares = coverage(draw, num, studies, 100 * seed + num)
            print(f"| {name} | {num} | " + " | ".join(f"{each:.1%}" for each in shares) + " |")
    print(
        f"\n{NUM_GROUPS} groups that are as the baseline, and that differ by the margin of 1 sd\n"
    )
    print("| values | n | any better or worse | any equivalent, at the margin |")
    print("| --- | --- | --- | --- |")
    for seed, (name, draw) in enumerate(DISTRIBUTIONS.items()):
        for num in NUMBERS[1:]:
            wrong, _ = verdicts(draw, num, studies, seed, effect=0.0, margin=None)
            _, equal = verdicts(draw, num, studies, seed, effect=1.0, margin=1.0)
            print(f"| {name} | {num} | {wrong:.1%} | {equal:.1%} |")
    print_tables({name: DISTRIBUTIONS[name] for name in DECIDED}, studies)


if __name__ == "__main__":
    main()
