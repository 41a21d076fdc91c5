"""Rows of the self-supervised losses without negatives."""

from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def columns(z: Any) -> list[list[Number]]:
    """Return the columns of a matrix, each less its mean."""
    found = [list(column) for column in z.T]
    return [[x - sum(column) / len(column) for x in column] for column in found]


def vicreg(
    given: Arrays, sim: float = 25, std: float = 25, cov: float = 1, eps: float = 1e-4
) -> tuple[list[Number], Number]:
    z1, z2 = given["z1"], given["z2"]
    number, size = z1.shape
    loss = sim * sum((z1 - z2).flatten() ** 2) / (number * size)
    for z in (z1, z2):
        centred = columns(z)
        spread = off = mp.mpf(0)
        for i, a in enumerate(centred):
            variance = sum(x * x for x in a) / max(number - 1, 1)
            spread += max(0, 1 - mp.sqrt(variance + mp.mpf(eps)))
            for j, b in enumerate(centred):
                if i != j:
                    together = sum(x * y for x, y in zip(a, b, strict=True))
                    off += (together / max(number - 1, 1)) ** 2
        loss += std * spread / size / 2 + cov * off / size
    return [loss], 1


def barlow_twins(
    given: Arrays, lambda_offdiag: float = 0.005, eps: float = 1e-5
) -> tuple[list[Number], Number]:
    number = len(given["z1"])

    def standardised(z: Any) -> list[list[Number]]:
        scales = [mp.sqrt(sum(x * x for x in c) / number + mp.mpf(eps)) for c in columns(z)]
        return [[x / s for x in c] for c, s in zip(columns(z), scales, strict=True)]

    loss = mp.mpf(0)
    for i, a in enumerate(standardised(given["z1"])):
        for j, b in enumerate(standardised(given["z2"])):
            c = sum(x * y for x, y in zip(a, b, strict=True)) / number
            loss += (c - 1) ** 2 if i == j else mp.mpf(lambda_offdiag) * c**2
    return [loss], 1


# ---------------------------------------------------------------- rows

_A = [[0.3, -1.2, 2.5], [-0.4, 1.0, -3.0], [0.1, 0.2, 0.3]]
_B = [[0.7, -0.9, 2.3], [-0.1, 0.8, -2.6], [0.4, 0.1, -0.3]]

NAMED: list[Named] = [
    *(
        Named("vicreg", given, vicreg, params, ("z1", "z2"))
        for given in ({"z1": _A, "z2": _B}, {"z1": _A[:1], "z2": _B[:1]})
        for params in (
            {},
            {"sim": 1.5, "std": 0.0, "cov": 0.0},
            {"sim": 0.0, "std": 3.0, "cov": 0.0, "eps": 0.1},
            {"sim": 0.0, "std": 0.0, "cov": 2.0},
        )
    ),
    *(
        Named("barlow_twins", {"z1": _A, "z2": _B}, barlow_twins, params, ("z1", "z2"))
        for params in ({}, {"lambda_offdiag": 0.7, "eps": 0.1})
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e4, -1e4, 1e4], [1e4, 1e4, 0.0]])
_SMALL = torch.tensor([[1e-4, 0.0, 0.0], [0.0, 0.0, 0.0], [-1e4, 1e4, -1e4], [1e-4, 1e-4, 0.0]])
_SAME = torch.ones(4, 3)
_BOTH = ("vicreg", "barlow_twins")

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    (loss, {}, {"z1": one, "z2": other})
    for one, other in ((_FAR, -_FAR), (_FAR, _FAR), (_FAR, _SMALL), (_SAME, _SAME), (_SAME, -_FAR))
    for loss in _BOTH
]

_NONE = torch.empty(0, 3)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "vicreg": ("vicreg", {"z1": _NONE, "z2": _NONE}),
    "barlow_twins": ("barlow_twins", {"z1": _NONE, "z2": _NONE}),
}

# ---------------------------------------------------------------- refusals

_N3, _N4, _V = torch.rand(3, 2), torch.rand(4, 2), torch.rand(3)

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"z1": _N3, "z2": _N4}, r"z2 must have the shape of z1, \(3, 2\), but got \(4, 2\)")
        for loss in _BOTH
    ),
    *(
        (loss, {"z1": _V, "z2": _V}, r"z1 must have 2 dimensions \(N, D\), but got shape \(3,\)")
        for loss in _BOTH
    ),
    (
        "barlow_twins",
        {"z1": _N3[:1], "z2": _N3[:1]},
        "z1 and z2 must hold at least 2 samples to correlate, but got 1",
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (loss, {"z1": _N3, "z2": _N3.long()}, "z2 must be floating point, but got torch.int64")
    for loss in _BOTH
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("vicreg", {"z1": _N3, "z": _N3}, "missing z2; unknown z"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = []
