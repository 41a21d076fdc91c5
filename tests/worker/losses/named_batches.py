"""Rows of the losses over a batch's cosines."""

from typing import Any

import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from tests.worker.losses.named_pairs import cosine
from torch import Tensor

# ---------------------------------------------------------------- formulas


def tell(scores: list[Number], right: int) -> Number:
    """Cross-entropy of one row of scores."""
    return formulas.cross_entropy(scores, right)


def nt_xent(given: Arrays, temperature: float = 0.5) -> tuple[list[Number], Number]:
    z = [*given["z1"], *given["z2"]]
    number = len(z)
    values = []
    for i in range(number):
        others = [k for k in range(number) if k != i]
        scores = [cosine(z[i], z[k]) / temperature for k in others]
        values.append(tell(scores, others.index((i + number // 2) % number)))
    return values, number


def info_nce(given: Arrays, temperature: float = 0.07) -> tuple[list[Number], Number]:
    values = []
    for i, query in enumerate(given["query"]):
        if "negatives" in given:
            against, right = [given["positive"][i], *given["negatives"]], 0
        else:
            against, right = list(given["positive"]), i
        values.append(tell([cosine(query, z) / temperature for z in against], right))
    return values, len(values)


def clip(given: Arrays, logit_scale: float = 14.2857) -> tuple[list[Number], Number]:
    def one_way(a: Any, b: Any) -> list[Number]:
        return [tell([mp.mpf(logit_scale) * cosine(x, y) for y in b], i) for i, x in enumerate(a)]

    there, back = (
        one_way(given["image"], given["text"]),
        one_way(given["text"], given["image"]),
    )
    values = [(a + b) / 2 for a, b in zip(there, back, strict=True)]
    return values, len(values)


def neighbours(given: Arrays, i: int) -> tuple[list[int], list[int]]:
    labels = list(given["labels"])
    same = [k for k in range(len(labels)) if k != i and labels[k] == labels[i]]
    return same, [k for k in range(len(labels)) if labels[k] != labels[i]]


def supcon(given: Arrays, temperature: float = 0.1) -> tuple[list[Number], Number]:
    z = given["embeddings"]
    values, number = [], 0
    for i in range(len(z)):
        same, other = neighbours(given, i)
        powers = {k: mp.exp(cosine(z[i], z[k]) / temperature) for k in (*same, *other)}
        shares = [mp.log(powers[p] / sum(powers.values())) for p in same]
        values.append(-sum(shares) / len(same) if same else mp.mpf(0))
        number += bool(same)
    return values, max(number, 1)


def circle(
    given: Arrays, held: Arrays, m: float = 0.25, gamma: float = 64
) -> tuple[list[Number], Number]:
    z, fixed = given["embeddings"], held["embeddings"]
    m, gamma = mp.mpf(m), mp.mpf(gamma)
    values, number = [], 0
    for i in range(len(z)):
        same, other = neighbours(given, i)
        pull = push = mp.mpf(0)
        for p in same:
            alpha = max(0, 1 + m - cosine(fixed[i], fixed[p]))
            pull += mp.exp(-gamma * alpha * (cosine(z[i], z[p]) - 1 + m))
        for n in other:
            alpha = max(0, cosine(fixed[i], fixed[n]) + m)
            push += mp.exp(gamma * alpha * (cosine(z[i], z[n]) - m))
        values.append(mp.log(1 + pull * push))
        number += bool(same) and bool(other)
    return values, max(number, 1)


def multi_similarity(
    given: Arrays, alpha: float = 2, beta: float = 50, base: float = 0.5
) -> tuple[list[Number], Number]:
    z = given["embeddings"]
    alpha, beta, base = mp.mpf(alpha), mp.mpf(beta), mp.mpf(base)
    values = []
    for i in range(len(z)):
        same, other = neighbours(given, i)
        pull = sum(mp.exp(-alpha * (cosine(z[i], z[p]) - base)) for p in same)
        push = sum(mp.exp(beta * (cosine(z[i], z[n]) - base)) for n in other)
        values.append(mp.log(1 + pull) / alpha + mp.log(1 + push) / beta)
    return values, len(values)


# ---------------------------------------------------------------- rows

_A = [[0.3, -1.2, 2.5], [-0.4, 1.0, -3.0], [0.1, 0.2, 0.3]]
_B = [[0.7, -0.9, 2.3], [-0.1, 0.8, -2.6], [0.4, 0.1, -0.3]]
_NEGATIVES = [[0.5, 0.5, -1.0], [-2.0, 0.3, 0.1]]
_LABELLED = {"embeddings": [*_A, *_B, [0.9, 0.4, -0.7]], "labels": [0, 1, 2, 0, 1, 1, 3]}
_OF_TWO = {"embeddings": [*_A, *_B], "labels": [5, 5, -1, 5, -1, -1]}
NAMED: list[Named] = [
    *(
        Named("nt_xent", {"z1": _A, "z2": _B}, nt_xent, params, ("z1", "z2"))
        for params in ({}, {"temperature": 0.1}, {"temperature": 3.0})
    ),
    Named("nt_xent", {"z1": _A[:1], "z2": _B[:1]}, nt_xent, {}, ("z1", "z2")),
    *(
        Named("info_nce", {"query": _A, "positive": _B}, info_nce, params, ("query", "positive"))
        for params in ({}, {"temperature": 1.1})
    ),
    *(
        Named(
            "info_nce",
            {"query": _A, "positive": _B, "negatives": _NEGATIVES},
            info_nce,
            params,
            ("query", "positive", "negatives"),
        )
        for params in ({}, {"temperature": 1.1})
    ),
    *(
        Named("clip", {"image": _A, "text": _B}, clip, params, ("image", "text"))
        for params in ({}, {"logit_scale": 2.0})
    ),
    *(
        Named(loss, given, formula, params, ("embeddings",), detached=loss == "circle")
        for given in (_LABELLED, _OF_TWO)
        for loss, formula, params in (
            ("supcon", supcon, {}),
            ("supcon", supcon, {"temperature": 0.9}),
            ("circle", circle, {}),
            ("circle", circle, {"m": 0.4, "gamma": 5.0}),
            ("multi_similarity", multi_similarity, {}),
            ("multi_similarity", multi_similarity, {"alpha": 3.0, "beta": 7.0, "base": 0.1}),
        )
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([[1e4, -1e4, 1e4], [0.0, 0.0, 0.0], [1e4, -1e4, 1e4], [1e4, 1e4, 0.0]])
_SMALL = torch.tensor([[1e-4, 0.0, 0.0], [0.0, 0.0, 0.0], [-1e4, 1e4, -1e4], [1e-4, 1e-4, 0.0]])
_SAME = torch.ones(4, 3)
_FOUR = torch.tensor([0, 0, 1, 1])
_VIEWS = [(_FAR, -_FAR), (_FAR, _FAR), (_FAR, _SMALL), (_SAME, _SAME), (0 * _FAR, 0 * _FAR)]
_LABELS = [torch.tensor([0, 1, 0, 1]), _FOUR, torch.zeros(4).long(), torch.arange(4)]

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        (loss, params, {a: one, b: other})
        for one, other in _VIEWS
        for loss, params, a, b in (
            ("nt_xent", {}, "z1", "z2"),
            ("nt_xent", {"temperature": 0.01}, "z1", "z2"),
            ("info_nce", {}, "query", "positive"),
            ("info_nce", {"temperature": 0.01}, "query", "positive"),
            ("clip", {}, "image", "text"),
            ("clip", {"logit_scale": 100.0}, "image", "text"),
        )
    ),
    *(
        ("info_nce", {}, {"query": one, "positive": other, "negatives": one})
        for one, other in _VIEWS
    ),
    *(
        (loss, params, {"embeddings": z, "labels": labels})
        for z in (_FAR, _SMALL, _SAME, 0 * _FAR)
        for labels in _LABELS
        for loss, params in (
            ("supcon", {}),
            ("supcon", {"temperature": 0.01}),
            ("circle", {}),
            ("circle", {"gamma": 1024.0}),
            ("multi_similarity", {}),
            ("multi_similarity", {"alpha": 100.0, "beta": 1000.0}),
        )
    ),
]

_NONE, _NO_CLASS = torch.empty(0, 3), torch.empty(0).long()
_THREE = torch.tensor([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "nt_xent": ("nt_xent", {"z1": _NONE, "z2": _NONE}),
    "nt_xent of one pair": ("nt_xent", {"z1": _THREE[:1], "z2": _THREE[1:2]}),
    "info_nce": ("info_nce", {"query": _NONE, "positive": _NONE}),
    "info_nce of one pair": ("info_nce", {"query": _THREE[:1], "positive": _THREE[1:2]}),
    "info_nce of no negatives": (
        "info_nce",
        {"query": _THREE, "positive": _THREE, "negatives": torch.empty(0, 2)},
    ),
    "clip": ("clip", {"image": _NONE, "text": _NONE}),
    "clip of one pair": ("clip", {"image": _THREE[:1], "text": _THREE[1:2]}),
    **{
        loss: (loss, {"embeddings": _NONE, "labels": _NO_CLASS})
        for loss in ("supcon", "circle", "multi_similarity")
    },
    "supcon of no positives": (
        "supcon",
        {"embeddings": _THREE, "labels": torch.arange(3)},
    ),
    "circle of no positives": ("circle", {"embeddings": _THREE, "labels": torch.arange(3)}),
    "circle of no negatives": ("circle", {"embeddings": _THREE, "labels": _NO_CLASS.new_zeros(3)}),
    "multi_similarity of one": (
        "multi_similarity",
        {"embeddings": _THREE[:1], "labels": torch.zeros(1).long()},
    ),
}

# ---------------------------------------------------------------- refusals

_N3, _N4, _V = torch.rand(3, 2), torch.rand(4, 2), torch.rand(3)
_TWO = (
    ("nt_xent", "z1", "z2"),
    ("info_nce", "query", "positive"),
    ("clip", "image", "text"),
)
_INDICES = torch.tensor([0, 1, 0])
_BATCH = ("supcon", "circle", "multi_similarity")

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {a: _N3, b: _N4}, rf"{b} must have the shape of {a}, \(3, 2\), but got \(4, 2\)")
        for loss, a, b in _TWO
    ),
    *(
        (loss, {a: _N3, b: _N3[:1]}, rf"{b} must have the shape of {a}, .* but got \(1, 2\)")
        for loss, a, b in _TWO
    ),
    *(
        (loss, {a: _V, b: _V}, rf"{a} must have 2 dimensions \(N, D\), but got shape \(3,\)")
        for loss, a, b in _TWO
    ),
    (
        "info_nce",
        {"query": _N3, "positive": _N3, "negatives": torch.rand(5, 3)},
        r"negatives must have vectors as long as those of query, \(5, 2\), but got \(5, 3\)",
    ),
    (
        "info_nce",
        {"query": _N3, "positive": _N3, "negatives": torch.rand(3, 5, 2)},
        r"negatives must have 2 dimensions \(M, D\), but got shape \(3, 5, 2\)",
    ),
    *(
        (
            loss,
            {"embeddings": _N3, "labels": torch.eye(3).long()},
            r"labels must be class indices of shape \(3,\), but got shape \(3, 3\) .* one-hot",
        )
        for loss in _BATCH
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {a: _N3, b: _N3.long()}, f"{b} must be floating point, but got torch.int64")
        for loss, a, b in _TWO
    ),
    *(
        (loss, {"embeddings": _N3, "labels": _V}, "labels must hold integers, but got torch.float")
        for loss in _BATCH
    ),
    *(
        (loss, {"embeddings": _N3.long(), "labels": _INDICES}, "embeddings must be floating point")
        for loss in _BATCH
    ),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("nt_xent", {"z1": _N3}, "inputs must be z1, z2, but found missing z2"),
    ("info_nce", {"query": _N3, "keys": _N3}, "positive, negatives, .* missing positive; unknown"),
    ("clip", {"image": _N3, "text": _N3, "logit_scale": _V}, "unknown logit_scale"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = []
