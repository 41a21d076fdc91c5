"""Losses of numbers. e = pred - target throughout."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import (
    Elementwise,
    LossModule,
    TorchElementwise,
    reduction_of,
    same_precision,
)
from talweg.worker.losses.functional import regression as functional


class Mse(TorchElementwise):
    """e². pred, target (N, …). Gauss 1809."""

    def __init__(self, spec: pb.Mse) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.mse_loss(pred, target, reduction=reduction)


class Mae(TorchElementwise):
    """|e|. pred, target (N, …). Laplace 1774."""

    def __init__(self, spec: pb.Mae) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.l1_loss(pred, target, reduction=reduction)


class Huber(TorchElementwise):
    """e²/2 up to |e| = delta, then delta (|e| - delta/2). pred, target (N, …). Huber 1964."""

    def __init__(self, spec: pb.Huber) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.delta = spec.delta

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.huber_loss(pred, target, reduction=reduction, delta=self.delta)


class SmoothL1(TorchElementwise):
    """Huber of delta = beta, divided by beta; |e| where beta is 0. Girshick 2015.

    pred, target (N, …).
    """

    def __init__(self, spec: pb.SmoothL1) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.beta = spec.beta

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.smooth_l1_loss(pred, target, reduction=reduction, beta=self.beta)


class LogCosh(Elementwise):
    """log cosh e = |e| + softplus(-2|e|) - ln 2. pred, target (N, …). Green 1990."""

    def __init__(self, spec: pb.LogCosh) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # log1p(2 sinh²(e/2)) is the same and keeps its digits near zero, where the formula above
        # loses them to ln 2. From |e| = 20 on the loss is a straight line to the last digit.
        error = pred - target
        curved = error.clamp(-20, 20)
        return torch.log1p(2 * torch.sinh(curved / 2).square()) + (error - curved).abs()


class Quantile(Elementwise):
    """max(q (y - p), (q - 1)(y - p)). pred, target (N, …). Koenker and Bassett 1978."""

    def __init__(self, spec: pb.Quantile) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.q = spec.q

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # Two ramps and not a maximum, whose gradient at the kink would be q - 1/2.
        error = pred - target
        return self.q * F.relu(-error) + (1 - self.q) * F.relu(error)


class MultiQuantile(LossModule):
    """Pinball losses of Q quantiles, averaged over samples and quantiles.

    pred (N, …, Q), target (N, …). Koenker and Bassett 1978.
    """

    quantiles: Tensor
    """The quantiles (Q,), in the order of pred's last dimension."""

    def __init__(self, spec: pb.MultiQuantile) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        quantiles = torch.tensor(list(spec.quantiles), dtype=torch.float64)
        self.register_buffer("quantiles", quantiles, persistent=False)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, target = inputs["pred"], inputs["target"]
        shape = (*target.shape, len(self.quantiles))
        checks.require_shape("pred", pred, shape, "target's shape and one value a quantile")
        checks.require_floats("pred", pred)
        if target.is_complex():
            checks.require_floats("target", target)
        return same_precision(pred, target)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        error = pred - target[..., None]
        q = self.quantiles.to(pred)
        return q * F.relu(-error) + (1 - q) * F.relu(error)


