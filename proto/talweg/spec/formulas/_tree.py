"""What a formula may say, and the tree that it becomes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

INPUTS = ("pred", "target")
"""The tensors that a formula is about."""

MAX_NODES = 200
"""Numbers, names, operators and calls in a formula at the most."""
MAX_DEPTH = 20
"""Operators and calls within each other at the most."""
MAX_NUMBER = 1e30
"""Largest number, far below where float32 ends."""
MAX_EXPONENT = 100.0
"""Largest exponent."""

NUMBER, MASK = "a number", "a mask"
"""What a term gives for each element: masks are true or false, as comparisons give them."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or the value of a parameter."""

    value: float
    """The number."""
    column: int
    """Where it stands in the formula, counted from 1."""


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor."""

    name: str
    """pred or target."""
    column: int
    """Where it stands in the formula, counted from 1."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A function or an operator, over terms."""

    name: str
    """A name of `FUNCTIONS` or `OPERATORS`."""
    terms: "tuple[Term, ...]"
    """What it is applied to."""
    column: int
    """Where it stands in the formula, counted from 1."""
    dimension: int | None = None
    """The one dimension that a reduction is taken over; all where None."""


Term: TypeAlias = Number | Input | Operation
"""A formula or a part of one."""


@dataclass(frozen=True, slots=True)
class Function:
    """What a function or operator takes and gives; masks count as 1 and 0 where numbers go."""

    arguments: tuple[str, ...]
    """A name for each."""
    meaning: str = ""
    """In words, where the name does not say it."""
    masks: tuple[int, ...] = ()
    """Which of the arguments are masks."""
    gives: str = NUMBER
    """Whether it gives numbers or a mask."""
    reduces: bool = False
    """It makes one number of all elements, or of those along the dimension after its arguments."""


def _reduction(meaning: str) -> Function:
    return Function(("x",), f"{meaning}, or of those along a dimension: name(x, 1)", reduces=True)


FUNCTIONS: Mapping[str, Function] = {
    **{name: Function(("x",)) for name in ("abs", "sign", "square", "sqrt")},
    **{name: Function(("x",)) for name in ("exp", "expm1", "log", "log1p")},
    **{name: Function(("x",)) for name in ("sin", "cos", "atan", "sinh", "cosh", "tanh")},
    "erf": Function(("x",), "the error function"),
    "sigmoid": Function(("x",), "1 / (1 + exp(-x))"),
    "log_sigmoid": Function(("x",), "log(sigmoid(x)), without overflow"),
    "softplus": Function(("x",), "log(1 + exp(x)), without overflow"),
    "relu": Function(("x",), "x where x > 0, else 0"),
    "minimum": Function(("a", "b"), "the smaller of two, element by element"),
    "maximum": Function(("a", "b"), "the larger of two, element by element"),
    "clamp": Function(("x", "low", "high"), "x, moved into the interval"),
    "where": Function(("mask", "a", "b"), "a where the mask is true, else b", masks=(0,)),
    "mean": _reduction("the mean of all elements"),
    "sum": _reduction("the sum of all elements"),
    "amax": _reduction("the largest of all elements"),
    "amin": _reduction("the smallest of all elements"),
}
"""The functions that a formula may call."""

_TWO = ("a", "b")
OPERATORS: Mapping[str, Function] = {
    **{name: Function(_TWO) for name in ("+", "-", "*", "/", "**")},
    **{name: Function(_TWO, gives=MASK) for name in (">", ">=", "<", "<=", "==", "!=")},
    **{name: Function(_TWO, masks=(0, 1), gives=MASK) for name in ("&", "|")},
    "~": Function(("x",), masks=(0,), gives=MASK),
    "negative": Function(("x",)),
}
"""The operators, by how they are written; `negative` is the minus before a single term."""


def gives(term: Term) -> str:
    """Tell whether a term gives numbers or a mask."""
    if not isinstance(term, Operation):
        return NUMBER
    return (FUNCTIONS.get(term.name) or OPERATORS[term.name]).gives


def uses(term: Term, name: str) -> bool:
    """Tell whether an input occurs in a term."""
    if isinstance(term, Operation):
        return any(uses(part, name) for part in term.terms)
    return isinstance(term, Input) and term.name == name
