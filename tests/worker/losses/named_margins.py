"""Rows of the softmax losses with a margin."""

from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from tests.worker.losses.named_batches import tell
from tests.worker.losses.named_pairs import cosine
from torch import Tensor

# ---------------------------------------------------------------- formulas


def arcface(given: Arrays, margin: float = 0.5, scale: float = 64) -> tuple[list[Number], Number]:
    values = []
    for z, y in zip(given["embeddings"], given["labels"], strict=True):
        scores = []
        for c, w in enumerate(given["class_weight"]):
            angle = mp.acos(cosine(z, w))
            if c != y:
                score = mp.cos(angle)
            elif angle <= mp.pi - margin:
                score = mp.cos(angle + margin)
            else:
                score = mp.cos(angle) - margin * mp.sin(margin)
            scores.append(scale * score)
        values.append(tell(scores, int(y)))
    return values, len(values)


def cosface(given: Arrays, margin: float = 0.35, scale: float = 64) -> tuple[list[Number], Number]:
    values = []
    for z, y in zip(given["embeddings"], given["labels"], strict=True):
        cosines = [cosine(z, w) for w in given["class_weight"]]
        scores = [scale * (s - mp.mpf(margin) * (c == y)) for c, s in enumerate(cosines)]
        values.append(tell(scores, int(y)))
    return values, len(values)


# ---------------------------------------------------------------- rows

_A = [[0.3, -1.2, 2.5], [-0.4, 1.0, -3.0], [0.1, 0.2, 0.3]]
# The second sample is beyond π less the margin from its class, the last one near its centre.
_CLASSES = {
    "embeddings": [*_A, [1.0, 0.01, 0.0]],
    "class_weight": [[0.2, -1.0, 2.0], [0.45, -0.9, 3.1], [2.0, 0.0, 0.1]],
    "labels": [0, 1, 2, 2],
}

NAMED: list[Named] = [
    *(
        Named(loss, _CLASSES, formula, params, ("embeddings", "class_weight"))
        for loss, formula, params in (
            ("arcface", arcface, {}),
            ("arcface", arcface, {"margin": 0.2, "scale": 5.0}),
            ("arcface", arcface, {"margin": 0.0, "scale": 1.0}),
            ("cosface", cosface, {}),
            ("cosface", cosface, {"margin": 0.1, "scale": 3.0}),
        )
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e4, -1e4, 1e4], [1e4, 1e4, 0.0]])
_SMALL = torch.tensor([[1e-4, 0.0, 0.0], [0.0, 0.0, 0.0], [-1e4, 1e4, -1e4], [1e-4, 1e-4, 0.0]])
_FOUR = torch.tensor([0, 0, 1, 1])

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        (loss, params, {"embeddings": z, "class_weight": weight, "labels": _FOUR})
        for z, weight in ((_FAR, _FAR), (_FAR, -_FAR), (_FAR, _SMALL), (0 * _FAR, _FAR))
        for loss, params in (
            ("arcface", {}),
            ("arcface", {"margin": 3.0, "scale": 1024.0}),
            ("cosface", {}),
            ("cosface", {"scale": 1024.0}),
        )
    ),
]

_NONE, _NO_CLASS = torch.empty(0, 3), torch.empty(0).long()

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    **{
        loss: (
            loss,
            {"embeddings": _NONE, "class_weight": torch.randn(2, 3), "labels": _NO_CLASS},
        )
        for loss in ("arcface", "cosface")
    },
}

# ---------------------------------------------------------------- refusals

_N3, _N4 = torch.rand(3, 2), torch.rand(4, 2)
_INDICES = torch.tensor([0, 1, 0])
_ANGLES = ("arcface", "cosface")

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            loss,
            {"embeddings": _N3, "class_weight": _N4, "labels": _INDICES[:2]},
            r"labels must be class indices of shape \(3,\), but got shape \(2,\)",
        )
        for loss in _ANGLES
    ),
    *(
        (
            loss,
            {"embeddings": _N3, "class_weight": torch.rand(2, 4), "labels": _INDICES},
            r"class_weight must have vectors as long as the embeddings, \(2, 2\), .* \(2, 4\)",
        )
        for loss in _ANGLES
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            loss,
            {"embeddings": _N3, "class_weight": _N4.int(), "labels": _INDICES},
            "class_weight must be floating point, but got torch.int32",
        )
        for loss in _ANGLES
    ),
    *(
        (
            loss,
            {"embeddings": _N3, "class_weight": _N4, "labels": torch.ones(3).bool()},
            "labels must hold integers, but got torch.bool",
        )
        for loss in _ANGLES
    ),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("arcface", {"embeddings": _N3, "labels": _INDICES}, "missing class_weight"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (
            loss,
            {"embeddings": _N3, "class_weight": _N3[:2], "labels": torch.tensor([0, 1, wrong])},
            f"labels must be a class index from 0 to 1, but got {wrong}",
        )
        for loss in _ANGLES
        for wrong in (2, -1)
    ),
]
