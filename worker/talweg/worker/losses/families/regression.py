"""Losses of numbers. e = pred - target throughout."""

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


class Mse(TorchElementwise):
    """Mean squared error.

    L = e², with e = pred - target

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Gauss 1809
    """

    def __init__(self, spec: pb.Mse) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.mse_loss(pred, target, reduction=reduction)


class Mae(TorchElementwise):
    """Mean absolute error.

    L = |e|, with e = pred - target

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Laplace 1774
    """

    def __init__(self, spec: pb.Mae) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.l1_loss(pred, target, reduction=reduction)


class Huber(TorchElementwise):
    """Huber loss: quadratic near zero, linear beyond delta.

    L = e²/2 where |e| ≤ delta, else delta (|e| - delta/2), with e = pred - target

    Args:
        delta: Where the loss turns from quadratic to linear, in the (standardised) target's units;
            > 0, default 1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Huber 1964, https://doi.org/10.1214/aoms/1177703732
    """

    def __init__(self, spec: pb.Huber) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.delta = spec.delta

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.huber_loss(pred, target, reduction=reduction, delta=self.delta)


class SmoothL1(TorchElementwise):
    """Smooth L1 loss: the Huber loss of delta = beta, divided by beta.

    L = e²/(2 beta) where |e| < beta, else |e| - beta/2, with e = pred - target

    Where beta is 0 it is |e|.

    Args:
        beta: Where the loss turns from quadratic to linear, in the (standardised) target's units;
            ≥ 0, default 1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Girshick 2015, https://arxiv.org/abs/1504.08083
    """

    def __init__(self, spec: pb.SmoothL1) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.beta = spec.beta

    def _torch(self, pred: Tensor, target: Tensor, reduction: str) -> Tensor:
        return F.smooth_l1_loss(pred, target, reduction=reduction, beta=self.beta)


class LogCosh(Elementwise):
    """Log-cosh loss: the logarithm of the hyperbolic cosine of the error.

    L = log cosh e = |e| + softplus(-2|e|) - ln 2, with e = pred - target

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Green 1990, https://doi.org/10.1109/42.52985
    """

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
    """Pinball loss of one quantile.

    L = max(q (y - p), (q - 1) (y - p)), with p = pred, y = target

    Args:
        q: The quantile to predict; in (0, 1), default 0.5.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Koenker and Bassett 1978, https://doi.org/10.2307/1913643
    """

    def __init__(self, spec: pb.Quantile) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.q = spec.q

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # Two ramps and not a maximum, whose gradient at the kink would be q - 1/2.
        error = pred - target
        return self.q * F.relu(-error) + (1 - self.q) * F.relu(error)


class MultiQuantile(LossModule):
    """Pinball losses of Q quantiles at once.

    L = max(q (y - p_q), (q - 1) (y - p_q)), for each quantile q

    Args:
        quantiles: The quantiles to predict, rising; each in (0, 1), 1 to 100 of them.
        reduction: mean (default), sum or none.

    Inputs: pred (N, Q); target (N,).
    Returns: A value a quantile (N, …, Q), or the scalar reduced over samples and quantiles.
    Reference: Koenker and Bassett 1978, https://doi.org/10.2307/1913643
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
        checks.require_shape("pred", pred, shape, "target's shape and one value per quantile")
        checks.require_floats("pred", pred)
        if target.is_complex():
            checks.require_floats("target", target)
        return same_precision(pred, target)

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        error = pred - target[..., None]
        q = self.quantiles.to(pred)
        return q * F.relu(-error) + (1 - q) * F.relu(error)


class Charbonnier(Elementwise):
    """Charbonnier loss: an absolute error with a rounded tip.

    L = sqrt(e² + eps²), with e = pred - target

    Args:
        eps: Width of the rounded tip, in the (standardised) target's units; > 0, default 0.001.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Charbonnier et al. 1994, https://doi.org/10.1109/ICIP.1994.413553
    """

    def __init__(self, spec: pb.Charbonnier) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.eps = spec.eps

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        # hypot, since squares overflow and vanish; an eps that vanishes would divide 0 by 0.
        eps = max(self.eps, torch.finfo(pred.dtype).tiny)
        return torch.hypot(pred - target, pred.new_tensor(eps))


class AsymmetricMse(Elementwise):
    """Squared error weighed by the sign of the error (expectile loss).

    L = over_penalty e² where e > 0, else under_penalty e², with e = pred - target

    Args:
        over_penalty: Weight where the prediction is above the target; ≥ 0, default 2.
        under_penalty: Weight where the prediction is at or below the target; ≥ 0, default 1.
        reduction: mean (default), sum or none.

    Inputs: pred (N, …); target (N, …).
    Returns: A value an element (N, …), or the reduced scalar.
    Reference: Newey and Powell 1987 (expectiles), https://doi.org/10.2307/1911031
    """

    def __init__(self, spec: pb.AsymmetricMse) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.over_penalty = spec.over_penalty
        self.under_penalty = spec.under_penalty

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        error = pred - target
        # An error that costs nothing may be of any size.
        if not self.over_penalty:
            error = error.clamp(max=0)
        if not self.under_penalty:
            error = error.clamp(min=0)
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
    "charbonnier": Charbonnier,
    "asymmetric_mse": AsymmetricMse,
}
"""The losses of this family."""
