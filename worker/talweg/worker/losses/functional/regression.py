"""Losses of numbers: the likelihood of a normal distribution, and Tweedie's deviance.

Every function takes tensors of one shape and gives a value an element.
"""

import math

import torch
from torch import Tensor

from talweg.worker.losses.functional import _safe


def gaussian_nll(
    pred: Tensor, target: Tensor, var: Tensor, *, full: bool = False, eps: float = 1e-6
) -> Tensor:
    """(log v + e²/v) / 2, and log(2π)/2 more where full. Nix and Weigend 1994.

    Args:
        pred: The mean (N, …).
        target: The observation, of the same shape.
        var: The variance v, of the same shape. Below eps it is taken for eps, with the gradient
            that it has there, since without one a variance that has collapsed never recovers.
        full: Add the constant.
        eps: The smallest variance.
    """
    v = torch.where(var < eps, eps + (var - var.detach()), var)
    loss = (torch.log(v) + (pred - target).square() / v) / 2
    return loss + math.log(2 * math.pi) / 2 if full else loss


def tweedie(pred: Tensor, target: Tensor, *, power: float = 1.5) -> Tensor:
    """2 (y^(2-p)/((1-p)(2-p)) - y μ^(1-p)/(1-p) + μ^(2-p)/(2-p)). Jørgensen 1987.

    Args:
        pred: The mean μ > 0 (N, …).
        target: The observation y ≥ 0, of the same shape.
        power: P, between 1 (Poisson) and 2 (gamma), both excluded.
    """
    rest, left = 1 - power, 2 - power
    constant = _safe.power(target, left).where(target > 0, 0) / (rest * left)
    return 2 * (constant - target * pred**rest / rest + pred**left / left)
