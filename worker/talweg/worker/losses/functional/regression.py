"""Losses of numbers: likelihoods with an uncertainty of their own, and Tweedie's deviance.

Every function takes tensors of one shape and gives a value an element.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe

# From this on 1 + x² is x² to the last digit, in float64 too.
_FAR = 1e9
# Below this the slope of softplus stays as it is there.
_FLAT = -20.0


def positive(raw: Tensor) -> Tensor:
    """Return torch's softplus of what a model gives, with a slope of at least 2e-9.

    Its own vanishes from -104 on: what is positive by it, such as a variance, would never recover.
    """
    linear = F.softplus(raw).detach() + (raw - raw.detach()) * math.exp(_FLAT)
    return torch.where(raw < _FLAT, linear, F.softplus(raw))


def gaussian_nll(
    pred: Tensor, target: Tensor, var: Tensor, *, full: bool = False, eps: float = 1e-6
) -> Tensor:
    """(log v + e²/v) / 2, and log(2π)/2 more where full.

    Args:
        pred: The mean (N, …).
        target: The observation, of the same shape.
        var: The variance v, of the same shape. Below eps it is taken for eps, with the gradient
            that it has there, since without one a variance that has collapsed never recovers.
        full: Add the constant.
        eps: The smallest variance.

    Returns:
        A value an element (N, …).

    Reference: Nix and Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138
    """
    v = _safe.at_least(var, eps)
    loss = (torch.log(v) + (pred - target).square() / v) / 2
    return loss + math.log(2 * math.pi) / 2 if full else loss


def evidential(
    pred: Tensor,
    target: Tensor,
    nu: Tensor,
    alpha: Tensor,
    beta: Tensor,
    *,
    coefficient: float = 0.01,
    eps: float = 1e-6,
) -> Tensor:
    """-log St(y; γ, β(1+ν)/(να), 2α) + λ |y - γ| (2ν + α).

    With e = y - γ and Ω = 2β(1+ν) the first term is
    log(π/ν)/2 - α log Ω + (α + 1/2) log(ν e² + Ω) + log(Γ(α)/Γ(α + 1/2)).

    Args:
        pred: The mean γ (N, …).
        target: The observation y, of the same shape.
        nu: Virtual observations ν > 0 of the mean, of the same shape. Below eps it is taken for
            eps, with the gradient that it has there.
        alpha: α > 0 of the inverse gamma distribution; a variance is defined from 1 on.
        beta: β > 0 of the inverse gamma distribution, as nu below eps.
        coefficient: Weight λ of the regulariser.
        eps: The smallest ν and β.

    Returns:
        A value an element (N, …).

    Reference: Amini et al. 2020, https://arxiv.org/abs/1910.02600
    """
    nu, beta = _safe.at_least(nu, eps), _safe.at_least(beta, eps)
    error = target - pred
    omega = 2 * beta * (1 + nu)
    # The logarithm of (ν e² + Ω)/Ω: the two large terms of α cancel in it, and not after rounding.
    excess = _log1p_square(error, nu / omega)
    likelihood = (
        (math.log(math.pi) - torch.log(nu) + torch.log(omega)) / 2
        + (alpha + 0.5) * excess
        - _safe.log_gamma_half_step(alpha)
    )
    return likelihood + coefficient * error.abs() * (2 * nu + alpha)


def _log1p_square(x: Tensor, factor: Tensor) -> Tensor:
    """log(1 + factor · x²), also where the square overflows."""
    far = (x.square() * factor).isinf() & x.isfinite()
    near = torch.log1p(x.where(~far, 0).square() * factor)
    root = x.where(far, 1).abs() * factor.where(far, 1).sqrt()
    is_large = root > _FAR
    beyond = torch.where(
        is_large,
        2 * root.where(is_large, 1).log(),
        torch.log1p(root.where(~is_large, 0).square()),
    )
    return torch.where(far, beyond, near)


def tweedie(pred: Tensor, target: Tensor, *, power: float = 1.5) -> Tensor:
    """2 (y^(2-p)/((1-p)(2-p)) - y μ^(1-p)/(1-p) + μ^(2-p)/(2-p)).

    Args:
        pred: The mean μ > 0 (N, …).
        target: The observation y ≥ 0, of the same shape.
        power: The power p, between 1 (Poisson) and 2 (gamma), both excluded.

    Returns:
        A value an element (N, …).

    Reference: Jørgensen 1987
    """
    rest, left = 1 - power, 2 - power
    some = target > 0
    constant = _safe.power(target, left).where(some, 0) / (rest * left)
    # The slope of a power below 0 overflows near 0, and a target of 0 times it would be NaN; that
    # of the last term does so below the smallest normal number.
    linear = target * pred.where(some, 1) ** rest / rest
    mean = _safe.at_least(pred, torch.finfo(pred.dtype).tiny)
    return 2 * (constant - linear + mean**left / left)
