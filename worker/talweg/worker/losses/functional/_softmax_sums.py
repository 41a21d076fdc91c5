"""Softmax over classes and sums over positions, forward and backward in few passes.

What torch differentiates by itself makes a tensor as large as the logits at every step. Here the
true class's probability is gathered and added to its class, and the gradient of softmax and sums
together is written once.
"""

from typing import Any

import torch
from torch import Tensor


class SoftmaxSums(torch.autograd.Function):
    """Σ p_c [y = c] and Σ p_c over positions, by sample and class, p = softmax(z).

    Call `SoftmaxSums.apply(z, y, kept)`: logits z (N, C, P), classes y (N, P), and kept (N, P) of
    z's dtype, 1 where a position counts and 0 elsewhere, or None where all do. Both sums are
    (N, C).
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add up; see the class."""
        p = z.softmax(1)
        ctx.save_for_backward(z, p, y, mask)
        own = p.gather(1, y[:, None])[:, 0]
        if mask is None:
            total = p.sum(2)
        else:
            own, total = own * mask, torch.bmm(p, mask[:, :, None])[:, :, 0]
        return torch.zeros_like(total).scatter_add_(1, y, own), total

    @staticmethod
    def backward(ctx: Any, by_own: Tensor, by_all: Tensor) -> tuple[Tensor, None, None]:
        """p_c (g_c - Σ_k g_k p_k) of g_c = by_all_c + by_own_c [y = c], at positions kept."""
        z, p, y, mask = ctx.saved_tensors
        if torch.is_grad_enabled():
            # This gradient is to be differentiated in turn, and p hangs on z.
            p = z.softmax(1)
        own = p.gather(1, y[:, None]) * by_own.gather(1, y)[:, None]
        mean = torch.bmm(by_all[:, None], p) + own
        slope = (by_all[:, :, None] - mean).mul_(p).scatter_add_(1, y[:, None], own)
        return slope if mask is None else slope.mul_(mask[:, None]), None, None
