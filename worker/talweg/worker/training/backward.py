"""The backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def plain_backward(loss: Tensor, scale: float = 1.0) -> None:
    """Add a loss's gradients, times a scale, to those of the leaves."""
    torch.autograd.backward(loss, _scalar(scale, loss.dtype, loss.device))


def _by_engine(run: Callable[..., Any]) -> Callable[..., None]:
    def backward(loss: Tensor, scale: float = 1.0) -> None:
        run(
            (loss,),
            (_scalar(scale, loss.dtype, loss.device),),
            False,
            False,
            (),
            allow_unreachable=True,
            accumulate_grad=True,
        )

    return backward


@cache
def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((), value, dtype=dtype, device=device)


def _chosen() -> Callable[..., None]:
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)
    run = getattr(engine, "run_backward", None)
    return plain_backward if run is None else _by_engine(run)


backward = _chosen()
"""Adds a scalar loss's gradients, times a scale that is 1 where absent, to those of the leaves.

What torch.autograd.backward does around its engine, to keep the compiler's settings for other
threads, costs a tenth of a small network's step. The engine is not part of torch's public
interface: a torch without it gets the plain way.
"""
