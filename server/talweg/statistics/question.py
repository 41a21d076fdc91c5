"""What the server asks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class GroupValues:
    """One group of a comparison."""

    values: Sequence[float]
    """One value per independent unit, such as a seed."""
    differences: Sequence[float] | None = None
    """To the baseline, one per unit that both have; None for the baseline, and without one."""


@dataclass(frozen=True)
class Question:
    """Groups, and what they are compared by."""

    groups: Sequence[GroupValues]
    """In any order."""
    higher_is_better: bool = False
    """Whether a positive difference is better."""
    margin: float | None = None
    """A difference below it does not matter, > 0; None if no margin was named."""
    overlap: float = 0.0
    """Test samples per training sample, where the units are splits of the same data; else 0."""
    alpha: float = 0.05
    """The error of a wrong verdict, over all groups together; intervals are at 1 - alpha."""

    @classmethod
    def from_json(cls, line: bytes) -> "Question":
        """Read a question as the server writes it."""
        content = json.loads(line)
        groups = [GroupValues(**group) for group in content.pop("groups")]
        return cls(groups=groups, **content)
