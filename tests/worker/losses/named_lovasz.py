"""Rows of the Lovász losses."""

import itertools
from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from tests.worker.losses.named_regions import shares
from torch import Tensor

# ---------------------------------------------------------------- formulas


def extension(errors: list[Number], truth: list[bool]) -> Number:
    """Return the Lovász extension: the Jaccard loss of the sets of larger errors, integrated."""
    real = {i for i, t in enumerate(truth) if t}
    levels = sorted({*errors, mp.mpf(0)}, reverse=True)
    total = mp.mpf(0)
    for high, low in itertools.pairwise(levels):
        wrong = {i for i, e in enumerate(errors) if e >= high}
        either = real | wrong
        total += (high - low) * (1 - mp.mpf(len(real - wrong)) / len(either) if either else 0)
    return total


def lovasz_softmax(
    given: Arrays,
    classes: str = "present",
    per_image: bool = False,
    ignore_index: int | None = None,
) -> tuple[list[Number], Number]:
    probability = shares(given["pred"], "multiclass", True)
    target = given["target"].reshape(len(probability), -1)
    groups = [[n] for n in range(len(target))] if per_image else [list(range(len(target)))]
    images = []
    for group in groups:
        kept = [
            (n, p) for n in group for p in range(target.shape[1]) if target[n, p] != ignore_index
        ]
        losses = []
        for c in range(probability.shape[1]):
            truth = [target[at] == c for at in kept]
            if classes == "all" or any(truth):
                errors = [
                    abs(int(t) - probability[n, c, p])
                    for t, (n, p) in zip(truth, kept, strict=True)
                ]
                losses.append(extension(errors, truth))
        images.append(sum(losses) / len(losses) if losses else mp.mpf(0))
    return [sum(images) / len(images)], 1


def lovasz_hinge(given: Arrays) -> tuple[list[Number], Number]:
    truth = [bool(y) for y in given["target"].flatten()]
    errors = [
        max(mp.mpf(0), 1 - z * (1 if t else -1))
        for z, t in zip(given["pred"].flatten(), truth, strict=True)
    ]
    return [extension(errors, truth)], 1


# ---------------------------------------------------------------- rows

_GENERATOR = torch.Generator().manual_seed(5)


def _round(tensor: Tensor) -> Any:
    """Few digits, so that a row can be read and float16 moves it little."""
    return (tensor * 64).round().div(64).tolist()


_LOGITS = _round(2 * torch.randn(2, 3, 2, 2, generator=_GENERATOR))
_INDICES = [[[0, 2], [1, 1]], [[2, 2], [0, 1]]]
_ANSWERS = torch.randint(0, 2, (2, 3, 2, 2), generator=_GENERATOR).tolist()
# No two are equal, nor one the other's negative: at equal errors the gradient is not one alone.
_SCORES = ((torch.randperm(24, generator=_GENERATOR) - 12.25) / 8).reshape(2, 3, 2, 2).tolist()
_FLAT = _round(2 * torch.randn(3, 4, generator=_GENERATOR))

NAMED: list[Named] = [
    *(
        Named("lovasz_softmax", given, lovasz_softmax, params)
        for given in (
            {"pred": _LOGITS, "target": _INDICES},
            {"pred": _FLAT, "target": [3, 0, 3]},
        )
        for params in (
            {},
            {"classes": "all"},
            {"per_image": True},
            {"ignore_index": 2},
            {"ignore_index": 0, "per_image": True, "classes": "all"},
        )
    ),
    *(
        Named("lovasz_hinge", given, lovasz_hinge)
        for given in (
            {"pred": _SCORES, "target": _ANSWERS},
            {"pred": [0.3, -2.0, 1.5], "target": [1.0, 1.0, 0.0]},
            {"pred": [0.3, -2.0, 0.5], "target": [0, 0, 0]},
        )
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 3, 1).repeat(2, 1, 4)
_CLASSES = [torch.full((2, 4), c) for c in range(3)]

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("lovasz_softmax", params, {"pred": _FAR, "target": target})
        for target in _CLASSES
        for params in ({}, {"classes": "all"}, {"per_image": True}, {"ignore_index": 1})
    ),
    *(
        ("lovasz_hinge", {}, {"pred": _FAR, "target": target})
        for target in (torch.zeros(2, 3, 4), torch.ones(2, 3, 4))
    ),
]

_NONE, _NO_CLASS = torch.empty(0, 3, 4), torch.empty(0, 4).long()
_SOME = torch.randn(2, 3, 4, generator=_GENERATOR)
_IGNORED = torch.full((2, 4), 255)
_ONE_CLASS = torch.full((2, 1, 4), 1e4)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "lovasz_softmax": ("lovasz_softmax", {"pred": _NONE, "target": _NO_CLASS}),
    **{
        f"lovasz_softmax all ignored {params}": (
            {"lovasz_softmax": {"ignore_index": 255, **params}},
            {"pred": _SOME, "target": _IGNORED},
        )
        for params in ({}, {"classes": "all"}, {"per_image": True})
    },
    "lovasz_softmax of one class": (
        "lovasz_softmax",
        {"pred": _ONE_CLASS, "target": torch.zeros(2, 4).long()},
    ),
    "lovasz_hinge": ("lovasz_hinge", {"pred": _NONE, "target": _NONE}),
    "lovasz_hinge of sure answers": (
        "lovasz_hinge",
        {"pred": torch.full((2, 4), 2.0), "target": torch.ones(2, 4).long()},
    ),
}

# ---------------------------------------------------------------- refusals

_MASKS, _MAP = torch.rand(2, 3, 4), torch.zeros(2, 4).long()

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "lovasz_softmax",
        {"pred": _MASKS, "target": _MAP[:1]},
        r"target must have .*, \(2, 4\), but got \(1, 4\)",
    ),
    (
        "lovasz_softmax",
        {"pred": _MASKS, "target": _MASKS.long()},
        r"class indices of shape \(2, 4\), but got shape \(2, 3, 4\) of torch.int64, as one-hot",
    ),
    (
        "lovasz_hinge",
        {"pred": _MASKS, "target": _MASKS[:, :1]},
        r"target must have the shape of pred, \(2, 3, 4\), but got \(2, 1, 4\)",
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("lovasz_softmax", {"pred": _MASKS, "target": _MAP.float()}, "target must hold integers, but"),
    (
        "lovasz_hinge",
        {"pred": _MASKS.long(), "target": _MASKS},
        "pred must be floating point, but",
    ),
    (
        "lovasz_hinge",
        {"pred": _MASKS, "target": _MASKS + 1j},
        "target must be floating point, but",
    ),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("lovasz_hinge", {"pred": _MASKS}, "missing target"),
    ("lovasz_softmax", {"target": _MAP}, "missing pred"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("lovasz_softmax", {"pred": _MASKS, "target": _MAP + 3}, "class index from 0 to 2, but got 3"),
    (
        {"lovasz_softmax": {"ignore_index": 255}},
        {"pred": _MASKS, "target": _MAP - 1},
        "a class index from 0 to 2 or ignore_index 255, but got -1",
    ),
    ("lovasz_hinge", {"pred": _MASKS, "target": _MASKS}, "target must be 0 or 1, but got 0."),
]
