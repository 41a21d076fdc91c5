"""Rows of the losses of numbers that take named inputs, or are new: all of a loss in one place."""

from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def gaussian_nll(
    given: Arrays, full: bool = False, eps: float = 1e-6
) -> tuple[list[Number], Number]:
    values = []
    for p, y, v in zip(*(given[n].flatten() for n in ("pred", "target", "var")), strict=True):
        held = max(v, mp.mpf(eps))
        constant = mp.log(2 * mp.pi) if full else 0
        values.append((mp.log(held) + (p - y) ** 2 / held + constant) / 2)
    return values, len(values)


def evidential(given: Arrays, coefficient: float = 0.01) -> tuple[list[Number], Number]:
    """The negative log density of Student's t, as the paper has it, and the regulariser."""
    values = []
    names = ("pred", "target", "nu", "alpha", "beta")
    for p, y, nu, a, b in zip(*(given[n].flatten() for n in names), strict=True):
        variance = b * (1 + nu) / (nu * a)
        density = (
            mp.gamma(a + 0.5)
            / (mp.gamma(a) * mp.sqrt(2 * a * mp.pi * variance))
            * (1 + (y - p) ** 2 / (2 * a * variance)) ** -(a + 0.5)
        )
        values.append(-mp.log(density) + coefficient * abs(y - p) * (2 * nu + a))
    return values, len(values)


# ---------------------------------------------------------------- rows

_PRED = [[2.0, 0.25, 1.02], [-4.0, 0.8, 0.499]]
_TARGET = [[0.5, 0.75, 1.0], [-1.0, 0.5, 0.5]]
_VAR = [[0.3, 2.5, 1.0], [11.0, 0.02, 0.7]]
_NU = [[0.3, 2.5, 1.0], [40.0, 0.02, 0.7]]
_ALPHA = [[1.01, 2.5, 1.5], [300.0, 7.0, 20.0]]
_BETA = [[0.3, 1.5, 1.0], [11.0, 0.02, 0.7]]

NAMED: list[Named] = [
    *(
        Named(
            "gaussian_nll",
            {"pred": _PRED, "target": _TARGET, "var": _VAR},
            gaussian_nll,
            params,
            learned=("pred", "target", "var"),
        )
        for params in ({}, {"full": True}, {"eps": 0.01, "full": True})
    ),
    *(
        Named(
            "evidential",
            {"pred": _PRED, "target": _TARGET, "nu": _NU, "alpha": _ALPHA, "beta": _BETA},
            evidential,
            params,
            learned=("pred", "target", "nu", "alpha", "beta"),
        )
        for params in ({}, {"coefficient": 0}, {"coefficient": 0.5})
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor(
    [[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0]]
)

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("gaussian_nll", params, {"pred": _FAR, "target": -_FAR.flip(0), "var": var})
        for params in ({}, {"full": True})
        for var in (torch.zeros(5, 3), torch.full((5, 3), 1e4), torch.full((5, 3), -1.0))
    ),
    *(
        (
            "evidential",
            {},
            {
                "pred": _FAR,
                "target": -_FAR.flip(0),
                "nu": torch.full((5, 3), nu),
                "alpha": torch.full((5, 3), alpha),
                "beta": torch.full((5, 3), beta),
            },
        )
        for nu in (0.0, 1e4)
        for alpha in (1.0, 1e4)
        for beta in (0.0, 1e4)
    ),
    *(
        (
            "tweedie",
            {"power": power},
            {
                "pred": torch.tensor([1e-4, 1e4, 1.0, 1e-4, 1e4]),
                "target": torch.tensor([0.0, 0.0, 1.0, 1e4, 1e4]),
            },
        )
        for power in (1.01, 1.5, 1.9)
    ),
]

_NONE = torch.empty(0, 3)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "gaussian_nll": ("gaussian_nll", {"pred": _NONE, "target": _NONE, "var": _NONE}),
    "evidential": (
        "evidential",
        {"pred": _NONE, "target": _NONE, "nu": _NONE, "alpha": _NONE, "beta": _NONE},
    ),
    "tweedie": ("tweedie", {"pred": _NONE, "target": _NONE}),
}

# ---------------------------------------------------------------- refusals

_COLUMN, _ROW = torch.rand(4, 1), torch.rand(4)

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "gaussian_nll",
        {"pred": _COLUMN, "target": _ROW, "var": _COLUMN},
        r"target must have the shape of pred, \(4, 1\), but got \(4,\)",
    ),
    (
        "gaussian_nll",
        {"pred": _ROW, "target": _ROW, "var": torch.ones(1)},
        r"var must have the shape of pred, \(4,\), but got \(1,\)",
    ),
    (
        "evidential",
        {"pred": _ROW, "target": _ROW, "nu": _ROW, "alpha": torch.ones(1), "beta": _ROW},
        r"alpha must have the shape of pred, \(4,\), but got \(1,\)",
    ),
    ("tweedie", {"pred": _COLUMN, "target": _ROW}, r"the shape of pred, \(4, 1\), but got \(4,\)"),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            "gaussian_nll",
            {"pred": _ROW, "target": _ROW, "var": _ROW, name: _ROW.long()},
            f"{name} must be floating point",
        )
        for name in ("pred", "var")
    ),
    (
        "evidential",
        {"pred": _ROW, "target": _ROW, "nu": _ROW, "alpha": _ROW, "beta": _ROW.long()},
        "beta must be floating point",
    ),
    ("tweedie", {"pred": _ROW.long(), "target": _ROW}, "pred must be floating point, but got"),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("gaussian_nll", {"pred": _ROW, "target": _ROW}, "missing var"),
    ("evidential", {"pred": _ROW, "target": _ROW, "nu": _ROW}, "missing alpha"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "evidential",
        {"pred": _ROW, "target": _ROW, "nu": _ROW, "alpha": _ROW / 2, "beta": _ROW},
        "alpha must be at least 1, but got 0",
    ),
    (
        "evidential",
        {"pred": _ROW, "target": _ROW, "nu": -1 - _ROW, "alpha": 1 + _ROW, "beta": _ROW},
        "nu must be at least 0, but got -",
    ),
    ("tweedie", {"pred": _ROW + 1, "target": _ROW - 2}, "target must be at least 0, but got -"),
    ("tweedie", {"pred": 0 * _ROW, "target": _ROW}, "pred must be above 0, but got 0"),
]
