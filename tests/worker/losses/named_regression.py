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


# ---------------------------------------------------------------- rows

_PRED = [[2.0, 0.25, 1.02], [-4.0, 0.8, 0.499]]
_TARGET = [[0.5, 0.75, 1.0], [-1.0, 0.5, 0.5]]
_VAR = [[0.3, 2.5, 1.0], [11.0, 0.02, 0.7]]

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
    ("tweedie", {"pred": _ROW.long(), "target": _ROW}, "pred must be floating point, but got"),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("gaussian_nll", {"pred": _ROW, "target": _ROW}, "missing var"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("tweedie", {"pred": _ROW + 1, "target": _ROW - 2}, "target must be at least 0, but got -"),
    ("tweedie", {"pred": 0 * _ROW, "target": _ROW}, "pred must be above 0, but got 0"),
]
