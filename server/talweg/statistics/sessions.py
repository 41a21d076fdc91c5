"""Decisions of a session: proposals that come one by one, and share one error budget.

Each proposal has a share of the budget by its place in the session alone, so nothing depends on
who asks when. A proposal that was found to differ passes the level at which it was held on to the
one after it (online fallback), which keeps the family-wise error under any dependence: where all
true nulls are kept in mind, no mass of the budget is ever used by two of them.

Reference: Tian and Ramdas 2021, Online control of the familywise error rate,
https://doi.org/10.1177/0962280220983381
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from talweg.statistics.resampled_t import corrected_t_test
from talweg.statistics.sign_flip import least_differences, sign_flip_test

MOST_PAIRS = 40
"""Pairs of the last look at a proposal that may get ever more; up to it p values are exact."""
# The first so many proposals share half of the budget.
_HALF = 10
# The first look takes most of a level; each further one a fifth of what is left.
_FIRST_LOOK = 0.8
_GROWTH = 1.5


class Decision(StrEnum):
    """What was decided about a proposal; names of the API."""

    KEEP = "KEEP"
    DISCARD = "DISCARD"
    NOT_DISTINGUISHABLE = "NOT_DISTINGUISHABLE"


@dataclass(frozen=True)
class Look:
    """A test of a proposal by so many pairs."""

    pairs: int
    """The number of pairs."""
    p: float
    """Of the difference, two-sided."""
    mean: float
    """Of the differences."""
    is_better: bool
    """The proposal is the better one, as far as it goes."""


@dataclass(frozen=True)
class Proposal:
    """What is known of one proposal."""

    differences: Sequence[float] = ()
    """Proposal minus baseline, by pair, in an order that was fixed before the values were known;
    infinite where one of them has no value though it has ended."""
    looks: Sequence[Look] = ()
    """That have been taken."""
    is_planned: bool = False
    """The number of pairs was fixed before: one look is taken, once `is_complete`."""
    is_complete: bool = False
    """All planned pairs are there."""
    higher_is_better: bool = False
    """Whether a positive difference is better."""
    overlap: float = 0.0
    """Test samples per training sample, where pairs are splits of the same data; else 0."""


@dataclass(frozen=True)
class SessionQuestion:
    """A session."""

    error: float
    """The budget."""
    proposals: Sequence[Proposal]
    """In the order in which they were registered."""

    @classmethod
    def from_json(cls, line: bytes) -> "SessionQuestion":
        """Read a question as the server writes it."""
        content = json.loads(line)
        proposals = [
            Proposal(**{**each, "looks": [Look(**look) for look in each["looks"]]})
            for each in content["proposals"]
        ]
        return cls(content["error"], proposals)


@dataclass(frozen=True)
class Decided:
    """What was decided about one proposal."""

    decision: Decision
    """In a word."""
    share: float
    """Its share of the budget."""
    level: float
    """At which it is held: its share, and what was passed on to it."""
    looks: Sequence[Look]
    """All looks, those that were taken now included."""
    levels: Sequence[float]
    """Of each look."""
    next_pairs: int
    """At which the next look is taken; 0 where none follows."""
    by: int
    """The look that decided; 0 where none did, else from 1."""


@dataclass(frozen=True)
class SessionDecisions:
    """All proposals, and what is left of the budget."""

    proposals: Sequence[Decided] = field(default_factory=list)
    """In the order of the question."""
    spent: float = 0.0
    """Held by proposals that were not found to differ, or passed on to such."""
    left: float = 0.0
    """For proposals to come."""
    next_level: float = 0.0
    """At which the next one will be held."""
    next_least_pairs: int = 0
    """From which it can be decided."""


def share(place: int) -> float:
    """Return the share of the budget of the proposal at a place, from 1.

    c / ((k + c - 1)(k + c)) with c = 10: all shares add up to 1, the first ten to a half, and the
    first hundred to ten elevenths.
    """
    return _HALF / ((place + _HALF - 1) * (place + _HALF))


def decide(question: SessionQuestion) -> SessionDecisions:
    """Take the looks that are due, and decide all proposals from all looks."""
    decided: list[Decided] = []
    passed_on = 0.0
    for place, proposal in enumerate(question.proposals, start=1):
        own = question.error * share(place)
        found = _decided(proposal, own, own + passed_on)
        passed_on = 0.0 if found.decision is Decision.NOT_DISTINGUISHABLE else found.level
        decided.append(found)
    place = len(decided) + 1
    left = question.error * _HALF / (place + _HALF - 1) + passed_on
    next_level = question.error * share(place) + passed_on
    return SessionDecisions(
        proposals=decided,
        spent=question.error - left,
        left=left,
        next_level=next_level,
        next_least_pairs=least_differences(next_level * _FIRST_LOOK),
    )


def fraction(look: int) -> float:
    """Return the part of a level that a look takes, from 1: all of them add up to 1."""
    return float(_FIRST_LOOK * (1 - _FIRST_LOOK) ** (look - 1))


def _decided(proposal: Proposal, own: float, level: float) -> Decided:
    looks = [*proposal.looks]
    following = _following(proposal, looks, own)
    while following and following <= len(proposal.differences):
        looks.append(_look(proposal, following))
        following = _following(proposal, looks, own)
    levels = [level * fraction(number) for number in range(1, len(looks) + 1)]
    by = next(
        (
            number
            for number, (each, of_look) in enumerate(zip(looks, levels, strict=True), start=1)
            if each.p <= of_look
        ),
        0,
    )
    decision = Decision.NOT_DISTINGUISHABLE
    if by:
        decision = Decision.KEEP if looks[by - 1].is_better else Decision.DISCARD
    return Decided(decision, own, level, looks, levels, 0 if by else following, by)


def _following(proposal: Proposal, looks: Sequence[Look], own: float) -> int:
    """Return at how many pairs the next look is taken; 0 where none is.

    By the proposal's own share, never by what others pass on: that would depend on their values.
    """
    last = looks[-1].pairs if looks else 0
    if proposal.is_planned:
        num = len(proposal.differences)
        return num if proposal.is_complete and num > last else 0
    if not looks:
        return min(least_differences(own * _FIRST_LOOK), MOST_PAIRS)
    return min(math.ceil(_GROWTH * last), MOST_PAIRS) if last < MOST_PAIRS else 0


def _look(proposal: Proposal, num: int) -> Look:
    values = _all_finite(proposal.differences[:num])
    if proposal.overlap:
        # Few differences may be nearly equal by chance, as shares on few samples are: none shows
        # more than that all have one sign.
        least = 2.0 ** (1 - num)
        p = max(corrected_t_test(values, proposal.overlap), least) if num > 1 else 1.0
    else:
        p = sign_flip_test(values, exact_to=MOST_PAIRS)
    mean = float(np.mean(values))
    return Look(num, p, mean, (mean > 0) == proposal.higher_is_better and mean != 0)


def _all_finite(differences: Sequence[float]) -> list[float]:
    """Replace what is infinite by the largest that there is, on either side alike."""
    finite = [abs(each) for each in differences if math.isfinite(each)]
    largest = max(finite, default=1.0) or 1.0
    return [each if math.isfinite(each) else math.copysign(largest, each) for each in differences]
