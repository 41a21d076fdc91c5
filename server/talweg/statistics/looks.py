"""A look at open comparisons: which of them are decided, and when the next look is."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from talweg.statistics.equivalence import equivalence_test
from talweg.statistics.intervals import standard_error
from talweg.statistics.resampled_t import corrected_t_test
from talweg.statistics.sequential import (
    FUTILE_BY_ESTIMATE,
    FUTILE_BY_MARGIN,
    Design,
    Levels,
    levels,
    power_by_drift,
    power_by_estimate,
    power_of_equivalence,
    schedule,
)
from talweg.statistics.sign_flip import sign_flip_test
from talweg.statistics.verdicts import Verdict


class Why(StrEnum):
    """Why a comparison goes on or has ended; names of the API."""

    OPEN = "OPEN"
    DIFFERENCE = "DIFFERENCE"
    EQUIVALENCE = "EQUIVALENCE"
    FUTILITY = "FUTILITY"
    MOST_SEEDS = "MOST_SEEDS"
    NO_PAIRS = "NO_PAIRS"


@dataclass(frozen=True)
class OpenComparison:
    """A comparison that is not decided."""

    differences: Sequence[float]
    """To the baseline, one a pair, those of earlier looks first."""
    looks: Sequence[int] = ()
    """Numbers of pairs at earlier looks."""


@dataclass(frozen=True)
class LookQuestion:
    """What is asked at a look."""

    comparisons: Sequence[OpenComparison]
    """Those that are not decided."""
    num_seeds: int
    """Seeds that were run for each; 0 before the first."""
    max_seeds: int
    """Seeds at the last look."""
    error: float
    """Of each comparison: its share of that of all."""
    is_last: bool = False
    """No more seeds can come."""
    higher_is_better: bool = False
    """Whether a positive difference is better."""
    margin: float | None = None
    """A difference below it does not matter, > 0; None if no margin was named."""
    overlap: float = 0.0
    """As for `standard_error`."""

    @classmethod
    def from_json(cls, line: bytes) -> "LookQuestion":
        """Read a question as the server writes it."""
        content = json.loads(line)
        comparisons = [OpenComparison(**each) for each in content.pop("comparisons")]
        return cls(comparisons=comparisons, **content)


@dataclass(frozen=True)
class Look:
    """What a look has found about a comparison."""

    why: Why
    """Why it goes on or has ended."""
    verdict: Verdict | None
    """None while it is open."""
    pairs: int
    """Number of pairs."""
    p: float | None = None
    """Two-sided; None where nothing new was seen."""
    level: float | None = None
    """`p` up to it shows a difference; None where no p could."""
    equivalence_p: float | None = None
    """Of two one-sided tests; None without a margin."""
    equivalence_level: float | None = None
    """`equivalence_p` up to it shows an equivalence."""
    power: float | None = None
    """The probability that more seeds decide it; None at the last look."""


@dataclass(frozen=True)
class LookAnswer:
    """All comparisons, in the order of the question."""

    looks: Sequence[Look]
    """One per comparison."""
    next_seeds: int
    """Seeds at the next look."""


def take_look(question: LookQuestion) -> LookAnswer:
    """Decide what can be decided."""
    if not question.num_seeds:
        looks = [Look(Why.OPEN, None, 0) for _ in question.comparisons]
    else:
        looks = [_look(each, question) for each in question.comparisons]
    numbers = schedule(question.max_seeds, question.error)
    following = next((each for each in numbers if each > question.num_seeds), question.max_seeds)
    return LookAnswer(looks, following)


def _look(comparison: OpenComparison, question: LookQuestion) -> Look:
    values, earlier = comparison.differences, list(comparison.looks)
    is_last = question.is_last or question.num_seeds >= question.max_seeds
    if not values:
        # More seeds of settings that never give a result would show nothing.
        return Look(Why.NO_PAIRS, Verdict.TOO_FEW, 0)
    if len(values) < 2 or (earlier and len(values) <= earlier[-1]):
        if is_last:
            return Look(Why.MOST_SEEDS, Verdict.NOT_DISTINGUISHABLE, len(values))
        return Look(Why.OPEN, None, len(values))
    design = Design(question.max_seeds, question.error, question.overlap)
    found = levels(design, [*earlier, len(values)], is_last=is_last)
    p = corrected_t_test(values, question.overlap) if question.overlap else sign_flip_test(values)
    equivalence_p = None
    if question.margin is not None:
        equivalence_p = equivalence_test(values, question.margin, question.overlap)
    power = None if is_last else _power(values, p, found, design, question)
    why, verdict = _decide(values, p, equivalence_p, found, power, question)
    return Look(
        why,
        verdict,
        len(values),
        p,
        found.difference,
        equivalence_p,
        None if equivalence_p is None else found.equivalence,
        None if power is None else power.likeliest,
    )


@dataclass(frozen=True)
class _Power:
    """How likely more seeds decide a comparison."""

    by_estimate: float
    """Show a difference, if what was seen is true."""
    by_margin: float | None
    """Show a difference of the margin, or an equivalence; None without a margin."""

    @property
    def is_futile(self) -> bool:
        return self.by_estimate < FUTILE_BY_ESTIMATE and (
            self.by_margin is None or self.by_margin < FUTILE_BY_MARGIN
        )

    @property
    def likeliest(self) -> float:
        return max(self.by_estimate, self.by_margin or 0.0)


def _power(
    values: Sequence[float], p: float, found: Levels, design: Design, question: LookQuestion
) -> _Power:
    time = design.time(len(values))
    if time >= 1:
        return _Power(0.0, None)
    by_estimate = float(power_by_estimate(p, found.last_difference, time))
    if question.margin is None:
        return _Power(by_estimate, None)
    error = standard_error(values, question.overlap) * float(np.sqrt(time))
    if error == 0:
        # Without noise nothing is unlikely.
        return _Power(by_estimate, 1.0)
    margin, mean = question.margin / error, float(np.mean(values)) / error
    return _Power(
        by_estimate,
        max(
            float(power_by_drift(p, margin, found.last_difference, time)),
            float(power_of_equivalence(mean, margin, found.last_equivalence, time)),
        ),
    )


def _decide(
    values: Sequence[float],
    p: float,
    equivalence_p: float | None,
    found: Levels,
    power: _Power | None,
    question: LookQuestion,
) -> tuple[Why, Verdict | None]:
    # Better or worse by less than the margin counts as equivalent, as in all answers.
    if equivalence_p is not None and equivalence_p <= found.equivalence:
        return Why.EQUIVALENCE, Verdict.EQUIVALENT
    if found.difference is not None and p <= found.difference:
        is_better = (float(np.mean(values)) > 0) == question.higher_is_better
        return Why.DIFFERENCE, Verdict.BETTER if is_better else Verdict.WORSE
    if power is None:
        return Why.MOST_SEEDS, (
            Verdict.TOO_FEW if found.difference is None else Verdict.NOT_DISTINGUISHABLE
        )
    if power.is_futile:
        return Why.FUTILITY, Verdict.NOT_DISTINGUISHABLE
    return Why.OPEN, None
