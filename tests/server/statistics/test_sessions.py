"""Decisions of a session: one budget over proposals that come one by one."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from talweg.server.services.sessions.pairing import difference_of
from talweg.statistics.resampled_t import corrected_t_test
from talweg.statistics.sessions import (
    MOST_PAIRS,
    Decision,
    Look,
    Proposal,
    SessionQuestion,
    decide,
    fraction,
    share,
)

BETTER = tuple(-1.0 - index / 100 for index in range(12))
WORSE = tuple(1.0 + index / 100 for index in range(12))
EQUAL = tuple((-1.0) ** index * (1 + index / 100) for index in range(12))


def decisions(*differences: Sequence[float]) -> list[Decision]:
    found = decide(SessionQuestion(0.05, [Proposal(each) for each in differences]))
    return [each.decision for each in found.proposals]


def test_all_shares_and_all_looks_add_up_to_the_budget() -> None:
    assert sum(map(share, range(1, 11))) == pytest.approx(0.5)
    assert sum(map(share, range(1, 200_000))) == pytest.approx(1.0, abs=1e-4)
    assert sum(map(fraction, range(1, 30))) == pytest.approx(1.0)


def test_the_p_of_a_look_is_exact_up_to_the_last_one() -> None:
    all_at_once = Proposal([-1.0] * MOST_PAIRS, is_planned=True, is_complete=True)
    found = decide(SessionQuestion(0.05, [all_at_once]))
    # Below what random choices could tell.
    assert found.proposals[0].looks[0].p == 2.0 ** (1 - MOST_PAIRS)


def test_what_was_found_passes_its_level_on_and_what_was_not_holds_its_share() -> None:
    found = decide(SessionQuestion(0.05, [Proposal(BETTER), Proposal(EQUAL), Proposal(WORSE)]))
    first, second, third = found.proposals
    assert decisions(BETTER, EQUAL, WORSE) == ["KEEP", "NOT_DISTINGUISHABLE", "DISCARD"]
    assert second.level == pytest.approx(second.share + first.level)
    assert third.level == third.share
    assert found.next_level == pytest.approx(0.05 * share(4) + third.level)
    # The second proposal has used up its own share and that of the first.
    assert found.spent == pytest.approx(first.share + second.share)
    assert found.spent + found.left == pytest.approx(0.05)


def test_looks_are_taken_at_fixed_numbers_of_pairs_whenever_one_asks() -> None:
    differences = (*EQUAL[:9], *(-5.0 - index / 7 for index in range(12)))
    late = decide(SessionQuestion(0.05, [Proposal(differences)])).proposals[0]
    assert [look.pairs for look in late.looks] == [10, 15]
    looks: Sequence[Look] = ()
    for num in range(len(differences) + 1):
        asked = Proposal(differences[:num], looks)
        early = decide(SessionQuestion(0.05, [asked])).proposals[0]
        # What was looked at is not looked at again, nor with other pairs.
        assert [*early.looks][: len(looks)] == [*looks]
        looks = early.looks
    assert early == late


def test_a_later_find_raises_what_follows_and_never_takes_back() -> None:
    weak = (*(-1.0 - index / 100 for index in range(10)), 1.0, 1.5)
    alone = decide(
        SessionQuestion(0.05, [Proposal(), Proposal(weak, is_planned=True, is_complete=True)])
    )
    raised = decide(
        SessionQuestion(
            0.05, [Proposal(BETTER), Proposal(weak, is_planned=True, is_complete=True)]
        )
    )
    assert alone.proposals[1].looks == raised.proposals[1].looks
    assert alone.proposals[1].level < raised.proposals[1].level


def test_what_has_no_value_counts_as_the_worst_on_either_side() -> None:
    assert decisions(BETTER) == ["KEEP"]
    assert decisions([*BETTER[:6], *[math.inf] * 6]) == ["NOT_DISTINGUISHABLE"]
    assert decisions([math.inf] * 12) == ["DISCARD"]
    assert decisions([-math.inf] * 12) == ["KEEP"]


def test_splits_whose_differences_are_nearly_equal_show_no_more_than_their_signs() -> None:
    third = 1 / 30
    for differences in ([third, third + 1e-16], [third, third + 1e-9], [third, third]):
        for is_planned in (True, False):
            asked = Proposal(differences, (), is_planned, is_complete=True, overlap=0.25)
            (found,) = decide(SessionQuestion(0.05, [asked])).proposals
            assert found.decision == "NOT_DISTINGUISHABLE"
            assert all(look.p >= 0.5 for look in found.looks)
    assert corrected_t_test([third, third + 1e-16], 0.25) == 0.5
    # As many as sign flips take, no fewer: the first proposal is held at 0.0045.
    many = Proposal([-third] * 10, overlap=0.25)
    assert decide(SessionQuestion(0.05, [many])).proposals[0].looks[0].pairs == 10


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_equal_divergence_of_both_is_no_difference(rate: float) -> None:
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(300):
        values = generator.normal(size=(2, 24))
        is_lost = generator.random((2, 24)) < rate
        pairs = [
            [None if lost else float(value) for value, lost in zip(*each, strict=True)]
            for each in zip(values.T, is_lost.T, strict=True)
        ]
        differences = [difference_of(ours, theirs, is_high=False) for ours, theirs in pairs]
        found += decisions(differences) != ["NOT_DISTINGUISHABLE"]
    # 1.4 are expected at the level of the first proposal, and 9 to 27 with one side alone.
    assert found <= 6


def test_a_planned_number_of_pairs_has_one_look_and_more_pairs_another() -> None:
    def asked(differences: Sequence[float], looks: Sequence[Look], is_complete: bool) -> list[int]:
        proposal = Proposal(differences, looks, is_planned=True, is_complete=is_complete)
        (found,) = decide(SessionQuestion(0.05, [proposal])).proposals
        return [look.pairs for look in found.looks]

    assert asked(EQUAL, (), False) == []
    looks = (
        decide(SessionQuestion(0.05, [Proposal(EQUAL, is_planned=True, is_complete=True)]))
        .proposals[0]
        .looks
    )
    assert asked(EQUAL, looks, True) == [12]
    assert asked((*EQUAL, 1.0), looks, True) == [12, 13]


def test_an_endless_session_of_nothing_spends_no_more_than_the_budget() -> None:
    found = decide(SessionQuestion(0.05, [Proposal(EQUAL)] * 1_000))
    assert found.spent < 0.05
    assert found.next_level > 0
