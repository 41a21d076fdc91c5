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
    """One side of an adversarial game; each term is a mean of its own, then they are added.

    real r (R, …) and fake f (F, …) are a discriminator's outputs and may differ in size; the
    generator's side takes fake alone. With sp = softplus: bce sp(-r) + sp(f), against sp(-f), or
    -sp(f) under minimax; hinge max(0, 1-r) + max(0, 1+f), against -f; lsgan ((r-1)² + f²)/2,
    against (f-1)²/2; wgan f - r, against -f. Goodfellow et al. 2014, Lim and Ye 2017, Mao et al.
    2017, Arjovsky et al. 2017.
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
    """(μ² + σ² - 1 - log σ²) / 2, a value an element. Kingma and Welling 2014.

    mu and logvar (N, …); logvar is taken for -60 below and for 30 above.
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
    """-E log p + beta KL, both summed over dimensions, a value a sample. Higgins et al. 2017.

    recon and target (N, …), mu and logvar (N, …). Under bce_logits and bce target is in [0, 1],
    under bce recon too; mse is e² without the half, gaussian e²/2 + log(2π)/2.
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
