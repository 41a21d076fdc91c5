"""Verdicts on values whose answer is known."""

from typing import Any

import numpy as np
import pytest

from talweg.statistics.question import GroupValues, Question
from talweg.statistics.verdicts import Answer, Verdict, answer


def ask(*differences: list[float] | None, **more: Any) -> Answer:
    groups = [GroupValues([1.0, 2.0]), *(GroupValues([1.0], each or []) for each in differences)]
    return answer(Question(groups, **more))


def verdicts(found: Answer) -> list[Verdict]:
    return [group.difference.verdict for group in found.groups if group.difference]


LOWER = [-1.0, -1.1, -0.9, -1.2, -0.8, -1.0, -1.05, -0.95]


def test_lower_is_better_unless_higher_is() -> None:
    higher = [-each for each in LOWER]
    assert verdicts(ask(LOWER, higher)) == [Verdict.BETTER, Verdict.WORSE]
    found = ask(LOWER, higher, higher_is_better=True)
    assert verdicts(found) == [Verdict.WORSE, Verdict.BETTER]
    assert found.groups[0].difference is None


def test_better_within_the_margin_is_equivalent() -> None:
    assert verdicts(ask(LOWER, margin=1.5)) == [Verdict.EQUIVALENT]
    assert verdicts(ask(LOWER, margin=0.9)) == [Verdict.BETTER]
    # Of which it is not sure that it is within.
    assert verdicts(ask(LOWER, margin=1.02)) == [Verdict.BETTER]


def test_five_pairs_give_no_p_and_say_how_many_would() -> None:
    found = ask(LOWER[:5], LOWER[:5], LOWER[:5])
    for group in found.groups[1:]:
        difference = group.difference
        assert difference is not None
        assert difference.verdict is Verdict.TOO_FEW
        assert (difference.p, difference.adjusted_p, difference.least) == (None, None, 7)
        assert difference.interval is not None
        assert difference.interval.high < 0
    # By the margin five are enough.
    assert verdicts(ask(LOWER[:5], margin=1.5)) == [Verdict.EQUIVALENT]


def test_holm_decides_what_can_be_significant() -> None:
    # With six pairs p is at least 1/32: enough for one comparison, and for the last of two, where
    # the other one is significant by more pairs.
    assert verdicts(ask(LOWER[:6])) == [Verdict.BETTER]
    assert verdicts(ask(LOWER[:6], LOWER[:6])) == [Verdict.TOO_FEW] * 2
    assert verdicts(ask(LOWER, LOWER[:6])) == [Verdict.BETTER] * 2
    noise = [1.0, -1.0, 0.5, -0.5, 0.2, -0.2, 0.1, -0.1]
    assert verdicts(ask(noise, LOWER[:6])) == [Verdict.NOT_DISTINGUISHABLE] * 2


def test_a_group_without_pairs_is_no_comparison() -> None:
    found = ask(LOWER[:6], [], [0.5])
    assert verdicts(found) == [Verdict.TOO_FEW] * 3
    empty = found.groups[2].difference
    assert empty is not None
    assert (empty.n, empty.mean, empty.sd, empty.interval, empty.least) == (0, None, None, None, 7)
    assert verdicts(ask(LOWER[:6], [])) == [Verdict.BETTER, Verdict.TOO_FEW]


def test_not_distinguishable_says_how_many_pairs_show_the_margin() -> None:
    noise = [1.0, -1.0, 0.5, -0.5, 0.2, -0.2, 0.6, -0.6]
    (difference,) = [each.difference for each in ask(noise, margin=0.3).groups if each.difference]
    assert difference.verdict is Verdict.NOT_DISTINGUISHABLE
    assert difference.needed is not None
    assert difference.needed > 30
    without = ask(noise).groups[1].difference
    assert without is not None
    assert without.needed is None


def test_overlapping_splits_take_the_corrected_t_test() -> None:
    differences = [-1.0, -1.5, -0.2, -0.9, -1.1]
    plain, corrected = ask(differences), ask(differences, overlap=0.25)
    assert verdicts(plain) == [Verdict.TOO_FEW]
    assert verdicts(corrected) == [Verdict.BETTER]
    weak = [-1.0, -1.5, 0.2, -0.9, -0.4]
    assert verdicts(ask(weak, overlap=0.25)) == [Verdict.NOT_DISTINGUISHABLE]
    intervals = [found.groups[1].difference.interval for found in (plain, corrected)]  # type: ignore[union-attr]
    widths = [each.high - each.low for each in intervals if each]
    assert widths[1] / widths[0] == pytest.approx(1.5)
    assert corrected.groups[0].method == "CORRECTED_T"


def test_thirty_values_are_bootstrapped() -> None:
    values = list(np.random.default_rng(0).lognormal(0, 1, 30))
    found = answer(Question([GroupValues(values), GroupValues(values[:29])])).groups
    assert [each.method for each in found] == ["BOOTSTRAP_T", "STUDENT_T"]
    assert found[0].interval is not None
    assert found[0].mean is not None
    # It reaches further on the side of the long tail.
    reach = found[0].interval.high - found[0].mean, found[0].mean - found[0].interval.low
    assert reach[0] > 1.3 * reach[1] > 0
