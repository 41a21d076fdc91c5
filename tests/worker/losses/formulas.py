"""The losses written a second time, from their definitions, in fifty digits and plain Python.

Each formula takes one prediction and one target (one row of logits and one class) and gives one
value; none shares code or tricks with the losses under test. Gradients come from numerical
differentiation, which fifty digits make exact.
"""

from collections.abc import Callable, Sequence
from typing import Any

import mpmath  # type: ignore[import-untyped]

Number = Any
"""A real number of mpmath."""
Elementwise = Callable[..., Number]

mpmath.mp.dps = 50
mp = mpmath.mp


def sigmoid(x: Number) -> Number:
    return 1 / (1 + mp.exp(-x))


def softmax(logits: Sequence[Number]) -> list[Number]:
    powers = [mp.exp(z) for z in logits]
    total = sum(powers)
    return [power / total for power in powers]


# ---------------------------------------------------------------- numbers: (pred, target)


def mse(p: Number, y: Number) -> Number:
    return (p - y) ** 2


def mae(p: Number, y: Number) -> Number:
    return abs(p - y)


def huber(p: Number, y: Number, delta: float = 1) -> Number:
    e = abs(p - y)
    return e**2 / 2 if e <= delta else delta * (e - mp.mpf(delta) / 2)


def smooth_l1(p: Number, y: Number, beta: float = 1) -> Number:
    return huber(p, y, beta) / beta if beta else abs(p - y)


def log_cosh(p: Number, y: Number) -> Number:
    return mp.log(mp.cosh(p - y))


def quantile(p: Number, y: Number, q: float = 0.5) -> Number:
    return max(q * (y - p), (q - 1) * (y - p))


def poisson_nll(
    p: Number, y: Number, log_input: bool = True, full: bool = False, eps: float = 1e-8
) -> Number:
    loss = mp.exp(p) - y * p if log_input else p - y * mp.log(p + eps)
    if full and y > 1:
        loss += y * mp.log(y) - y + mp.log(2 * mp.pi * y) / 2
    return loss


def tweedie(p: Number, y: Number, power: float = 1.5) -> Number:
    a, b = 1 - mp.mpf(power), 2 - mp.mpf(power)
    constant = y**b / (a * b) if y > 0 else 0
    return 2 * (constant - y * p**a / a + p**b / b)


def charbonnier(p: Number, y: Number, eps: float = 1e-3) -> Number:
    return mp.sqrt((p - y) ** 2 + mp.mpf(eps) ** 2)


def asymmetric_mse(
    p: Number, y: Number, over_penalty: float = 2, under_penalty: float = 1
) -> Number:
    return (over_penalty if p > y else under_penalty) * (p - y) ** 2


# Each formula in its own language, and what it means. Together they use every function.
EXPRESSIONS: dict[str, Elementwise] = {
    "where(pred > target, k * (pred - target)**2, (pred - target)**2)": lambda p, y, k: (
        (k if p > y else 1) * (p - y) ** 2
    ),
    "abs(pred - target)": lambda p, y: abs(p - y),
    "sqrt(square(pred - target) + eps)": lambda p, y, eps: mp.sqrt((p - y) ** 2 + eps),
    "log1p((pred - target)**2 / scale)": lambda p, y, scale: mp.log(1 + (p - y) ** 2 / scale),
    "log(cosh(pred) + exp(target))": lambda p, y: mp.log(mp.cosh(p) + mp.exp(y)),
    "expm1(0.25 * pred) * sign(target - 0.2)": lambda p, y: (
        (mp.exp(p / 4) - 1) * mp.sign(y - mp.mpf(0.2))
    ),
    "sin(pred) * cos(target) - atan(pred)": lambda p, y: mp.sin(p) * mp.cos(y) - mp.atan(p),
    "sinh(pred) - tanh(target * pred)": lambda p, y: mp.sinh(p) - mp.tanh(y * p),
    "erf(pred) + relu(pred - target)": lambda p, y: mp.erf(p) + max(p - y, 0),
    "softplus(pred) - pred * target": lambda p, y: mp.log(1 + mp.exp(p)) - p * y,
    "-target * log_sigmoid(pred) - (1 - target) * log_sigmoid(-pred)": lambda p, y: (
        -y * mp.log(sigmoid(p)) - (1 - y) * mp.log(sigmoid(-p))
    ),
    "(target - sigmoid(pred))**2 / 2": lambda p, y: (y - sigmoid(p)) ** 2 / 2,
    "maximum(q * (target - pred), (q - 1) * (target - pred))": lambda p, y, q: max(
        q * (y - p), (mp.mpf(q) - 1) * (y - p)
    ),
    "clamp(pred - target, -1, high)**2": lambda p, y, high: min(max(p - y, -1), high) ** 2,
    "minimum(square(pred - target), target + pred**-2)": lambda p, y: min(
        (p - y) ** 2, y + 1 / p**2
    ),
    "where((pred >= target) & ~(pred < 0) | (target <= -1), pred, 2**(1/2))": lambda p, y: (
        p if (p >= y and not p < 0) or y <= -1 else mp.mpf(2) ** 0.5
    ),
    "(pred != target) * pred + (target == 0.5)": lambda p, y: (p != y) * p + (y == 0.5),
    "abs(pred - target)**1.5": lambda p, y: abs(p - y) ** mp.mpf(1.5),
}


