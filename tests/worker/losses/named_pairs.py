"""Rows of the losses of pairs and triplets of vectors."""

from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def dot(a: Any, b: Any) -> Number:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Any, b: Any) -> Number:
    return dot(a, b) / mp.sqrt(dot(a, a) * dot(b, b))


def distance(a: Any, b: Any, kind: str = "euclidean") -> Number:
    if kind == "cosine":
        return 1 - cosine(a, b)
    square = dot(a - b, a - b)
    return square if kind == "sqeuclidean" else mp.sqrt(square)


def contrastive(given: Arrays, margin: float = 1) -> tuple[list[Number], Number]:
    values = []
    for a, b, y in zip(given["emb1"], given["emb2"], given["similar"], strict=True):
        d = distance(a, b)
        values.append((y * d**2 + (1 - y) * max(0, margin - d) ** 2) / 2)
    return values, len(values)


def triplet(
    given: Arrays, margin: float = 1, distance: str = "euclidean", swap: bool = False
) -> tuple[list[Number], Number]:
    values = []
    for a, p, n in zip(given["anchor"], given["positive"], given["negative"], strict=True):
        far = _distance(a, n, distance)
        if swap:
            far = min(far, _distance(p, n, distance))
        values.append(max(0, _distance(a, p, distance) - far + margin))
    return values, len(values)


_distance = distance


def online_triplet(
    given: Arrays,
    strategy: str = "hard",
    margin: float = 1,
    distance: str = "euclidean",
    normalize: bool = False,
    soft_margin: bool = False,
    average: str = "nonzero",
) -> tuple[list[Number], Number]:
    """Return every triplet of the batch, looked at by itself."""
    z, labels = list(given["embeddings"]), list(given["labels"])
    if normalize:
        z = [a / mp.sqrt(dot(a, a)) for a in z]
    values = []
    for a in range(len(z)):
        near = [
            _distance(z[a], z[p], distance)
            for p in range(len(z))
            if p != a and labels[p] == labels[a]
        ]
        far = [_distance(z[a], z[n], distance) for n in range(len(z)) if labels[n] != labels[a]]
        if strategy == "hard":
            near, far = [max(near)] if near else [], [min(far)] if far else []
        for dp in near:
            for dn in far:
                if strategy == "semihard" and not dp < dn < dp + margin:
                    continue
                gap = dp - dn
                values.append(mp.log(1 + mp.exp(gap)) if soft_margin else max(0, gap + margin))
    if strategy == "all" and average == "nonzero":
        values = [value for value in values if value > 0]
    return values, max(len(values), 1)


def cosine_embedding(given: Arrays, margin: float = 0) -> tuple[list[Number], Number]:
    values = []
    for a, b, sign in zip(given["emb1"], given["emb2"], given["sign"], strict=True):
        cos = cosine(a, b)
        values.append(1 - cos if sign == 1 else max(0, cos - margin))
    return values, len(values)


def margin_ranking(given: Arrays, margin: float = 0) -> tuple[list[Number], Number]:
    rows = zip(*(given[name].flatten() for name in ("x1", "x2", "sign")), strict=True)
    values = [max(0, -sign * (one - other) + margin) for one, other, sign in rows]
    return values, len(values)


def negative_cosine(given: Arrays, held: Arrays) -> tuple[list[Number], Number]:
    values = [-cosine(a, b) for a, b in zip(given["emb1"], held["emb2"], strict=True)]
    return values, len(values)


# ---------------------------------------------------------------- rows

_A = [[0.3, -1.2, 2.5], [-0.4, 1.0, -3.0], [0.1, 0.2, 0.3], [1.5, -2.0, 1.0]]
_B = [[0.7, -0.9, 2.3], [-0.1, 0.8, -2.6], [0.4, 0.1, -0.3], [-1.0, 0.5, 0.2]]
_C = [[-0.5, 0.6, 1.2], [0.2, 1.5, -2.0], [0.2, 0.5, 0.1], [1.1, -1.5, 1.9]]
_BATCH = [*_A, *_B, [0.9, 0.4, -0.7]]
_LABELS = [0, 1, 2, 0, 0, 1, 2, 1, 3]
_PAIR = {"emb1": _A, "emb2": _B}
_TRIPLET = {"anchor": _A, "positive": _B, "negative": _C}
_LEARNED = ("emb1", "emb2")
_TRIPLES: list[dict[str, Any]] = [
    {},
    {"margin": 0.2},
    {"distance": "sqeuclidean", "margin": 0.7},
    {"distance": "cosine", "margin": 0.05},
    {"swap": True},
    {"swap": True, "distance": "sqeuclidean", "margin": 3.0},
    {"swap": True, "distance": "cosine", "margin": 0.4},
]
_MINED: list[dict[str, Any]] = [
    {"strategy": strategy, **params}
    for strategy in ("hard", "semihard", "all")
    for params in (
        {},
        {"margin": 0.3, "distance": "cosine"},
        {"margin": 2.5, "distance": "sqeuclidean"},
        {"margin": 0.4, "normalize": True},
        {"soft_margin": True},
    )
]

