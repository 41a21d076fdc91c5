"""Losses of generative models: adversarial games, and the bound of a variational autoencoder."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of, same_precision
from talweg.worker.losses.embedding_base import Pooled, choice_of, take_alike
from talweg.worker.losses.functional import generative


class Gan(Pooled):
    """Adversarial loss of one side, discriminator or generator.

    L = softplus(-r) + softplus(f), against softplus(-f), or -softplus(f) under minimax (bce)
    L = max(0, 1 - r) + max(0, 1 + f), against -f (hinge)
    L = ((r - 1)² + f²)/2, against (f - 1)²/2 (lsgan)
    L = f - r, against -f (wgan)

    The discriminator's loss, against the generator's, of outputs r for real and f for fake
    samples. Each term is a mean of its own. Forms: Lim and Ye 2017,
    https://arxiv.org/abs/1705.02894; Mao et al. 2017, https://arxiv.org/abs/1611.04076; Arjovsky
    et al. 2017, https://arxiv.org/abs/1701.07875.

    Args:
        form: The game: bce (default), hinge, lsgan or wgan.
        side: Who pays: discriminator (default) or generator.
        generator: What the generator pays under bce: non_saturating (default) or minimax.
        reduction: mean (default) or sum, which are the same.

    Inputs: real (R, …), on the discriminator's side alone; fake (F, …).
    Returns: A scalar: the formula gives one number a batch.
    Reference: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
    """

    def __init__(self, spec: pb.Gan) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.form = cast(generative.Form, choice_of(spec, "form"))
        self.minimax = choice_of(spec, "generator") == "minimax"
        discriminates = choice_of(spec, "side") == "discriminator"
        self.input_names = ("real", "fake") if discriminates else ("fake",)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        for name in self.input_names:
            checks.require_floats(name, inputs[name])
        return same_precision(*(inputs[name] for name in self.input_names))

    def _pooled(self, *outputs: Tensor) -> Tensor:
        *real, fake = outputs
        if real:
            return generative.gan_discriminator(real[0], fake, self.form)
        return generative.gan_generator(fake, self.form, minimax=self.minimax)


class _ByBatch(LossModule):
    """A loss whose batchmean is the sum divided by the number of samples N."""

    def _reduce(self, values: Tensor, *tensors: Tensor) -> Tensor:
        total = values.sum()
        return total / max(len(values), 1) if self.reduction == "batchmean" else total


class GaussianKl(_ByBatch):
    """Kullback-Leibler divergence of a normal distribution from the standard one.

    L = (μ² + σ² - 1 - log σ²) / 2, with μ = mu, log σ² = logvar clamped to [-60, 30]

    Args:
        reduction: batchmean (default) or sum; batchmean is the sum divided by N.

    Inputs: mu (N, …); logvar (N, …).
    Returns: A scalar, reduced from a value an element (N, …).
    Reference: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114
    """

    input_names = ("mu", "logvar")

    def __init__(self, spec: pb.GaussianKl) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        checks.require_samples("mu", inputs["mu"])
        return take_alike(inputs, self.input_names, "")

    def _values(self, mu: Tensor, logvar: Tensor) -> Tensor:
        return generative.gaussian_kl(mu, logvar)


class Vae(_ByBatch):
    """Evidence bound of a variational autoencoder: reconstruction and divergence of the code.

    L = -log p(target | recon) + beta KL(mu, logvar), both summed over dimensions

    recon is the likelihood: bce_logits and bce of a target in [0, 1], mse e² without the half,
    gaussian e²/2 + log(2π)/2.

    Args:
        recon: The likelihood of the samples: bce_logits (default), bce, mse or gaussian.
        beta: Weight of the divergence; ≥ 0, default 1.
        reduction: batchmean (default) or sum; batchmean is the sum divided by N.

    Inputs: recon (N, …); target (N, …); mu (N, D); logvar (N, D).
    Returns: A scalar, reduced from a value a sample (N,).
    Reference: Higgins et al. 2017 (beta-VAE); Kingma and Welling 2014,
        https://arxiv.org/abs/1312.6114
    """

    input_names = ("recon", "target", "mu", "logvar")

    def __init__(self, spec: pb.Vae) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.form = cast(generative.Reconstruction, choice_of(spec, "recon"))
        self.beta = spec.beta

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse targets and probabilities outside [0, 1]; see `LossModule.check_values`."""
        bounded = {"bce_logits": ("target",), "bce": ("target", "recon")}
        for name in bounded.get(self.form, ()):
            if name in inputs:
                checks.require_between(name, inputs[name], 0, 1)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        for name in ("recon", "mu"):
            checks.require_samples(name, inputs[name])
        recon, target = take_alike(inputs, ("recon", "target"), "")
        mu, logvar = take_alike(inputs, ("mu", "logvar"), "")
        if len(mu) != len(recon):
            raise ValueError(
                f"mu must have as many samples as recon, {len(recon)}, but got {len(mu)}"
            )
        return same_precision(recon, target, mu, logvar)

    def _values(self, recon: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return generative.vae(recon, target, mu, logvar, form=self.form, beta=self.beta)


BUILDERS: dict[str, type[LossModule]] = {"gan": Gan, "gaussian_kl": GaussianKl, "vae": Vae}
"""The losses of this family."""
