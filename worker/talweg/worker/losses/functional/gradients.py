"""Gradients held in bounds, and class weights from counts."""

from collections.abc import Iterable

import torch
from torch import Tensor


def clip_by_global_norm(gradients: Iterable[Tensor], max_norm: float) -> list[Tensor]:
    """Shorten gradients together, so that their direction stays.

    Args:
        gradients: Tensors of any shapes.
        max_norm: The longest norm that all of them together may have; above 0.

    Returns:
        New tensors of the same shapes.

    Raises:
        ValueError: `max_norm` is not above 0.

    Reference: Pascanu et al. 2013, https://arxiv.org/abs/1211.5063
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be > 0, but got {max_norm:g}")
    tensors = list(gradients)
    if not tensors:
        return []
    norms = [torch.linalg.vector_norm(g, dtype=_wide(g)).to(tensors[0].device) for g in tensors]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    # No eps beside the norm: a norm of exactly max_norm stays as it is.
    factor = torch.where(norm > max_norm, max_norm / norm, 1)
    return [(g * factor.to(g.device)).to(g.dtype) for g in tensors]


def clip_by_value(gradients: Iterable[Tensor], clip_value: float) -> list[Tensor]:
    """Hold each number in [-clip_value, clip_value]; this changes the direction.

    Args:
        gradients: Tensors of any shapes.
        clip_value: The largest size of a number; above 0.

    Returns:
        New tensors of the same shapes.

    Raises:
        ValueError: `clip_value` is not above 0.
    """
    if not clip_value > 0:
        raise ValueError(f"clip_value must be > 0, but got {clip_value:g}")
    return [g.clamp(-clip_value, clip_value) for g in gradients]


def balanced_weights(counts: Tensor) -> Tensor:
    """N / (C n_c): every class weighs as much as every other in sum.

    Args:
        counts: How often each class is seen (C,).

    Returns:
        float64 weights (C,); 0 for a class that is never seen.
    """
    n = counts.double()
    return _of_seen(n, n.sum() / (len(n) * n.clamp(min=1)))


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """(1 - beta) / (1 - beta^n_c), scaled to sum to the number of classes.

    Args:
        counts: How often each class is seen (C,).
        beta: How slowly further samples of a class add to it, in [0, 1).

    Returns:
        float64 weights (C,); 0 for a class that is never seen.

    Raises:
        ValueError: Beta is outside [0, 1).

    Reference: Cui et al. 2019, https://arxiv.org/abs/1901.05555
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be at least 0 and below 1, but got {beta:g}")
    n = counts.double()
    weights = _of_seen(n, (1 - beta) / (1 - beta ** n.clamp(min=1)))
    return weights * len(n) / weights.sum().clamp(min=torch.finfo(n.dtype).tiny)


def _of_seen(n: Tensor, weights: Tensor) -> Tensor:
    return weights.where(n > 0, 0)


def _wide(gradient: Tensor) -> torch.dtype:
    return torch.float64 if gradient.dtype is torch.float64 else torch.float32
