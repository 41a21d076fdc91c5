"""Facts that were measured on data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Measured:
    """One measurement on data."""

    how: str
    """The finding with its values, as text."""
    fact: str = ""
    """The field of `ProblemFacts` that it sets; '' for none."""
    value: Any = None
    """The fact in its JSON form."""
    yields_to: tuple[str, ...] = ()
    """Further facts that override it when the user gives them."""


def facts_measured(
    measurements: Iterable[Measured], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Measured]]:
    """Override measured facts by given ones.

    Args:
        measurements: The measurements.
        overrides: Facts in their JSON form from the user.

    Returns:
        All facts in their JSON form, and the measurements that were overridden.
    """
    facts: dict[str, Any] = {}
    gave_way: list[Measured] = []
    for each in measurements:
        if not each.fact:
            continue
        if any(name in overrides for name in (each.fact, *each.yields_to)):
            gave_way.append(each)
        else:
            facts[each.fact] = each.value
    return {**facts, **overrides}, gave_way
