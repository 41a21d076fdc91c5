"""A clamp that what it holds can leave again."""

from typing import Any

import torch
from torch import Tensor


def clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Return x held in [low, high], with a gradient that leads back from beyond a bound.

    torch's own has a gradient of 0 there: what has once run beyond the bound stays, however much
    it costs. Here the gradient is that at the bound if a step against it leads back, and 0 if it
    would lead further away.
    """
    return _Clamp.apply(x, low, high)  # type: ignore[no-untyped-call,no-any-return]


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        leads_away = ((x < low) & (gradient > 0)) | ((x > high) & (gradient < 0))
        return gradient.masked_fill(leads_away, 0), None, None
