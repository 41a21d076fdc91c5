"""Intervals of all groups, and a verdict on each against the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from talweg.statistics.equivalence import equivalence_test
from talweg.statistics.holm import holm
from talweg.statistics.intervals import (
    BOOTSTRAP_FROM,
    Interval,
    bootstrap_t_interval,
    sample_sd,
    t_interval,
)
from talweg.statistics.power import pairs_needed, sd_interval
from talweg.statistics.question import GroupValues, Question
from talweg.statistics.resampled_t import corrected_t_test
from talweg.statistics.sign_flip import least_differences, sign_flip_test, smallest_p
from talweg.statistics.skewness import is_skewed


class Method(StrEnum):
    """How an interval of a group's mean was made; names of the API."""

    STUDENT_T = "STUDENT_T"
    BOOTSTRAP_T = "BOOTSTRAP_T"
    CORRECTED_T = "CORRECTED_T"


class Verdict(StrEnum):
    """What was found; names of the API."""

    EQUIVALENT = "EQUIVALENT"
    BETTER = "BETTER"
    WORSE = "WORSE"
    NOT_DISTINGUISHABLE = "NOT_DISTINGUISHABLE"
    TOO_FEW = "TOO_FEW"


@dataclass(frozen=True)
class Difference:
    """A group against the baseline."""

    n: int
    """Number of pairs."""
    mean: float | None
    """Of the differences; None without pairs."""
    sd: float | None
    """Of the differences; None below two pairs."""
    interval: Interval | None
    """Of the mean difference, for this group alone; None below two pairs."""
    p: float | None
    """Uncorrected; None where no difference could be significant."""
    adjusted_p: float | None
    """Corrected by Holm; None as `p`."""
    equivalence_p: float | None
    """Of two one-sided tests, corrected by Holm; None without a margin or below two pairs."""
    verdict: Verdict
    """What was found."""
    needed: int | None
    """Pairs that show a difference of the margin's size; None if unknown or none suffice."""
    needed_low: int | None
    """The low end of the interval of `needed`, as few pairs tell sd roughly."""
    needed_high: int | None
    """The high end; None if unknown or none suffice."""
    least: int
    """Pairs with which a difference can be significant, whatever the other groups show."""
    skewed: bool
    """The differences are so skewed that the interval covers less than it says."""


@dataclass(frozen=True)
class GroupAnswer:
    """One group."""

    n: int
    """Number of values."""
    mean: float | None
    """None without values."""
    sd: float | None
    """None below two values."""
    interval: Interval | None
    """Of the mean; None below two values."""
    method: Method
    """How the interval was made."""
    skewed: bool
    """The values are so skewed that the interval covers less than it says."""
    difference: Difference | None
    """To the baseline; None for the baseline, and without one."""


@dataclass(frozen=True)
class Answer:
    """All groups, in the order of the question."""

    groups: Sequence[GroupAnswer]
    """One per group."""


def answer(question: Question) -> Answer:
    """Answer a question."""
    compared = [
        index for index, group in enumerate(question.groups) if group.differences is not None
    ]
    differences = _differences([question.groups[i].differences or () for i in compared], question)
    by_index = dict(zip(compared, differences, strict=True))
    return Answer(
        [_group(group, by_index.get(i), question) for i, group in enumerate(question.groups)]
    )


def _group(group: GroupValues, difference: Difference | None, question: Question) -> GroupAnswer:
    values, level = group.values, 1 - question.alpha
    method, interval = Method.STUDENT_T, None
    if question.overlap:
        method = Method.CORRECTED_T
    elif len(values) >= BOOTSTRAP_FROM:
        method = Method.BOOTSTRAP_T
    if len(values) > 1:
        interval = (
            bootstrap_t_interval(values, level)
            if method is Method.BOOTSTRAP_T
            else t_interval(values, level, question.overlap)
        )
    return GroupAnswer(
        n=len(values),
        mean=_mean(values),
        sd=sample_sd(values) if len(values) > 1 else None,
        interval=interval,
        method=method,
        skewed=is_skewed(values, bootstrapped=method is Method.BOOTSTRAP_T),
        difference=difference,
    )


