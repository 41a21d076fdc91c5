"""What a look at data tells of a problem."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One thing that was measured on data."""

    how: str
    """What was found, with its numbers, for people."""
    fact: str = ""
    """The field of `ProblemFacts` that it fills; '' where it fills none."""
    value: Any = None
    """The fact in its JSON form."""
    yields_to: tuple[str, ...] = ()
    """Facts that, where a person gives them, take its place beside the fact itself."""


def facts_measured(
    found: Iterable[Measured], given: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Measured]]:
    """Put what is given over what was measured.

    Args:
        found: What was measured.
        given: Facts in their JSON form that a person gave, who knows better.

    Returns:
        All facts in their JSON form, and what was measured and gave way to what is given.
    """
    facts: dict[str, Any] = {}
    gave_way: list[Measured] = []
    for each in found:
        if not each.fact:
            continue
        if any(name in given for name in (each.fact, *each.yields_to)):
            gave_way.append(each)
        else:
            facts[each.fact] = each.value
    return {**facts, **given}, gave_way
