"""What a task's table of advice consists of.

A loss's place follows from its points: the sum over its rows whose condition holds. A row with
points above 0 is a reason, any other a caution. What has no points above 0 in sum is not
recommended, and at equal points the loss that the table names first comes first.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from talweg.spec.advice._conditions import ALWAYS, Facts, When
from talweg.v1.options_pb2 import TaskKind

Form = str | Mapping[str, Any]
"""A loss in its JSON form."""
Builder = Callable[[Facts], Form]
"""What makes a loss of the facts."""
Template = Form | Builder
"""A loss, or what makes it of the facts."""

ASKED = 200
"""Asked for by a fact: nothing else does it."""
NEVER = -1000
"""Not a choice at all."""


@dataclass(frozen=True)
class Row:
    """A reason for or against a loss."""

    loss: str
    """Its name in the table."""
    points: int
    """How much the reason weighs; a caution where it is 0 or less."""
    why: str
    """A sentence without its full stop, in which ``{imbalance}`` stands for the fact's value.
    Empty where there is nothing to say."""
    when: When = ALWAYS
    """When it speaks."""


@dataclass(frozen=True)
class Note:
    """What to know beside the choice of a loss."""

    text: str
    """Sentences, with facts' values as in a row."""
    when: When = ALWAYS
    """When to tell it."""


@dataclass(frozen=True)
class Bar:
    """Why no job can train as facts ask, so that losses are for `evaluate` alone."""

    text: str
    """A clause without its full stop."""
    when: When
    """When it holds."""
    loss: str = ""
    """A name of the table's; all of them where empty."""


def _nothing(_: Facts) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Table:
    """The advice on one task."""

    task: TaskKind.ValueType
    """The task."""
    losses: Mapping[str, Template]
    """The losses that can be recommended, by a name of the table's own."""
    rows: tuple[Row, ...]
    """The reasons."""
    notes: tuple[Note, ...] = ()
    """The notes."""
    settings: Callable[[Facts], Mapping[str, Any]] = _nothing
    """What facts say of the task's own parameters, in their JSON form."""
    bars: tuple[Bar, ...] = ()
    """What jobs cannot be asked for."""
