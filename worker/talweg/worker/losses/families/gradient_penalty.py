"""The gradient penalty, which takes a network beside tensors and so is no member of `Loss`."""

from collections.abc import Callable

from torch import Tensor

from talweg.worker.losses import checks
from talweg.worker.losses.functional import generative


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    interp: Tensor,
    weight: float = 10.0,
) -> Tensor:
    """weight mean (|∇critic| - 1)² at interp real + (1 - interp) fake. Gulrajani et al. 2017.

    Args:
        critic: Samples (N, …) to outputs, each of its own sample alone.
        real: Real samples (N, …).
        fake: Made samples, of the same shape.
        interp: Each sample's share of the real one (N,), in [0, 1].
        weight: The penalty's weight, at least 0.

    Returns:
        A scalar, joined to the critic's parameters. The norm is over all features of a sample;
        where it is 0 it has a gradient of 0.

    Raises:
        ValueError: A shape, dtype or value is wrong.
    """
    checks.require_floats("real", real)
    checks.require_floats("fake", fake)
    checks.require_floats("interp", interp)
    checks.require_shape("fake", fake, real.shape, "the shape of real")
    if not real.dim():
        raise ValueError("real must have at least 1 dimension (N, …), but got shape ()")
    checks.require_shape("interp", interp, real.shape[:1], "one fraction per sample")
    checks.require_between("interp", interp, 0, 1)
    if not weight >= 0:
        raise ValueError(f"weight must be >= 0, but got {weight:g}")
    return generative.gradient_penalty(critic, real, fake, interp, weight=weight)
