"""The tables of advice, one per task.

The rank of a loss follows from its points, summed over the rows whose condition holds. A row with
more than 0 points is a reason, any other a caution. A loss with a sum of 0 or less is not
recommended. At equal points the order of the table decides.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from talweg.spec.advice._conditions import ALWAYS, Facts, When
from talweg.v1.options_pb2 import TaskKind

Form = str | Mapping[str, Any]
"""A loss in its JSON form."""
Builder = Callable[[Facts], Form]
"""A function from facts to a loss."""
Template = Form | Builder
"""A loss, or a function from facts to one."""

ASKED = 200
"""Points of a loss that a fact asks for: no other does."""
NEVER = -1000
"""Points of a loss that is not an option."""


@dataclass(frozen=True)
class Row:
    """A reason for or against a loss."""

    loss: str
    """Its name in the table."""
    points: int
    """The weight of the reason; 0 or less makes it a caution."""
    why: str
    """A sentence without its full stop; ``{imbalance}`` is replaced by the value of the fact. May
    be empty."""
    when: When = ALWAYS
    """When it applies."""


@dataclass(frozen=True)
class Note:
    """Advice other than the choice of a loss."""

    text: str
    """Sentences, with placeholders as in a row."""
    when: When = ALWAYS
    """When it applies."""


@dataclass(frozen=True)
class Bar:
    """A reason why no job can train as the facts ask; its losses are for `evaluate` only."""

    text: str
    """A clause without its full stop."""
    when: When
    """When it holds."""
    loss: str = ""
    """A name in the table; empty for all of them."""


def _nothing(_: Facts) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Table:
    """The advice on one task."""

    task: TaskKind.ValueType
    """The task."""
    losses: Mapping[str, Template]
    """The losses that can be recommended, by a name local to the table."""
    rows: tuple[Row, ...]
    """The reasons."""
    notes: tuple[Note, ...] = ()
    """The notes."""
    settings: Callable[[Facts], Mapping[str, Any]] = _nothing
    """Parameters of the task that follow from facts, in their JSON form."""
    bars: tuple[Bar, ...] = ()
    """Facts that no job supports."""
