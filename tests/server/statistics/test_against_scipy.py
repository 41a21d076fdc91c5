"""Each formula beside scipy's own, or beside the sum written out by hand."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from talweg.statistics import skewness as skewness_module
from talweg.statistics.equivalence import equivalence_test
from talweg.statistics.holm import holm
from talweg.statistics.intervals import bootstrap_t_interval, standard_error, t_interval
from talweg.statistics.power import pairs_needed, sd_interval
from talweg.statistics.resampled_t import corrected_t_test
from talweg.statistics.sign_flip import least_differences, sign_flip_test, smallest_p
from talweg.statistics.skewness import is_skewed

VALUES = [2.0, 3.5, 1.0, 4.0, 2.5, 3.0, 7.5]


def draw(num: int, seed: int = 0, shift: float = 0.0) -> list[float]:
    return list(np.random.default_rng(seed).normal(shift, 1, num))


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_t_interval(level: float) -> None:
    found = t_interval(VALUES, level)
    by_scipy = stats.ttest_1samp(VALUES, 0).confidence_interval(level)
    assert (found.low, found.high) == pytest.approx((by_scipy.low, by_scipy.high))


def test_overlapping_splits_widen_the_interval() -> None:
    # Ten folds: s²(1/10 + 1/9) in place of s²/10.
    values = draw(10)
    wide, narrow = standard_error(values, 1 / 9), standard_error(values)
    assert wide / narrow == pytest.approx(math.sqrt(1 + 10 / 9))
    interval = t_interval(values, 0.95, 1 / 9)
    assert interval.high - interval.low == pytest.approx(2 * stats.t.ppf(0.975, 9) * wide)


@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_corrected_t_test(overlap: float) -> None:
    first, second = draw(8, 1, 0.7), draw(8, 2)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    found = corrected_t_test(differences, overlap)
    statistic = stats.ttest_rel(first, second).statistic / math.sqrt(1 + 8 * overlap)
    assert found == pytest.approx(2 * stats.t.sf(abs(statistic), 7))
    if not overlap:
        assert found == pytest.approx(stats.ttest_rel(first, second).pvalue)


@pytest.mark.parametrize("num", [1, 2, 5, 8, 12])
@pytest.mark.parametrize("shift", [0.0, 0.8, -3.0])
def test_exact_sign_flips(num: int, shift: float) -> None:
    differences = draw(num, 3, shift)
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=num)
    ]
    share = np.mean(np.array(sums) >= abs(sum(differences)) - 1e-12)
    assert sign_flip_test(differences) == pytest.approx(share)
    if num > 1:
        by_scipy = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert sign_flip_test(differences) == pytest.approx(by_scipy.pvalue)


def test_sign_flips_are_exact_up_to_where_they_are_to_be() -> None:
    differences = draw(24, 4, 0.3)
    exact = sign_flip_test(differences, exact_to=24)
    # Of all choices of signs, each and its mirror image.
    assert (exact * 2**23).is_integer()
    assert not (sign_flip_test(differences) * 2**23).is_integer()
    assert exact == pytest.approx(sign_flip_test(differences), rel=0.1)


def test_ties_count_as_equal_in_spite_of_rounding() -> None:
    # 0.1 + 0.2 is not 0.3: all eight choices with an even number of signs have one sum.
    assert sign_flip_test([0.1, 0.2, 0.3]) == 2 / 8
    assert sign_flip_test([0.1, 0.2, -0.3]) == 1
    assert sign_flip_test([0.0, 0.0]) == 1


def test_random_sign_flips_come_near_the_normal_approximation() -> None:
    differences = draw(60, 4, 0.3)
    assert sign_flip_test(differences) == sign_flip_test(differences)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_test(differences) == pytest.approx(expected, rel=0.25)
    assert sign_flip_test(draw(60, 4, 9.0)) == smallest_p(60) == 1e-5


def test_how_small_p_can_be() -> None:
    for num in range(1, 13):
        assert smallest_p(num) == sign_flip_test([1.0] * num)
    # Five pairs never reach 5%, six do; with three comparisons it takes seven.
    assert least_differences(0.05) == 6
    assert least_differences(0.05 / 3) == 7
    assert smallest_p(6) <= 0.05 < smallest_p(5)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_two_one_sided_tests(margin: float) -> None:
    differences = draw(9, 5, 0.4)
    lower = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert equivalence_test(differences, margin) == pytest.approx(max(lower, upper))
    # Equivalent at 5% where the interval at 90% lies within the margin.
    interval = t_interval(differences, 0.9)
    is_within = -margin < interval.low and interval.high < margin
    assert (equivalence_test(differences, margin) < 0.05) == is_within


def test_equal_differences_count_by_their_signs() -> None:
    # By t tests two of them, such as of an accuracy on few samples, would be certainty.
    assert equivalence_test([0.25] * 4, 0.3) == 1 / 16
    assert equivalence_test([0.25] * 4, 0.2) == 1
    assert corrected_t_test([0.25] * 4, 0.1) == 1 / 8
    assert corrected_t_test([0.0] * 4, 0.1) == 1
    assert bootstrap_t_interval([0.1] * 40, 0.95).low == 0.1


def test_the_interval_of_an_sd_holds_it_as_often_as_it_says() -> None:
    samples = np.random.default_rng(0).normal(size=(4_000, 3)).std(axis=1, ddof=1)
    ends = np.array([sd_interval(float(each), 3) for each in samples])
    assert float(np.mean(ends[:, 0] > 1)) == pytest.approx(0.1, abs=0.015)
    assert float(np.mean(ends[:, 1] < 1)) == pytest.approx(0.1, abs=0.015)


def test_pairs_needed_have_the_power() -> None:
    needed = pairs_needed(1.0, difference=0.6, alpha=0.05, least=6)
    assert needed is not None
    generator = np.random.default_rng(6)

    def power(num: int) -> float:
        samples = generator.normal(0.6, 1, (4000, num))
        return float(np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05))

    assert power(needed) > 0.78
    assert power(needed - 3) < 0.8
    # As in tables of power: d = 0.5 takes 34 pairs.
    assert pairs_needed(1.0, difference=0.5, alpha=0.05, least=6) == 34
    assert pairs_needed(1e-9, difference=0.5, alpha=0.05, least=6) == 6
    # The splits' overlap stays, however many there are.
    assert pairs_needed(1.0, difference=0.5, alpha=0.05, least=2, overlap=0.25) is None


@pytest.mark.parametrize("num", [8, 9, 50])
def test_skewness_and_its_test(num: int) -> None:
    values = np.exp(draw(num, 4))
    skewness = skewness_module._skewness(values)
    assert skewness == pytest.approx(stats.skew(values))
    assert skewness_module._p_of_normal(skewness, num) == pytest.approx(
        stats.skewtest(values).pvalue
    )


def test_a_skewed_sample_is_known_and_a_normal_one_is_not() -> None:
    generator = np.random.default_rng(7)
    lognormal = generator.lognormal(0, 1, (200, 20))
    assert np.mean([is_skewed(list(each)) for each in lognormal]) > 0.7
    normal = generator.normal(0, 1, (400, 20))
    assert np.mean([is_skewed(list(each)) for each in normal]) < 0.03
    assert not is_skewed([1.0] * 10)
    assert not is_skewed([1.0] * 6 + [100.0])
    assert is_skewed([1.0, 1.1, 0.9, 1.2, 1.0, 0.8, 1.1, 50.0])