NAMED: list[Named] = [
    *(
        Named("contrastive", {**_PAIR, "similar": similar}, contrastive, params, _LEARNED)
        for similar in ([1, 0, 0, 1], [0.0, 1.0, 0.0, 0.0])
        for params in ({}, {"margin": 2.5})
    ),
    *(
        Named("triplet", _TRIPLET, triplet, params, ("anchor", "positive", "negative"))
        for params in _TRIPLES
    ),
    *(
        Named(
            "online_triplet",
            {"embeddings": _BATCH, "labels": _LABELS},
            online_triplet,
            params,
            ("embeddings",),
        )
        for params in ({}, *_MINED, {"strategy": "all", "average": "all"})
    ),
    *(
        Named("cosine_embedding", {**_PAIR, "sign": sign}, cosine_embedding, params, _LEARNED)
        for sign in ([1, -1, -1, 1], [-1.0, -1.0, 1.0, -1.0])
        for params in ({}, {"margin": 0.5}, {"margin": -0.5})
    ),
    *(
        Named("margin_ranking", given, margin_ranking, params, ("x1", "x2"))
        for given in (
            {"x1": _A[0], "x2": _B[1], "sign": [1.0, -1.0, 1.0]},
            {"x1": _A, "x2": _C, "sign": [[1, 1, -1], [-1, 1, 1], [1, -1, -1], [-1, -1, 1]]},
        )
        for params in ({}, {"margin": 0.55}, {"margin": -0.15})
    ),
    Named("negative_cosine", _PAIR, negative_cosine, learned=("emb1",), detached=True),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e-4, 0.0, 0.0], [1e4, 1e4, 0.0]])
_OTHER = torch.tensor([[-1e4, 1e4, -1e4], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1e4, 1e4, 1e4]])
# No two distances of it are equal in float32 and differ otherwise.
_SPREAD = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [-7e3, 0.0, 0.0], [1e4, 1e4, 0.0]])
_FOUR = torch.tensor([0, 0, 1, 1])
_KINDS = ("euclidean", "sqeuclidean", "cosine")

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("contrastive", {}, {"emb1": _FAR, "emb2": _OTHER, "similar": similar})
        for similar in (torch.ones(4), torch.zeros(4))
    ),
    *(
        (
            "triplet",
            {"distance": kind, "swap": swap},
            {"anchor": _FAR, "positive": positive, "negative": negative},
        )
        for kind in _KINDS
        for swap in (False, True)
        for positive, negative in ((_OTHER, _FAR), (_FAR, _OTHER), (_FAR, _FAR))
    ),
    *(
        (
            "online_triplet",
            {"strategy": strategy, "distance": kind, "soft_margin": soft},
            {"embeddings": embeddings, "labels": _FOUR},
        )
        for strategy in ("hard", "semihard", "all")
        for kind in _KINDS
        for soft in (False, True)
        for embeddings in (_SPREAD, _OTHER, torch.zeros(4, 3), torch.ones(4, 3))
    ),
    *(
        ("cosine_embedding", {}, {"emb1": _FAR, "emb2": _OTHER, "sign": sign})
        for sign in (torch.ones(4), -torch.ones(4))
    ),
    ("margin_ranking", {}, {"x1": _FAR, "x2": _OTHER, "sign": torch.ones(4, 3)}),
    ("negative_cosine", {}, {"emb1": _FAR, "emb2": _OTHER}),
]

_NONE, _NO_CLASS = torch.empty(0, 3), torch.empty(0).long()
_THREE = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "contrastive": (
        "contrastive",
        {"emb1": _NONE, "emb2": _NONE, "similar": torch.empty(0)},
    ),
    "contrastive of equal vectors": (
        "contrastive",
        {"emb1": _THREE, "emb2": _THREE, "similar": torch.ones(3).long()},
    ),
    "triplet": ("triplet", {"anchor": _NONE, "positive": _NONE, "negative": _NONE}),
    "cosine_embedding": (
        "cosine_embedding",
        {"emb1": _NONE, "emb2": _NONE, "sign": torch.empty(0)},
    ),
    "margin_ranking": (
        "margin_ranking",
        {"x1": _NONE, "x2": _NONE, "sign": torch.empty(0, 3)},
    ),
    "margin_ranking of equal scores": (
        "margin_ranking",
        {"x1": _THREE, "x2": _THREE, "sign": torch.ones(3, 2)},
    ),
    "negative_cosine": ("negative_cosine", {"emb1": _NONE, "emb2": _NONE}),
    "online_triplet": ("online_triplet", {"embeddings": _NONE, "labels": _NO_CLASS}),
    **{
        f"online_triplet {params} of {labels}": (
            {"online_triplet": params},
            {"embeddings": _THREE, "labels": torch.tensor(labels)},
        )
        for params in (*_MINED, {"strategy": "all", "average": "all"})
        for labels in ([0, 1, 2], [0, 0, 0])
    },
}