class PoissonNll(Elementwise):
    """e^p - y p where pred is the log rate, else p - y log(p + eps). pred, target ≥ 0 (N, …).

    `full` adds Stirling's y log y - y + log(2πy)/2 where y > 1. Cameron and Trivedi 1998.
    """

    def __init__(self, spec: pb.PoissonNll) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.log_input = spec.log_input
        self.full = spec.full
        self.eps = spec.eps

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse negative counts and negative rates; see `LossModule.check_values`."""
        if "target" in inputs:
            checks.require_at_least("target", inputs["target"], 0)
        if "pred" in inputs and not self.log_input:
            checks.require_at_least("pred", inputs["pred"], 0)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        if not self.log_input:
            return self._torch(pred, target)
        # A log rate beyond the largest number is held there, with a slope that even float16
        # gradients hold: a wild prediction then costs much and is pushed back, and is never inf.
        highest = math.log(torch.finfo(pred.dtype).max) - math.log(2 * max(pred.numel(), 1))
        excess = F.relu(pred - highest)
        return self._torch(pred.clamp(max=highest), target) + (excess - excess.detach()) * 1e4

    def _torch(self, pred: Tensor, target: Tensor) -> Tensor:
        loss = F.poisson_nll_loss(
            pred, target, log_input=self.log_input, eps=self.eps, reduction="none"
        )
        if not self.full:
            return loss
        # Torch's own has a gradient of NaN by targets of 0.
        large = target > 1
        y = target.where(large, 1)
        stirling = y * torch.log(y) - y + torch.log(2 * math.pi * y) / 2
        return loss + stirling.where(large, 0)


def take_alike(inputs: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """Return named inputs of one shape; all but the target must be floating point.

    Raises:
        ValueError: A name is missing or unknown, or a shape or type is another.
    """
    checks.require_names(inputs, names)
    for name in names:
        checks.require_shape(name, inputs[name], inputs["pred"].shape, "the shape of pred")
        if name != "target" or inputs[name].is_complex():
            checks.require_floats(name, inputs[name])
    return same_precision(*(inputs[name] for name in names))


class GaussianNll(LossModule):
    """(log v + e²/v) / 2, and log(2π)/2 more where full. Nix and Weigend 1994.

    pred (the mean), target and var (the variance v), all (N, …). A variance below eps is taken
    for eps.
    """

    input_names = ("pred", "target", "var")

    def __init__(self, spec: pb.GaussianNll) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.full = spec.full
        self.eps = spec.eps

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return take_alike(inputs, self.input_names)

    def _values(self, pred: Tensor, target: Tensor, var: Tensor) -> Tensor:
        return functional.gaussian_nll(pred, target, var, full=self.full, eps=self.eps)


class Evidential(LossModule):
    """log(π/ν)/2 - α log Ω + (α + 1/2) log(ν e² + Ω) + log(Γ(α)/Γ(α + 1/2)) + λ |e| (2ν + α).

    Ω = 2β(1 + ν), e = target - pred, λ the coefficient. pred (the mean γ), target, nu > 0,
    alpha ≥ 1 and beta > 0, all (N, …); ν and β below 1e-6 are taken for 1e-6. Amini et al. 2020,
    https://arxiv.org/abs/1910.02600.
    """

    input_names = ("pred", "target", "nu", "alpha", "beta")

    def __init__(self, spec: pb.Evidential) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.coefficient = spec.coefficient

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse parameters of no distribution that has a variance."""
        for name, least in (("nu", 0), ("alpha", 1), ("beta", 0)):
            if name in inputs:
                checks.require_at_least(name, inputs[name], least)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return take_alike(inputs, self.input_names)

    def _values(self, *tensors: Tensor) -> Tensor:
        return functional.evidential(*tensors, coefficient=self.coefficient)


class Tweedie(Elementwise):
    """2 (y^(2-p)/((1-p)(2-p)) - y μ^(1-p)/(1-p) + μ^(2-p)/(2-p)). Jørgensen 1987.

    pred μ > 0 and target y ≥ 0, both (N, …); p is the power.
    """

    def __init__(self, spec: pb.Tweedie) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.power = spec.power

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse means that are not above 0 and targets below it."""
        if "target" in inputs:
            checks.require_at_least("target", inputs["target"], 0)
        if "pred" in inputs:
            checks.require_above("pred", inputs["pred"], 0)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return functional.tweedie(pred, target, power=self.power)


class Charbonnier(Elementwise):
    """sqrt(e² + eps²). pred, target (N, …). Charbonnier et al. 1994."""

    def __init__(self, spec: pb.Charbonnier) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.eps = spec.eps

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # hypot, since squares overflow and vanish; an eps that vanishes would divide 0 by 0.
        eps = max(self.eps, torch.finfo(pred.dtype).tiny)
        return torch.hypot(pred - target, pred.new_tensor(eps))


class AsymmetricMse(Elementwise):
    """over_penalty e² where e > 0, under_penalty e² elsewhere. Newey and Powell 1987.

    pred, target (N, …).
    """

    def __init__(self, spec: pb.AsymmetricMse) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.over_penalty = spec.over_penalty
        self.under_penalty = spec.under_penalty

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        error = pred - target
        square = error.square()
        return torch.where(error > 0, self.over_penalty * square, self.under_penalty * square)


BUILDERS: dict[str, type[LossModule]] = {
    "mse": Mse,
    "mae": Mae,
    "huber": Huber,
    "smooth_l1": SmoothL1,
    "log_cosh": LogCosh,
    "quantile": Quantile,
    "multi_quantile": MultiQuantile,
    "poisson_nll": PoissonNll,
    "gaussian_nll": GaussianNll,
    "evidential": Evidential,
    "tweedie": Tweedie,
    "charbonnier": Charbonnier,
    "asymmetric_mse": AsymmetricMse,
}
"""The losses of this family."""
