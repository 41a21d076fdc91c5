"""Losses of generative models: adversarial games, and the bound of a variational autoencoder."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.clamping import clamp
from talweg.worker.losses.functional import _safe
from talweg.worker.losses.functional.classification import bce_with_logits, bernoulli_nll

Form = Literal["bce", "hinge", "lsgan", "wgan"]
Reconstruction = Literal["bce_logits", "bce", "mse", "gaussian"]


def gan_discriminator(real: Tensor, fake: Tensor, form: Form) -> Tensor:
    """Return what the discriminator pays; each of the two terms is a mean of its own.

    bce: softplus(-r) + softplus(f). hinge: max(0, 1-r) + max(0, 1+f). lsgan: ((r-1)² + f²)/2.
    wgan: f - r.

    Args:
        real: The discriminator's outputs r for real samples, of any shape.
        fake: Its outputs f for made samples; their number may differ.
        form: The game.

    Returns:
        A scalar.

    Reference: Goodfellow et al. 2014 (bce), https://arxiv.org/abs/1406.2661; Lim and Ye 2017
        (hinge), https://arxiv.org/abs/1705.02894; Mao et al. 2017 (lsgan),
        https://arxiv.org/abs/1611.04076; Arjovsky et al. 2017 (wgan),
        https://arxiv.org/abs/1701.07875
    """
    if form == "bce":
        return _mean(_safe.softplus(-real)) + _mean(_safe.softplus(fake))
    if form == "hinge":
        return _mean(F.relu(1 - real)) + _mean(F.relu(1 + fake))
    if form == "lsgan":
        return (_mean((real - 1).square()) + _mean(fake.square())) / 2
    return _mean(fake) - _mean(real)


def gan_generator(fake: Tensor, form: Form, *, minimax: bool = False) -> Tensor:
    """Return what the generator pays.

    bce: softplus(-f), or -softplus(f) under minimax. hinge and wgan: -f. lsgan: (f-1)²/2.

    Args:
        fake: The discriminator's outputs f for made samples, of any shape.
        form: The game.
        minimax: Under bce, pay exactly what the discriminator gains.

    Returns:
        A scalar.

    Reference: as `gan_discriminator`
    """
    if form == "bce":
        return _mean(-_safe.softplus(fake) if minimax else _safe.softplus(-fake))
    if form == "lsgan":
        return _mean((fake - 1).square()) / 2
    return -_mean(fake)


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    interp: Tensor,
    *,
    weight: float = 10.0,
) -> Tensor:
    """weight mean (|∇critic| - 1)² between real and made samples.

    Args:
        critic: Samples (N, …) to outputs, each of its own sample alone.
        real: Real samples (N, …).
        fake: Made samples, of the same shape.
        interp: Each sample's share of the real one (N,), in [0, 1].
        weight: The penalty's weight.

    Returns:
        A scalar, joined to the critic's parameters. The norm is over all features.

    Reference: Gulrajani et al. 2017, https://arxiv.org/abs/1704.00028
    """
    share = interp.reshape(-1, *[1] * (real.dim() - 1))
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    with torch.enable_grad():
        outputs = critic(between).sum()
        if outputs.requires_grad:
            (slope,) = torch.autograd.grad(
                outputs, between, create_graph=True, materialize_grads=True
            )
        else:
            slope = torch.zeros_like(between)
        return weight * _mean((_safe.norm(slope.flatten(1)) - 1).square())


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """(μ² + σ² - 1 - log σ²) / 2, a value an element.

    Args:
        mu: The mean (N, …).
        logvar: Log σ², of the same shape; taken for -60 below and for 30 above,
            with the gradient that it has there.

    Returns:
        A value an element (N, …).

    Reference: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114
    """
    bounded = clamp(logvar, -60, 30)
    return (mu.square() + torch.expm1(bounded) - bounded) / 2


def reconstruction(recon: Tensor, target: Tensor, form: Reconstruction) -> Tensor:
    """-log p(target | recon), a value an element.

    bce_logits and bce: of yes or no, from logits or probabilities. mse: e², without the half.
    gaussian: e²/2 + log(2π)/2, of variance 1.

    Args:
        recon: What was made of the sample (N, …).
        target: The sample, of the same shape.
        form: The likelihood.

    Returns:
        A value an element (N, …).
    """
    if form == "bce_logits":
        return bce_with_logits(recon, target)
    if form == "bce":
        return bernoulli_nll(recon, target)
    square = (recon - target).square()
    return square if form == "mse" else (square + math.log(2 * math.pi)) / 2


def vae(
    recon: Tensor,
    target: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    form: Reconstruction = "bce_logits",
    beta: float = 1.0,
) -> Tensor:
    """-E log p + beta KL, summed over dimensions, a value a sample.

    Args:
        recon: What was made of the samples (N, …).
        target: The samples, of the same shape.
        mu: The code's mean (N, D).
        logvar: The code's log variance, of the same shape.
        form: The likelihood of the samples.
        beta: The weight of the divergence.

    Returns:
        A value a sample (N,).

    Reference: Higgins et al. 2017 (beta-VAE); Kingma and Welling 2014,
        https://arxiv.org/abs/1312.6114
    """
    likelihood = _by_sample(reconstruction(recon, target, form))
    return likelihood + _safe.weighed(beta, _by_sample(gaussian_kl(mu, logvar)), mu, logvar)


def _by_sample(values: Tensor) -> Tensor:
    return values.reshape(len(values), math.prod(values.shape[1:])).sum(1)


def _mean(values: Tensor) -> Tensor:
    return values.mean() if values.numel() else values.sum()