# ---------------------------------------------------------------- refusals

_N3, _N4, _V = torch.rand(3, 2), torch.rand(4, 2), torch.rand(3)
_PAIRS: list[tuple[str, str, str, str]] = [
    ("contrastive", "emb1", "emb2", "similar"),
    ("cosine_embedding", "emb1", "emb2", "sign"),
    ("margin_ranking", "x1", "x2", "sign"),
]

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {a: _N3, b: _N4, c: _V}, rf"{b} must have the shape of {a}, \(3, 2\), but got \(4,")
        for loss, a, b, c in _PAIRS
    ),
    *(
        (loss, {a: _N3, b: _N3, c: torch.ones(4)}, rf"{c} must have one value per pair, .* \(4,\)")
        for loss, a, b, c in _PAIRS
    ),
    *(
        (
            loss,
            {a: _N3, b: _N3, c: torch.ones(3, 1)},
            rf"{c} must have one value per pair, \(3,.*\), but got \(3, 1\)",
        )
        for loss, a, b, c in _PAIRS
    ),
    *(
        (loss, {a: _V, b: _V, c: _V}, rf"{a} must have 2 dimensions \(N, D\), but got .*\(3,\)")
        for loss, a, b, c in _PAIRS[:2]
    ),
    (
        "margin_ranking",
        {"x1": _V, "x2": _V[:, None], "sign": _V},
        r"x2 must have the shape of x1, \(3,\), but got \(3, 1\)",
    ),
    ("negative_cosine", {"emb1": _N3, "emb2": _N4}, r"emb2 must have the shape of emb1"),
    ("negative_cosine", {"emb1": _V, "emb2": _V}, r"emb1 must have 2 dimensions \(N, D\)"),
    (
        "triplet",
        {"anchor": _N3, "positive": _N3, "negative": _N4},
        r"negative must have the shape of anchor, \(3, 2\), but got \(4, 2\)",
    ),
    (
        "triplet",
        {"anchor": _N3, "positive": _N3[:1], "negative": _N3},
        r"positive must have the shape of anchor, \(3, 2\), but got \(1, 2\)",
    ),
    (
        "online_triplet",
        {"embeddings": _N3, "labels": torch.zeros(4).long()},
        r"labels must be class indices of shape \(3,\), but got shape \(4,\)",
    ),
    (
        "online_triplet",
        {"embeddings": _N3, "labels": torch.eye(3).long()},
        r"class indices of shape \(3,\), but got shape \(3, 3\) .*, as one-hot rows have",
    ),
    (
        "online_triplet",
        {"embeddings": _V, "labels": torch.zeros(3).long()},
        r"embeddings must have 2 dimensions \(N, D\), but got shape \(3,\)",
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {a: _N3.long(), b: _N3, c: _V}, f"{a} must be floating point, but got torch.int64")
        for loss, a, b, c in _PAIRS
    ),
    *(
        (loss, {a: _N3, b: _N3, c: torch.ones(_N3.shape[:d]) + 1j}, f"{c} must be floating point")
        for (loss, a, b, c), d in zip(_PAIRS, (1, 1, 2), strict=True)
    ),
    ("negative_cosine", {"emb1": _N3, "emb2": _N3.long()}, "emb2 must be floating point"),
    (
        "triplet",
        {"anchor": _N3, "positive": _N3.bool(), "negative": _N3},
        "positive must be floating point, but got torch.bool",
    ),
    (
        "online_triplet",
        {"embeddings": _N3, "labels": torch.zeros(3)},
        "labels must hold integers, but got torch.float32: it takes class indices",
    ),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("contrastive", {"emb1": _N3, "emb2": _N3}, "inputs must be emb1, emb2, similar, .* similar"),
    ("triplet", {"anchor": _N3, "positive": _N3, "negatives": _N3}, "missing negative; unknown"),
    ("online_triplet", {"embeddings": _N3, "target": _V}, "missing labels; unknown target"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "contrastive",
        {"emb1": _N3, "emb2": _N3, "similar": torch.tensor([1, 0, -1])},
        "similar must be 0 or 1, but got -1",
    ),
    (
        "cosine_embedding",
        {"emb1": _N3, "emb2": _N3, "sign": torch.tensor([1.0, 0.0, -1.0])},
        "sign must be 1 or -1, but got 0",
    ),
    (
        "margin_ranking",
        {"x1": _V, "x2": _V, "sign": torch.tensor([1.0, 0.5, -1.0])},
        "sign must be 1 or -1, but got 0.5",
    ),
]
