"""Losses of numbers that are the likelihood of a distribution. e = pred - target throughout."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import Elementwise, LossModule, reduction_of, same_precision
from talweg.worker.losses.functional import regression as functional


class PoissonNll(Elementwise):
    """Negative log likelihood of a Poisson count.

    L = e^p - y p where pred p is the log rate, else p - y log(p + eps)

    full adds Stirling's y log y - y + log(2πy)/2 where y > 1.

    Args:
        log_input: The model gives the logarithm of the rate; default true.
        full: Add Stirling's approximation of log y!, where y > 1; default false.
        eps: Added to the rate inside the logarithm where log_input is false; > 0, default 1e-8.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …) ≥ 0.
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Cameron and Trivedi 1998
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


def _take_alike(inputs: Mapping[str, Tensor], names: tuple[str, ...]) -> tuple[Tensor, ...]:
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
    """Negative log likelihood of a normal distribution, by mean and variance.

    L = (log v + e²/v)/2, and log(2π)/2 more where full, with e = pred - target, v = max(var, eps)

    Args:
        full: Add the constant log(2π)/2; default false.
        eps: A smaller variance is raised to this; > 0, default 1e-6.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …); var (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Nix and Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138
    """

    input_names = ("pred", "target", "var")

    def __init__(self, spec: pb.GaussianNll) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.full = spec.full
        self.eps = spec.eps

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        return _take_alike(inputs, self.input_names)

    def _values(self, pred: Tensor, target: Tensor, var: Tensor) -> Tensor:
        return functional.gaussian_nll(pred, target, var, full=self.full, eps=self.eps)


class Evidential(LossModule):
    """Deep evidential regression: the likelihood under an uncertain mean and variance.

    L = log(π/ν)/2 - α log Ω + (α + ½) log(ν e² + Ω) + log(Γ(α)/Γ(α + ½)) + λ |e| (2ν + α)

    e = target - pred, Ω = 2β(1 + ν) and λ = coefficient, with ν = nu, α = alpha, β = beta; ν and β
    below 1e-6 are taken for 1e-6.

    Args:
        coefficient: Weight of the regulariser |e| (2ν + α); in [0, 1e6], default 0.01.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …); nu (N, …) > 0; alpha (N, …) ≥ 1; beta (N, …) > 0.
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Amini et al. 2020, https://arxiv.org/abs/1910.02600
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
        return _take_alike(inputs, self.input_names)

    def _values(self, *tensors: Tensor) -> Tensor:
        return functional.evidential(*tensors, coefficient=self.coefficient)


class Tweedie(Elementwise):
    """Deviance of a Tweedie distribution, which has a mass at 0.

    L = 2 (y^(2-p)/((1-p)(2-p)) - y μ^(1-p)/(1-p) + μ^(2-p)/(2-p)), with μ = pred, y = target

    Args:
        power: The power p of the mean by which the variance grows; in (1, 2), default 1.5.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …) > 0; target (N, …) ≥ 0.
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Jørgensen 1987
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


BUILDERS: dict[str, type[LossModule]] = {
    "poisson_nll": PoissonNll,
    "gaussian_nll": GaussianNll,
    "evidential": Evidential,
    "tweedie": Tweedie,
}
"""The losses of this family."""
