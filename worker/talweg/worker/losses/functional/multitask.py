"""Losses made of losses: several tasks weighed against each other, samples admitted by degree."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from talweg.worker.clamping import clamp
from talweg.worker.losses.functional import _safe

TaskType = Literal["regression", "classification"]


def uncertainty(losses: Tensor, log_vars: Tensor, task_types: Sequence[TaskType] | None) -> Tensor:
    """Σ of e^-s L/2 + s/2 (regression) and e^-s L + s/2 (classification).

    Args:
        losses: The tasks' losses L (K,).
        log_vars: The learned log variances s (K,); taken for -20 below and for 20 above, with
            the gradient that leads back from there.
        task_types: What each task is; None for the simple form e^-s L + s of every task.

    Returns:
        A scalar.

    Reference: Kendall et al. 2018, https://arxiv.org/abs/1705.07115
    """
    s = clamp(log_vars, -20, 20)
    if task_types is None:
        return (torch.exp(-s) * losses + s).sum()
    halves = [0.5 if task == "regression" else 1.0 for task in task_types]
    return (losses.new_tensor(halves) * torch.exp(-s) * losses + s / 2).sum()


def gradnorm(
    weights: Tensor,
    grad_norms: Tensor,
    losses: Tensor,
    initial_losses: Tensor,
    *,
    alpha: float = 1.5,
) -> Tensor:
    """Σ |w g - c|, c = mean(w g) (r / mean r)^alpha, a constant, r = L / L_0.

    Args:
        weights: The tasks' weights w (K,), which alone learn by it.
        grad_norms: The norms g of the unweighted losses' gradients at the last shared layer (K,).
        losses: The tasks' losses L (K,).
        initial_losses: Their losses L_0 at the first step (K,).
        alpha: How strongly slow tasks are helped.

    Returns:
        A scalar.

    Reference: Chen et al. 2018, https://arxiv.org/abs/1711.02257
    """
    weighted = weights * grad_norms.detach()
    rate = _ratio(losses.detach(), initial_losses.detach())
    pace = _ratio(rate, rate.mean()) ** alpha
    return (weighted - weighted.detach().mean() * pace).abs().sum()


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """over / under, 1 where under is 0: a task that began without loss is on its way."""
    return torch.where(under == 0, 1, over / under)


def curriculum(losses: Tensor, difficulty: Tensor, threshold: Tensor | float) -> Tensor:
    """Return the mean loss of the samples no harder than the threshold.

    Args:
        losses: A loss a sample (N,).
        difficulty: How hard each sample is (N,).
        threshold: The hardest that is admitted.

    Returns:
        A scalar; 0 where nobody is admitted.

    Reference: Bengio et al. 2009, https://doi.org/10.1145/1553374.1553380
    """
    return _safe.masked_mean(losses, difficulty <= threshold)
