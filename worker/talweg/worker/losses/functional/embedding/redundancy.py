"""Self-supervised losses without negatives: they keep the dimensions of a vector apart.

They pool the batch, so that no sample has a value of its own.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe


def vicreg(
    z1: Tensor,
    z2: Tensor,
    *,
    sim: float = 25.0,
    std: float = 25.0,
    cov: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """sim MSE + std (v1+v2)/2 + cov (c1+c2).

    v = mean max(0, 1 - sqrt(var + eps)) and c = Σ off-diagonal covariance² / D, both unbiased.

    Args:
        z1: One view of the samples (N, D).
        z2: The other view, of the same shape.
        sim: Weight of the views' agreement.
        std: Weight of the variance in each dimension.
        cov: Weight of the covariance between dimensions.
        eps: Added to the variance.

    Returns:
        A scalar; 0 where there are no samples.

    Reference: Bardes et al. 2022, https://arxiv.org/abs/2105.04906
    """
    if not z1.numel():
        return (z1 + z2).sum()
    loss = _safe.weighed(sim, F.mse_loss(z1, z2), z1, z2)
    for z in (z1, z2):
        loss = loss + _tangle(z, std=std / 2, cov=cov, eps=eps)
    return loss


def _tangle(z: Tensor, *, std: float, cov: float, eps: float) -> Tensor:
    centred = z - z.mean(0)
    # One sample alone has no spread; dividing by 0 would give NaN for it.
    covariance = centred.T @ centred / max(len(z) - 1, 1)
    variance = covariance.diagonal()
    spread = F.relu(1 - torch.sqrt(variance + eps)).mean()
    off = covariance - torch.diag(variance)
    tangle = _safe.weighed(cov, off.square().sum(), z) / z.shape[1]
    return _safe.weighed(std, spread, z) + tangle


def barlow_twins(
    z1: Tensor, z2: Tensor, *, lambda_offdiag: float = 0.005, eps: float = 1e-5
) -> Tensor:
    """Σ (diagonal - 1)² + λ Σ off-diagonal² of the views' correlation.

    Args:
        z1: One view of the samples (N, D), N not 1.
        z2: The other view, of the same shape.
        lambda_offdiag: The weight λ.
        eps: Added to the biased variance.

    Returns:
        A scalar; 0 where there are no samples.

    Reference: Zbontar et al. 2021, https://arxiv.org/abs/2103.03230
    """
    if not z1.numel():
        return (z1 + z2).sum()
    correlation = _standardised(z1, eps).T @ _standardised(z2, eps) / len(z1)
    diagonal = correlation.diagonal()
    off = correlation - torch.diag(diagonal)
    return (diagonal - 1).square().sum() + lambda_offdiag * off.square().sum()


def _standardised(z: Tensor, eps: float) -> Tensor:
    return (z - z.mean(0)) / torch.sqrt(z.var(0, correction=0) + eps)
