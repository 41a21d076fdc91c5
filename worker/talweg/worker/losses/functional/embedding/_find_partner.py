"""Cross-entropy over the cosines within a batch, forward and backward in few passes."""

from typing import Any

import torch
from torch import Tensor


class FindPartner(torch.autograd.Function):
    """-log(e^s_ij / Σ_k≠i e^s_ik), s = z zᵀ / temperature, j being i's partner; a value a row.

    Call `FindPartner.apply(z, partner, temperature)`: vectors z (N, D), N > 1, each one's partner
    (N,), and a number. Torch alone makes seven tensors (N, N) of it; this makes two.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, partner: Tensor, temperature: float) -> Tensor:
        """Return the values (N,); see the class."""
        scores = _scores(z, temperature)
        # Against the row's highest, so that the loss of a vector that is sure keeps its digits.
        scores -= scores.amax(1, keepdim=True)
        own = scores.gather(1, partner[:, None])
        total = scores.exp_().sum(1, keepdim=True)
        ctx.save_for_backward(z, scores.div_(total), partner)
        ctx.temperature = temperature
        return (total.log() - own)[:, 0]

    @staticmethod
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor, None, None]:
        """(W + Wᵀ) z / temperature, W_ik = by_value_i (p_ik - [k = partner])."""
        z, p, partner = ctx.saved_tensors
        if torch.is_grad_enabled():
            # This gradient is to be differentiated in turn, and p hangs on z.
            p = _scores(z, ctx.temperature).softmax(1)
        by_row = by_value[:, None]
        weights = (p * by_row).scatter_add_(1, partner[:, None], -by_row)
        return (weights @ z + weights.T @ z) / ctx.temperature, None, None


def _scores(z: Tensor, temperature: float) -> Tensor:
    return ((z / temperature) @ z.T).fill_diagonal_(-torch.inf)
