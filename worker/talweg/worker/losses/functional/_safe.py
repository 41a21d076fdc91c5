"""Small operations whose values and gradients stay finite where torch's own do not.

What is NaN stays NaN: a run that has diverged must not look like a perfect one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

EPS = 1e-12
"""The norm below which a vector has no direction."""

STEEPEST = 1e12
"""The slope of a logarithm where it is held."""
_STEPS = 8
# Of 1/x, 1/x³ and so on in log(Γ(x + 1/2) / Γ(x)) - log(x)/2.
_HALF_STEP_SERIES = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), to the last digit; torch's is x itself from 20 on."""
    return -F.logsigmoid(-x)


def root(square: Tensor) -> Tensor:
    """Return the square root of numbers ≥ 0, with a gradient of 0 at 0."""
    zero = square <= 0
    return torch.where(zero, 0, torch.where(zero, 1, square).sqrt())


def norm(x: Tensor) -> Tensor:
    """Return the Euclidean norm over the last dimension, with a gradient of 0 at 0."""
    return root(x.square().sum(-1))


def unit(x: Tensor) -> Tensor:
    """Vectors of the last dimension divided by their norm, or by 1e-12 where that is more.

    A vector without direction gets no gradient; it would be one of 1e12.
    """
    length = norm(x)[..., None]
    if not length.is_cpu or bool(length.isinf().any()):
        # Squares overflow. A power of two takes no digit off.
        x = torch.where(length.isinf(), x * 2.0**-80, x)
        length = norm(x)[..., None]
    return torch.where(length <= EPS, x.detach() / EPS, x / length.clamp(min=EPS))


def divide(over: Tensor, under: Tensor, empty: float = 0) -> Tensor:
    """over / under where under is above 0 by more than rounding, else `empty`.

    The gradients are finite: they grow as 1 / under, which has no number below the smallest normal
    one.
    """
    nothing = under < torch.finfo(under.dtype).tiny
    return torch.where(nothing, empty, over / torch.where(nothing, 1, under))


def power(base: Tensor, exponent: float) -> Tensor:
    """base^exponent, 0 with a gradient of 0 where base is not above 0, whatever the exponent."""
    nothing = base < torch.finfo(base.dtype).tiny
    return torch.where(nothing, 0, torch.where(nothing, 1, base) ** exponent)


def at_least(x: Tensor, bound: float) -> Tensor:
    """Return x, below the bound the bound with a gradient of 1.

    Without one, what has collapsed below the bound would never recover.
    """
    return torch.where(x < bound, bound + (x - x.detach()), x)


def log_gamma_half_step(x: Tensor) -> Tensor:
    """log(Γ(x + 1/2) / Γ(x)) for x > 0, to the last digits.

    The difference of two log gammas loses all digits where x is large. This moves x up by eight,
    where the asymptotic series holds to 1e-14 (Abramowitz and Stegun 6.1.47).
    """
    steps = torch.arange(_STEPS, dtype=x.dtype, device=x.device)
    moved = torch.log1p(0.5 / (x[..., None] + steps)).sum(-1)
    inverse = 1 / (x + _STEPS)
    square, series = inverse.square(), torch.zeros_like(x)
    for coefficient in reversed(_HALF_STEP_SERIES):
        series = series * square + coefficient
    return (series * inverse) - torch.log(inverse) / 2 - moved


def weighed(weight: float, values: Tensor, *inputs: Tensor) -> Tensor:
    """weight · values; with a weight of 0, 0 whatever the values are, and so are the gradients.

    Args:
        weight: The factor.
        values: May have overflowed or be NaN.
        inputs: What they are computed from.
    """
    if weight:
        return weight * values
    return torch.zeros_like(values) + _nothing(values.dtype, inputs)


def weighed_sum(weights: Sequence[float], values: Sequence[Tensor], *inputs: Tensor) -> Tensor:
    """Return the sum of values by their weights; as `weighed` where a weight is 0."""
    taken = [w * v for w, v in zip(weights, values, strict=True) if w]
    total = taken[0] if taken else torch.zeros_like(values[0])
    for value in taken[1:]:
        total = total + value
    if len(taken) < len(values):
        total = total + _nothing(total.dtype, inputs)
    return total


def _nothing(dtype: torch.dtype, inputs: Sequence[Tensor]) -> Tensor:
    """Return a 0 that is joined to inputs, and gives each a gradient of 0 whatever it holds."""
    floats = [each for each in inputs if each.is_floating_point()]
    zeros = [each.masked_fill(torch.ones_like(each, dtype=torch.bool), 0).sum() for each in floats]
    return torch.stack([zero.to(dtype) for zero in zeros]).sum()


def keep(pred: Tensor, mask: Tensor) -> Tensor:
    """Return predictions (N, C, …) that are 0 where kept, (N, …) or alike, is false.

    Masked before anything is computed of them: the gradient of what a position no longer counts
    for is 0 times its slope, and that of NaN is NaN.
    """
    # Nearly always everything counts. Looking at it is free on the CPU; a GPU would be waited for.
    if mask.is_cpu and bool(mask.all()):
        return pred
    return pred.where(mask if mask.dim() == pred.dim() else mask[:, None], 0)


def log(p: Tensor) -> Tensor:
    """Return the logarithm of numbers ≥ 0, at least -100 and there with a slope of 1e12.

    torch's own binary cross-entropy has that slope at 0: without one, what is confidently wrong
    would stay so.
    """
    # The slope of a logarithm below the smallest normal number is not finite.
    lowest = max(torch.finfo(p.dtype).tiny, math.exp(-100))
    log_p = p.detach().log().clamp(min=-100) + (p - p.detach()) * STEEPEST
    return torch.where(p < lowest, log_p, p.clamp(min=lowest).log())


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where mask is true; 0, joined to them, if it never is."""
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)


def masked_logsumexp(x: Tensor, mask: Tensor) -> Tensor:
    """log Σ e^x over the last dimension where mask is true.

    Where it never is, a number so low that its exponential is 0 and its gradient finite.
    """
    lowest = torch.finfo(x.dtype).min / 4
    some = mask.any(-1)
    # A row without any takes part as zeros, for its logarithm of 0 would have no gradient.
    taken = x.masked_fill(~mask, lowest).where(some[..., None], 0)
    return torch.logsumexp(taken, -1).where(some, lowest)