def expression(p: Number, y: Number, formula: str, params: dict[str, float] | None = None) -> Any:
    return EXPRESSIONS[formula](p, y, **(params or {}))


# ---------------------------------------------------------------- yes or no: (pred, target)


def bce_with_logits(p: Number, y: Number, weight: float = 1, pos_weight: float = 1) -> Number:
    return -weight * (pos_weight * y * mp.log(sigmoid(p)) + (1 - y) * mp.log(sigmoid(-p)))


def bce(p: Number, y: Number) -> Number:
    def log(x: Number) -> Number:
        return max(mp.log(x), -100) if x > 0 else mp.mpf(-100)

    return -(y * log(p) + (1 - y) * log(1 - p))


def focal_binary(p: Number, y: Number, alpha: float | None = None, gamma: float = 2) -> Number:
    a, b = (1, 1) if alpha is None else (alpha, 1 - mp.mpf(alpha))
    yes, no = sigmoid(p), sigmoid(-p)
    return -a * y * no**gamma * mp.log(yes) - b * (1 - y) * yes**gamma * mp.log(no)


def asymmetric_multilabel(
    p: Number, y: Number, gamma_neg: float = 4, gamma_pos: float = 1, clip: float = 0.05
) -> Number:
    yes = sigmoid(p)
    shifted = max(yes - clip, 0)
    # 1 - shifted, which fifty digits cannot tell from 0 in this form where clip is 0.
    rest = sigmoid(-p) + clip if shifted else 1
    negative = -(shifted**gamma_neg) * mp.log(rest)
    return -y * (1 - yes) ** gamma_pos * mp.log(yes) + (1 - y) * negative


# ---------------------------------------------------------------- classes: (logits, class)


def cross_entropy(
    z: Sequence[Number],
    y: int | Sequence[Number],
    weight: Sequence[float] | None = None,
    label_smoothing: float = 0,
) -> Number:
    number = len(z)
    target = [mp.mpf(c == y) for c in range(number)] if isinstance(y, int) else y
    target = [(1 - mp.mpf(label_smoothing)) * t + mp.mpf(label_smoothing) / number for t in target]
    weights = weight or [1] * number
    return -sum(w * t * mp.log(p) for w, t, p in zip(weights, target, softmax(z), strict=True))


def focal(
    z: Sequence[Number], y: int, gamma: float = 2, alpha: Sequence[float] | None = None
) -> Number:
    p = softmax(z)[y]
    return -(alpha[y] if alpha else 1) * (1 - p) ** gamma * mp.log(p)


def multi_margin(z: Sequence[Number], y: int, margin: float = 1) -> Number:
    return sum(max(0, margin - z[y] + z[j]) for j in range(len(z)) if j != y) / len(z)


def poly1(z: Sequence[Number], y: int, epsilon: float = 1) -> Number:
    p = softmax(z)[y]
    return -mp.log(p) + epsilon * (1 - p)


def generalized_ce(z: Sequence[Number], y: int, q: float = 0.7) -> Number:
    return (1 - softmax(z)[y] ** mp.mpf(q)) / q


def symmetric_ce(
    z: Sequence[Number], y: int, alpha: float = 0.1, beta: float = 1, A: float = -4
) -> Number:
    p = softmax(z)[y]
    return -alpha * mp.log(p) - beta * A * (1 - p)
