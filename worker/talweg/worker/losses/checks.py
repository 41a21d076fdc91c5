"""Refusals: what an input must be, and the sentence that names value and bound where it is not.

The first half looks at names, shapes and dtypes alone and costs next to nothing. The second half
reads the numbers themselves: a pass over the data, and on a GPU a wait for it.
"""

from collections.abc import Collection, Mapping
from typing import NoReturn

import torch
from torch import Tensor

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def refuse_names(
    inputs: Collection[str], required: Collection[str], optional: Collection[str] = ()
) -> NoReturn:
    """Say which inputs are missing or unknown.

    Args:
        inputs: The names that were given.
        required: The names that must be there.
        optional: The names that may be there.

    Raises:
        ValueError: Always, naming the inputs.
    """
    known = [*required, *optional]
    missing = [name for name in required if name not in inputs]
    unknown = [name for name in inputs if name not in known]
    faults = [f"missing {', '.join(missing)}"] if missing else []
    faults += [f"unknown {', '.join(unknown)}"] if unknown else []
    raise ValueError(f"inputs must be {', '.join(known)}, but found {'; '.join(faults)}")


def require_names(
    inputs: Mapping[str, Tensor], required: Collection[str], optional: Collection[str] = ()
) -> None:
    """Refuse missing and unknown inputs.

    Raises:
        ValueError: A name is missing or unknown.
    """
    for name in required:
        if name not in inputs:
            refuse_names(inputs, required, optional)
    if len(inputs) > len(required):
        for name in inputs:
            if name not in required and name not in optional:
                refuse_names(inputs, required, optional)


def require_floats(name: str, tensor: Tensor, hint: str = "") -> None:
    """Refuse a tensor that does not hold real floating point numbers.

    Raises:
        ValueError: The dtype is another.
    """
    if tensor.dtype not in _FLOATS:
        raise ValueError(f"{name} must be floating point, but got {tensor.dtype}{hint}")


def require_integers(name: str, tensor: Tensor, hint: str = "") -> None:
    """Refuse a tensor that does not hold integers; bool does not count as one.

    Raises:
        ValueError: The dtype is another.
    """
    dtype = tensor.dtype
    if dtype.is_floating_point or dtype.is_complex or dtype is torch.bool:
        raise ValueError(f"{name} must hold integers, but got {dtype}{hint}")


