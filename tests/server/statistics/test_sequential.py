"""Group-sequential bounds against published figures, and decisions on data of known answer."""

import math

import numpy as np
import pytest
from scipy import stats
from tests.studies.sequential import decided

from talweg.statistics.looks import Look, LookQuestion, OpenComparison, Why, take_look
from talweg.statistics.sequential import SPENT, Design, levels, schedule
from talweg.statistics.sign_flip import smallest_p
from talweg.statistics.spending import bounds, hwang_shih_decani
from talweg.statistics.verdicts import Verdict

FIVE = (0.2, 0.4, 0.6, 0.8, 1.0)


def test_bounds_are_those_of_lan_and_demets() -> None:
    # Jennison and Turnbull 2000, Group Sequential Methods, section 7.2; two-sided 5%.
    like_obrien = [4 * stats.norm.sf(stats.norm.isf(0.0125) / math.sqrt(t)) for t in FIVE]
    assert bounds(FIVE, tuple(like_obrien), sides=2) == pytest.approx(
        [4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4
    )
    like_pocock = [0.05 * math.log(1 + (math.e - 1) * t) for t in FIVE]
    assert bounds(FIVE, tuple(like_pocock), sides=2) == pytest.approx(
        [2.438, 2.427, 2.410, 2.397, 2.386], abs=6e-4
    )


def test_bounds_are_those_of_hwang_shih_and_decani() -> None:
    # The default of the R package gsDesign: three looks, one-sided 2.5%, gamma -4.
    thirds = (1 / 3, 2 / 3, 1.0)
    spent = tuple(hwang_shih_decani(time, 0.025, -4) for time in thirds)
    assert bounds(thirds, spent, sides=1) == pytest.approx([3.0107, 2.5465, 1.9992], abs=1e-4)


def test_two_looks_err_as_the_bivariate_normal_distribution_says() -> None:
    times, spent = (0.3, 1.0), (0.012, 0.05)
    first, second = bounds(times, spent, sides=2)
    assert 2 * stats.norm.sf(first) == pytest.approx(0.012)
    between = stats.multivariate_normal(cov=[[1, math.sqrt(0.3)], [math.sqrt(0.3), 1]]).cdf(
        [first, second], lower_limit=[-first, -second]
    )
    assert between == pytest.approx(0.95, abs=1e-5)


def test_spending_functions_end_with_the_error() -> None:
    assert hwang_shih_decani(0.0, 0.05, -1.5) == 0
    assert hwang_shih_decani(1.0, 0.05, -1.5) == pytest.approx(0.05)
    assert hwang_shih_decani(0.5, 0.05, 0.0) == pytest.approx(0.025)
    assert hwang_shih_decani(0.5, 0.05, -4.0) < 0.025 < hwang_shih_decani(0.5, 0.05, 1.0)


@pytest.mark.parametrize("most", [6, 10, 30, 100])
@pytest.mark.parametrize("comparisons", [1, 3, 7])
def test_looks_begin_where_a_difference_can_be_significant(most: int, comparisons: int) -> None:
    error = 0.05 / comparisons
    numbers = schedule(most, error)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == most
    if len(numbers) > 1:
        assert levels(Design(most, error), numbers[:1]).difference is not None
        earlier = levels(Design(most, error), [numbers[0] - 1])
        assert earlier.difference is None or smallest_p(numbers[0] - 1) > error


def test_a_look_at_which_nothing_can_be_significant_spends_nothing() -> None:
    design = Design(30, 0.05)
    assert levels(design, [4]).difference is None
    assert levels(design, [4, 15]).difference == levels(design, [15]).difference
    assert levels(design, [9, 15]).difference < levels(design, [15]).difference  # type: ignore[operator]


def test_all_of_the_error_is_spent_where_nothing_follows() -> None:
    design = Design(30, 0.05)
    assert levels(design, [20], is_last=True).difference == pytest.approx(SPENT * 0.05)
    assert levels(design, [30]).difference == pytest.approx(SPENT * 0.05)
    assert levels(design, [20]).difference < SPENT * 0.05  # type: ignore[operator]


def test_more_overlapping_splits_tell_less_than_as_many_new_ones() -> None:
    assert Design(30, 0.05).time(15) == 0.5
    # Half of the splits of the same data tell nearly all that all of them do.
    assert Design(30, 0.05, overlap=0.25).time(15) == pytest.approx(
        (1 / 30 + 0.25) / (1 / 15 + 0.25)
    )
    assert Design(30, 0.05, overlap=0.25).time(15) > 0.85


LOWER = [-1.0, -1.1, -0.9, -1.2, -0.8, -1.0, -1.05, -0.95, -1.15, -0.85]


def look(
    differences: list[float], *, earlier: tuple[int, ...] = (), seeds: int = 10, **more: object
) -> Look:
    question = LookQuestion(
        [OpenComparison(differences, earlier)],
        num_seeds=seeds,
        max_seeds=30,
        error=0.05,
        **more,  # type: ignore[arg-type]
    )
    return take_look(question).looks[0]


def test_before_the_first_look_it_tells_when_that_is() -> None:
    question = LookQuestion([OpenComparison([])], num_seeds=0, max_seeds=30, error=0.05)
    found = take_look(question)
    assert [each.why for each in found.looks] == [Why.OPEN]
    assert found.next_seeds == schedule(30, 0.05)[0]


def test_a_clear_difference_ends_it() -> None:
    assert look(LOWER).verdict is Verdict.BETTER
    assert look(LOWER, higher_is_better=True).verdict is Verdict.WORSE
    assert look([-each for each in LOWER]).verdict is Verdict.WORSE
    found = look(LOWER)
    assert found.why is Why.DIFFERENCE
    assert (found.p, found.pairs) == (2**-9, 10)


def test_better_by_less_than_the_margin_is_equivalent() -> None:
    assert look(LOWER, margin=1.5).why is Why.EQUIVALENCE
    assert look(LOWER, margin=1.5).verdict is Verdict.EQUIVALENT
    assert look(LOWER, margin=0.9).verdict is Verdict.BETTER


def test_what_is_unclear_stays_open_until_the_last_look() -> None:
    unclear = [0.5, -0.2, 0.9, 0.4, -0.3, 0.7, 0.1, 0.6, -0.1, 0.8]
    found = look(unclear)
    assert (found.why, found.verdict) == (Why.OPEN, None)
    assert found.p is not None
    assert found.level is not None
    assert found.level < found.p < 0.05
    # What a fixed number of seeds would have shown is no difference at a look in between; at the
    # last one it is.
    assert look(unclear, is_last=True).verdict is Verdict.WORSE


def test_what_more_seeds_would_not_show_ends() -> None:
    nothing = [1.0, -1.1, 0.9, -0.8, 1.2, -1.2, 0.1, -0.2, 0.4, -0.3]
    found = look(nothing)
    assert (found.why, found.verdict) == (Why.FUTILITY, Verdict.NOT_DISTINGUISHABLE)
    assert found.power is not None
    assert found.power < 0.02
    # An equivalence within this margin may still be shown.
    assert look(nothing, margin=0.7).why is Why.OPEN
    assert look(nothing, margin=0.05).why is Why.FUTILITY


def test_a_look_without_new_pairs_decides_nothing() -> None:
    assert look(LOWER, earlier=(10,)).why is Why.OPEN
    assert look(LOWER, earlier=(10,)).p is None
    assert look(LOWER, earlier=(10,), seeds=30).why is Why.MOST_SEEDS
    assert look([]).why is Why.NO_PAIRS
    assert look([1.0]).why is Why.OPEN


def test_differences_without_noise() -> None:
    assert look([0.0] * 10).why is Why.FUTILITY
    assert look([0.0] * 10, margin=0.1).verdict is Verdict.EQUIVALENT
    assert look([-1.0] * 10, margin=0.1).verdict is Verdict.BETTER


def test_overlapping_splits_are_tested_by_their_corrected_variance() -> None:
    rows = [-0.5, -1.4, -0.9, -1.9, -0.1, -1.0, -1.5, -0.5, -1.2, -0.8]
    assert look(rows).verdict is Verdict.BETTER
    assert look(rows, overlap=0.5).verdict is None
    assert look(LOWER, overlap=0.1).verdict is Verdict.BETTER


@pytest.mark.parametrize("margin", [None, 0.8])
def test_studies_are_decided_as_looks_decide(margin: float | None) -> None:
    # So many that the studies' p values are exact too.
    most, error = 13, 0.05
    rows = np.random.default_rng(5).normal(0.6, 1, (60, most))
    found = decided(rows, error, margin)
    numbers = schedule(most, error)
    for row, is_different, is_equivalent, pairs in zip(
        rows, found.different, found.equivalent, found.pairs, strict=True
    ):
        for index, num in enumerate(numbers):
            asked = OpenComparison(list(row[:num]), numbers[:index])
            last = take_look(
                LookQuestion([asked], num, max_seeds=most, error=error, margin=margin)
            ).looks[0]
            if last.verdict is not None:
                break
        assert last.pairs == pairs
        assert (last.verdict in (Verdict.BETTER, Verdict.WORSE)) == is_different
        assert (last.verdict is Verdict.EQUIVALENT) == is_equivalent
    assert len(set(found.pairs)) > 2
    assert 0 < found.different.sum() < len(rows)