@dataclass(frozen=True)
class _Tests:
    """P values of all comparisons, in their order."""

    p: Sequence[float]
    adjusted_p: Sequence[float]
    possible: Sequence[bool]
    """Whether the values could have been such that the comparison is significant."""
    equivalence_p: Sequence[float | None]
    """Corrected."""


def _differences(groups: Sequence[Sequence[float]], question: Question) -> list[Difference]:
    tests = _test(groups, question)
    # What has no pairs is no comparison.
    family = max(1, sum(len(each) > 0 for each in groups))
    least = 2 if question.overlap else least_differences(question.alpha / family)
    results = []
    for index, values in enumerate(groups):
        enough, possible = len(values) > 1, tests.possible[index]
        sd = sample_sd(values) if enough else None
        needed = needed_low = needed_high = None
        # An sd of 0 says nothing of how many pairs it takes.
        if question.margin is not None and sd:
            low, high = sd_interval(sd, len(values))
            needed, needed_low, needed_high = (
                pairs_needed(
                    each,
                    difference=question.margin,
                    alpha=question.alpha / family,
                    least=least,
                    overlap=question.overlap,
                )
                for each in (sd, low, high)
            )
        results.append(
            Difference(
                n=len(values),
                mean=_mean(values),
                sd=sd,
                interval=(
                    t_interval(values, 1 - question.alpha, question.overlap) if enough else None
                ),
                p=tests.p[index] if possible else None,
                adjusted_p=tests.adjusted_p[index] if possible else None,
                equivalence_p=tests.equivalence_p[index],
                verdict=_verdict(index, values, tests, question),
                needed=needed,
                needed_low=needed_low,
                needed_high=needed_high,
                least=least,
                skewed=is_skewed(values),
            )
        )
    return results


def _test(groups: Sequence[Sequence[float]], question: Question) -> _Tests:
    tested = [index for index, values in enumerate(groups) if values]
    p, smallest = [1.0] * len(groups), [1.0] * len(groups)
    equivalence: list[float | None] = [None] * len(groups)
    for index in tested:
        values = groups[index]
        if question.overlap:
            # Signs of correlated differences are not exchangeable.
            if len(values) > 1:
                p[index] = corrected_t_test(values, question.overlap)
                smallest[index] = 0.0
        else:
            p[index], smallest[index] = sign_flip_test(values), smallest_p(len(values))
    if question.margin is not None:
        own = [
            equivalence_test(groups[i], question.margin, question.overlap)
            if len(groups[i]) > 1
            else 1.0
            for i in tested
        ]
        for index, adjusted in zip(tested, holm(own), strict=True):
            equivalence[index] = adjusted if len(groups[index]) > 1 else None
    adjusted_p, best = [1.0] * len(groups), [1.0] * len(groups)
    for index, ours, possible in zip(
        tested, holm([p[i] for i in tested]), holm([smallest[i] for i in tested]), strict=True
    ):
        adjusted_p[index], best[index] = ours, possible
    return _Tests(p, adjusted_p, [each <= question.alpha for each in best], equivalence)


def _verdict(index: int, values: Sequence[float], tests: _Tests, question: Question) -> Verdict:
    equivalence_p = tests.equivalence_p[index]
    if equivalence_p is not None and equivalence_p <= question.alpha:
        return Verdict.EQUIVALENT
    if not tests.possible[index]:
        return Verdict.TOO_FEW
    if tests.adjusted_p[index] > question.alpha:
        return Verdict.NOT_DISTINGUISHABLE
    is_higher = float(np.mean(values)) > 0
    return Verdict.BETTER if is_higher == question.higher_is_better else Verdict.WORSE


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
