"""Studies with a known truth, few enough to be quick: `make study` runs more of them."""

import numpy as np
import pytest
from scipy import stats

from talweg.statistics.intervals import bootstrap_t_interval, t_interval
from talweg.statistics.question import GroupValues, Question
from talweg.statistics.verdicts import Verdict, answer


def bounds(share: float, num: int) -> tuple[float, float]:
    """Return where the share of successes lies in all but 1 of 1,000 repetitions."""
    low, high = stats.binom.ppf([0.0005, 0.9995], num, share)
    return low / num, high / num


@pytest.mark.parametrize("num", [5, 10])
def test_intervals_cover_as_they_say(num: int) -> None:
    samples = np.random.default_rng(num).normal(3, 2, (3000, num))
    intervals = [t_interval(list(each), 0.95) for each in samples]
    covered = np.mean([each.low <= 3 <= each.high for each in intervals])
    low, high = bounds(0.95, len(samples))
    assert low <= covered <= high


def test_the_bootstrap_covers_skewed_values_better_than_t() -> None:
    samples = np.random.default_rng(1).lognormal(0, 1, (300, 30))
    mean = np.exp(0.5)
    covered = [
        np.mean([each.low <= mean <= each.high for each in intervals])
        for intervals in (
            [bootstrap_t_interval(list(each), 0.95) for each in samples],
            [t_interval(list(each), 0.95) for each in samples],
        )
    ]
    assert covered[0] > covered[1] + 0.02
    assert covered[0] > 0.88


def test_overlapping_splits_are_covered_by_the_correction_alone() -> None:
    """Differences with the correlation that training sets with a share of 1/5 in the test have."""
    num, overlap, generator = 10, 0.25, np.random.default_rng(2)
    correlation = overlap / (1 + overlap)
    common = generator.normal(0, np.sqrt(correlation), (2000, 1))
    samples = common + generator.normal(0, np.sqrt(1 - correlation), (2000, num))
    covered = {
        each: np.mean([
            (found := t_interval(list(sample), 0.95, each)).low <= 0 <= found.high
            for sample in samples
        ])
        for each in (0.0, overlap)
    }  # fmt: skip
    low, high = bounds(0.95, len(samples))
    assert low <= covered[overlap] <= high
    assert covered[0.0] < 0.85


@pytest.mark.parametrize("skewed", [False, True])
def test_no_difference_is_found_where_there_is_none(skewed: bool) -> None:
    """Three groups that are as the baseline, of which none may be better or worse."""
    generator = np.random.default_rng(3)
    num_studies, errors = 200, 0
    for _ in range(num_studies):
        shape = (4, 9)
        values = generator.lognormal(0, 1, shape) if skewed else generator.normal(0, 1, shape)
        groups = [GroupValues(list(values[0]))]
        groups += [GroupValues(list(each), list(each - values[0])) for each in values[1:]]
        found = answer(Question(groups)).groups
        wrong = {Verdict.BETTER, Verdict.WORSE}
        errors += any(each.difference and each.difference.verdict in wrong for each in found)
    assert errors / num_studies <= bounds(0.05, num_studies)[1]


def test_shares_on_few_samples_do_not_make_verdicts_of_equal_differences() -> None:
    """Accuracies on 20 samples, over two splits: their differences are often equal."""
    generator = np.random.default_rng(5)
    num_studies, errors, claimed = 500, 0, 0
    for _ in range(num_studies):
        baseline, equal, worse = (
            generator.binomial(20, share, 2) / 20 for share in (0.95, 0.95, 0.85)
        )
        groups = [GroupValues([0.0], list(equal - baseline))]
        found = answer(Question(groups, overlap=0.25)).groups[0].difference
        errors += found is not None and found.verdict in (Verdict.BETTER, Verdict.WORSE)
        groups = [GroupValues([0.0], list(worse - baseline))]
        found = answer(Question(groups, margin=0.1)).groups[0].difference
        claimed += found is not None and found.verdict is Verdict.EQUIVALENT
    high = bounds(0.05, num_studies)[1]
    assert errors / num_studies <= high
    assert claimed / num_studies <= high


def test_equivalence_is_not_claimed_at_the_margin() -> None:
    """A true difference of the margin's size: it is no error to be called worse, or nothing."""
    generator = np.random.default_rng(4)
    num_studies = 1000
    claimed = 0
    for _ in range(num_studies):
        differences = list(generator.normal(1, 0.5, 8))
        groups = [GroupValues([0.0]), GroupValues([0.0], differences)]
        difference = answer(Question(groups, margin=1.0)).groups[1].difference
        claimed += difference is not None and difference.verdict is Verdict.EQUIVALENT
    low, high = bounds(0.05, num_studies)
    assert low <= claimed / num_studies <= high
