"""Work on many tensors in one call.

torch's own optimizers do it by `torch._foreach_*`, which are not part of its public interface: so
each function here has a plain form, for a torch without them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


def _of_torch(name: str) -> Callable[..., Any] | None:
    return getattr(torch, f"_foreach_{name}", None)


def plain_norms(tensors: Tensors) -> list[Tensor]:
    """Return the Euclidean norm of each tensor, one call a tensor."""
    return [torch.linalg.vector_norm(tensor) for tensor in tensors]


def plain_largest(tensors: Tensors) -> list[Tensor]:
    """Return the largest absolute value of each tensor, one call a tensor."""
    return [torch.linalg.vector_norm(tensor, math.inf) for tensor in tensors]


def plain_scale(tensors: Tensors, factor: float | Tensor) -> None:
    """Multiply each tensor in place, one call a tensor."""
    for tensor in tensors:
        tensor.mul_(factor)


def plain_copy(targets: Tensors, sources: Tensors) -> None:
    """Copy each source into its target, one call a tensor."""
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)


norms: Callable[[Tensors], Sequence[Tensor]] = _of_torch("norm") or plain_norms
"""Gives the Euclidean norm of each tensor."""
largest: Callable[[Tensors], Sequence[Tensor]] = (
    (lambda tensors: torch._foreach_norm(list(tensors), math.inf))
    if _of_torch("norm")
    else plain_largest
)
"""Gives the largest absolute value of each tensor; NaN where one is in it."""
scale: Callable[[Tensors, float | Tensor], None] = _of_torch("mul_") or plain_scale
"""Multiplies each tensor in place, by a number or a scalar of the same type."""
copy: Callable[[Tensors, Tensors], None] = _of_torch("copy_") or plain_copy
"""Copies each source into its target."""