def require_shape(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    """Refuse a tensor of another shape: broadcasting would hide the mistake.

    Args:
        name: The input's name.
        tensor: The input.
        shape: The only shape allowed.
        meaning: Where that shape comes from, such as "the shape of pred".

    Raises:
        ValueError: The shape is another.
    """
    if tensor.shape != shape:
        raise ValueError(
            f"{name} must have {meaning}, {tuple(shape)}, but got {tuple(tensor.shape)}"
        )


def require_dimensions(name: str, tensor: Tensor, dimensions: str) -> None:
    """Refuse a tensor of another number of dimensions.

    Args:
        name: The input's name.
        tensor: The input.
        dimensions: The dimensions by their names, such as "(N, C)".

    Raises:
        ValueError: Their number is another.
    """
    number = dimensions.count(",") + (not dimensions.endswith(",)"))
    if tensor.dim() != number:
        noun = "dimension" if number == 1 else "dimensions"
        raise ValueError(
            f"{name} must have {number} {noun} {dimensions}, but got shape {tuple(tensor.shape)}"
        )


def require_samples(name: str, tensor: Tensor) -> None:
    """Refuse a tensor without a dimension of samples (N, …).

    Raises:
        ValueError: It is a single number.
    """
    if not tensor.dim():
        raise ValueError(f"{name} must have at least 1 dimension (N, …), but got shape ()")


def require_labels(name: str, labels: Tensor, number: int) -> None:
    """Refuse what cannot be class indices (N,) of N vectors.

    Raises:
        ValueError: Naming shape or dtype.
    """
    if labels.shape != (number,):
        one_hot = labels.dim() == 2 and len(labels) == number
        raise ValueError(
            f"{name} must be class indices of shape ({number},), but got shape "
            f"{tuple(labels.shape)} of {labels.dtype}" + ", as one-hot rows have" * one_hot
        )
    require_integers(name, labels, ": it takes class indices")


def require_one_a_class(name: str, weights: Tensor, pred: Tensor) -> None:
    """Refuse weights (C,) whose number is not that of the classes of pred (N, C, …).

    Raises:
        ValueError: Naming both numbers.
    """
    if len(weights) != pred.shape[1]:
        raise ValueError(
            f"{name} must have one value per class, {pred.shape[1]}, but got {len(weights)}"
        )


def require_at_least(name: str, tensor: Tensor, low: float) -> None:
    """Refuse numbers below a bound, and NaN.

    Raises:
        ValueError: Naming the first such number.
    """
    _require_all(name, tensor, tensor >= low, f"at least {low:g}")


def require_above(name: str, tensor: Tensor, low: float) -> None:
    """Refuse numbers at or below a bound, and NaN.

    Raises:
        ValueError: Naming the first such number.
    """
    _require_all(name, tensor, tensor > low, f"above {low:g}")


def require_between(
    name: str, tensor: Tensor, low: float, high: float, ignore_index: int | None = None
) -> None:
    """Refuse numbers outside [low, high], save `ignore_index`, and NaN.

    Raises:
        ValueError: Naming the first such number.
    """
    inside = (tensor >= low) & (tensor <= high)
    allowed = f"between {low:g} and {high:g}"
    if ignore_index is not None:
        inside |= tensor == ignore_index
        allowed += f" or ignore_index {ignore_index}"
    _require_all(name, tensor, inside, allowed)


def require_distribution(name: str, tensor: Tensor) -> None:
    """Refuse probabilities (N, C, …) that do not sum to 1 over the classes, up to rounding.

    Raises:
        ValueError: Naming the first other sum.
    """
    # Written by people to three digits, or rounded once or twice in a small dtype.
    tolerance = max(2e-3, 2 * torch.finfo(tensor.dtype).eps)
    total = tensor.double().sum(1)
    allowed = "probabilities that sum to 1 over the classes"
    _require_all(name, total, (total - 1).abs() <= tolerance, allowed, what="a sum of ")


def require_one_of(name: str, tensor: Tensor, values: tuple[int, int]) -> None:
    """Refuse all but two numbers.

    Raises:
        ValueError: Naming the first other one.
    """
    inside = (tensor == values[0]) | (tensor == values[1])
    _require_all(name, tensor, inside, f"{values[0]} or {values[1]}")


def require_boxes(name: str, boxes: Tensor) -> None:
    """Refuse boxes (N, 4) whose second corner lies before the first, and NaN.

    Raises:
        ValueError: Naming the first such box.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    for low, high, start, end in (("x1", "x2", x1, x2), ("y1", "y2", y1, y2)):
        wrong = ~(end >= start)
        if wrong.any():
            index = int(wrong.nonzero()[0])
            raise ValueError(
                f"{name} must have {high} >= {low}, but got {low} = {start[index].item():g} and "
                f"{high} = {end[index].item():g} in box {index}"
            )


def require_classes(
    name: str,
    tensor: Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    *,
    what: str = "class index",
) -> None:
    """Refuse class indices outside [0, num_classes), save `ignore_index`.

    Raises:
        ValueError: Naming the first such index.
    """
    inside = (tensor >= 0) & (tensor < num_classes)
    allowed = f"a {what} from 0 to {num_classes - 1}"
    if ignore_index is not None:
        inside |= tensor == ignore_index
        allowed += f" or ignore_index {ignore_index}"
    _require_all(name, tensor, inside, allowed)


def require_other(name: str, tensor: Tensor, value: int, meaning: str) -> None:
    """Refuse one value.

    Raises:
        ValueError: It is there.
    """
    _require_all(name, tensor, tensor != value, f"other than {meaning}")


def _require_all(
    name: str, tensor: Tensor, allowed: Tensor, bound: str, *, what: str = ""
) -> None:
    if not allowed.all():
        value = tensor[~allowed].flatten()[0].item()
        raise ValueError(f"{name} must be {bound}, but got {what}{value:g}")
