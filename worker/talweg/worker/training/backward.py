"""The backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


def plain_backward(loss: Tensor) -> None:
    """Adds a loss's gradients to those of the leaves."""
    torch.autograd.backward(loss)


def _by_engine(run: Callable[..., Any]) -> Callable[[Tensor], None]:
    def backward(loss: Tensor) -> None:
        run(
            (loss,),
            (_one(loss.dtype, loss.device),),
            False,
            False,
            (),
            allow_unreachable=True,
            accumulate_grad=True,
        )

    return backward


@cache
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones((), dtype=dtype, device=device)


def _chosen() -> Callable[[Tensor], None]:
    engine = getattr(torch.autograd.Variable, "_execution_engine", None)
    run = getattr(engine, "run_backward", None)
    return plain_backward if run is None else _by_engine(run)


backward = _chosen()
"""Adds a scalar loss's gradients to those of the leaves.

What torch.autograd.backward does around its engine, to keep the compiler's settings for other
threads, costs a tenth of a small network's step. The engine is not part of torch's public
interface: a torch without it gets the plain way.
"""
