"""From a checked formula to tensor operations. Nothing here evaluates text."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.spec.formulas import (
    FUNCTIONS,
    MASK,
    MAX_NUMBER,
    OPERATORS,
    Input,
    Number,
    Operation,
    Term,
    gives,
)
from talweg.worker.errors import UserSpecError

Formula: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""pred and target, of one shape and floating dtype, to the formula's result."""
Watch: TypeAlias = Callable[[Term, Tensor], None]
"""Told of every input and operation, and what it gave there."""

_Step: TypeAlias = Formula | float
"""A part of a formula; numbers joined to each other are one number."""


def compiled(term: Term, watch: Watch | None = None) -> Formula:
    """Make a function of a formula's tree.

    Args:
        term: What `talweg.spec.formulas.parse` gives.
        watch: Told of every tensor on the way, the innermost first; each input is then a tensor
            of its own wherever it stands.

    Returns:
        The function; it raises UserSpecError where pred has no dimension of the number that a
        reduction names.

    Raises:
        UserSpecError: Numbers joined to each other give none, or a huge one.
    """
    step = _step(term, watch)
    assert not isinstance(step, float), "a formula without pred is refused by the spec"
    return step


def _step(term: Term, watch: Watch | None) -> _Step:
    if isinstance(term, Number):
        return float(term.value)
    if isinstance(term, Input):
        return _input(term, watch)
    steps = [_step(part, watch) for part in term.terms]
    numbers = [step for step in steps if isinstance(step, float)]
    if len(numbers) == len(steps):
        return _folded(term, numbers)
    return _operation(term, steps, watch)


def _input(term: Input, watch: Watch | None) -> Formula:
    is_pred = term.name == "pred"
    if watch is None:
        return lambda pred, target: pred if is_pred else target
    tell = watch

    def read(pred: Tensor, target: Tensor) -> Tensor:
        value = (pred if is_pred else target).clone()
        tell(term, value)
        return value

    return read


def _operation(term: Operation, steps: list[_Step], watch: Watch | None) -> Formula:
    apply = _applied(term)
    # As they are in float32 and float64 alike, and no kernel of its own on a GPU.
    keeps_numbers = term.name in _ARITHMETIC
    masks = (FUNCTIONS.get(term.name) or OPERATORS[term.name]).masks
    arguments = [
        step if isinstance(step, float) and keeps_numbers else _argument(part, step, i in masks)
        for i, (part, step) in enumerate(zip(term.terms, steps, strict=True))
    ]

    def run(pred: Tensor, target: Tensor) -> Tensor:
        values = [step if isinstance(step, float) else step(pred, target) for step in arguments]
        result = apply(*values)
        if watch is not None:
            watch(term, result)
        return result

    return run


def _argument(term: Term, step: _Step, wants_mask: bool) -> Formula:
    """Give an argument as a tensor of numbers, or of true and false where a mask is wanted."""
    if isinstance(step, float):
        number = step

        def constant(pred: Tensor, target: Tensor) -> Tensor:
            dtype = torch.bool if wants_mask else pred.dtype
            return torch.full((), number, dtype=dtype, device=pred.device)

        return constant
    if wants_mask or gives(term) != MASK:
        return step
    mask = step
    return lambda pred, target: mask(pred, target).to(pred.dtype)


def _folded(term: Operation, numbers: list[float]) -> float:
    masks = (FUNCTIONS.get(term.name) or OPERATORS[term.name]).masks
    tensors = [
        torch.tensor(number, dtype=torch.bool if index in masks else torch.float64)
        for index, number in enumerate(numbers)
    ]
    try:
        result = float(_applied(term)(*tensors))
    except UserSpecError as exc:
        raise UserSpecError(f"expression.formula: {exc}") from exc
    if not abs(result) <= MAX_NUMBER:
        raise UserSpecError(
            f"expression.formula: '{term.name}' at column {term.column} gives {result:g}, but "
            f"numbers go up to {MAX_NUMBER:g}"
        )
    return result


def _applied(term: Operation) -> Callable[..., Tensor]:
    name = term.name
    if name not in _REDUCTIONS:
        return _ARITHMETIC.get(name) or _FUNCTIONS[name]
    reduce = _REDUCTIONS[name]
    dimension = term.dimension
    if dimension is None:
        return lambda x: reduce(x, tuple(range(x.dim())), False)
    chosen = dimension

    def along(x: Tensor) -> Tensor:
        if not -x.dim() <= chosen < x.dim():
            raise UserSpecError(
                f"'{name}' at column {term.column} is along dimension {chosen}, "
                f"but what it is of has {x.dim()}, numbered from 0"
            )
        return reduce(x, (chosen,), True)

    return along


def _mean(x: Tensor, dimensions: tuple[int, ...], keep: bool) -> Tensor:
    return x.mean(dimensions, keepdim=keep) if dimensions else x


def _sum(x: Tensor, dimensions: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(dimensions, keepdim=keep) if dimensions else x


def _negative_log_sigmoid(x: Tensor) -> Tensor:
    # Softplus to the last digit; torch's own turns into a straight line at 20.
    return -F.logsigmoid(-x)


def _clamp(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    # Of one shape, since torch's gradient of it fails for an x smaller than its bounds.
    x, low, high = torch.broadcast_tensors(x, low, high)  # type: ignore[no-untyped-call]
    return torch.clamp(x, low, high)


# Any: numbers may stand in the place of tensors.
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Tensor]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "negative": torch.neg,
    "&": torch.logical_and,
    "|": torch.logical_or,
    "~": torch.logical_not,
    "abs": torch.abs,
    "sign": torch.sign,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": F.logsigmoid,
    "softplus": _negative_log_sigmoid,
    "relu": F.relu,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "clamp": _clamp,
    "where": torch.where,
}
_REDUCTIONS: Mapping[str, Callable[[Tensor, tuple[int, ...], bool], Tensor]] = {
    "mean": _mean,
    "sum": _sum,
    "amax": torch.amax,
    "amin": torch.amin,
}
IMPLEMENTED = frozenset([*_ARITHMETIC, *_FUNCTIONS, *_REDUCTIONS])
"""The functions and operators that have a tensor operation: all that the spec knows."""
