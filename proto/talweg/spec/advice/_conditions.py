"""Conditions on facts, which know the facts that they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]
"""Facts in their JSON form; unknown facts and false flags are absent."""


@dataclass(frozen=True)
class When:
    """A condition on facts; `&`, `|` and `~` make new ones."""

    reads: frozenset[str]
    """The facts that it depends on."""
    holds: Callable[[Facts], bool]
    """Whether it holds."""

    def __and__(self, other: "When") -> "When":
        """Return a condition: both hold."""
        return When(self.reads | other.reads, lambda f: self.holds(f) and other.holds(f))

    def __or__(self, other: "When") -> "When":
        """Return a condition: one of them holds."""
        return When(self.reads | other.reads, lambda f: self.holds(f) or other.holds(f))

    def __invert__(self) -> "When":
        """Return the negation."""
        return When(self.reads, lambda f: not self.holds(f))


ALWAYS = When(frozenset(), lambda _: True)
"""Always holds."""


def given(name: str) -> When:
    """Return a condition: the fact is known; a flag is true."""
    return When(frozenset((name,)), lambda f: name in f)


def is_(name: str, *values: str) -> When:
    """Return a condition: a choice is one of these values; false if it is unknown."""
    return When(frozenset((name,)), lambda f: f.get(name) in values)


def at_least(name: str, bound: float) -> When:
    """Return a condition: a number is known and at least the bound."""
    return When(frozenset((name,)), lambda f: name in f and f[name] >= bound)


def above(name: str, bound: float) -> When:
    """Return a condition: a number is known and more than the bound."""
    return When(frozenset((name,)), lambda f: name in f and f[name] > bound)


def below(name: str, bound: float) -> When:
    """Return a condition: a number is known and less than the bound."""
    return When(frozenset((name,)), lambda f: name in f and f[name] < bound)


def other_than(name: str, value: float) -> When:
    """Return a condition: a number is known and is not this one."""
    return When(frozenset((name,)), lambda f: name in f and f[name] != value)


def num(name: str, least: int, most: int | None = None) -> When:
    """Return a condition: a list has a number of values in this range."""
    return When(
        frozenset((name,)),
        lambda f: least <= len(f.get(name, ())) and (most is None or len(f[name]) <= most),
    )
