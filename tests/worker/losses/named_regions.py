"""Rows of the losses of masks."""

import itertools
from typing import Any

import numpy as np
import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def shares(pred: Any, mode: str, from_logits: bool) -> Any:
    """Probabilities (N, C, P)."""
    flat = pred.reshape(*pred.shape[:2], -1)
    if not from_logits:
        return flat
    if mode != "multiclass":
        return np.vectorize(formulas.sigmoid, otypes=[object])(flat)
    found = np.empty_like(flat)
    for n, p in np.ndindex(flat.shape[0], flat.shape[2]):
        found[n, :, p] = formulas.softmax(list(flat[n, :, p]))
    return found


def regions(
    measure: Any,
    given: Arrays,
    mode: str = "binary",
    from_logits: bool = True,
    batch: bool = False,
    include_background: bool = True,
    squared: bool = False,
    ignore_index: int | None = None,
    smooth_nr: float = 1e-5,
    smooth_dr: float = 1e-5,
) -> tuple[list[Number], Number]:
    """Return a measure of Σ p t, Σ p and Σ t over positions that count, by sample and class."""
    probability = shares(given["pred"], mode, from_logits)
    samples, classes, positions = probability.shape
    target = given["target"].reshape(samples, *([-1] if mode == "multiclass" else [classes, -1]))
    background = include_background or classes == 1
    values = []
    groups = [list(range(samples))] if batch else [[n] for n in range(samples)]
    for group in groups:
        for c in range(0 if background else 1, classes):
            both = of_pred = of_target = mp.mpf(0)
            for n, at in itertools.product(group, range(positions)):
                y = target[n, at] if mode == "multiclass" else target[n, c, at]
                if y == ignore_index:
                    continue
                p, t = probability[n, c, at], int(y == c) if mode == "multiclass" else y
                both += p * t
                of_pred += p * p if squared else p
                of_target += t * t if squared else t
            values.append(measure(both, of_pred, of_target, mp.mpf(smooth_nr), mp.mpf(smooth_dr)))
    return values, len(values)


def dice(given: Arrays, **params: Any) -> tuple[list[Number], Number]:
    return regions(lambda i, p, t, nr, dr: 1 - (2 * i + nr) / (p + t + dr), given, **params)


def jaccard(given: Arrays, **params: Any) -> tuple[list[Number], Number]:
    return regions(lambda i, p, t, nr, dr: 1 - (i + nr) / (p + t - i + dr), given, **params)


def tversky(
    given: Arrays, alpha: float = 0.3, beta: float = 0.7, **params: Any
) -> tuple[list[Number], Number]:
    def measure(i: Number, p: Number, t: Number, nr: Number, dr: Number) -> Number:
        return 1 - (i + nr) / (i + mp.mpf(alpha) * (p - i) + mp.mpf(beta) * (t - i) + dr)

    return regions(measure, given, **params)


def focal_tversky(
    given: Arrays, gamma: float = 0.75, **params: Any
) -> tuple[list[Number], Number]:
    values, number = tversky(given, **params)
    return [value ** mp.mpf(gamma) for value in values], number


def ce_dice(
    given: Arrays, ce_weight: float = 1, dice_weight: float = 1, **params: Any
) -> tuple[list[Number], Number]:
    """Return the weighted sum of two means: one number."""
    probability = shares(given["pred"], "multiclass", params.get("from_logits", True))
    target = given["target"].reshape(len(probability), -1)
    kept = [at for at in np.ndindex(*target.shape) if target[at] != params.get("ignore_index")]
    ce = sum(-mp.log(probability[n, target[n, p], p]) for n, p in kept) / len(kept)
    values, number = dice(given, mode="multiclass", **params)
    return [mp.mpf(ce_weight) * ce + mp.mpf(dice_weight) * sum(values) / number], 1


# ---------------------------------------------------------------- rows

_GENERATOR = torch.Generator().manual_seed(4)


def _round(tensor: Tensor) -> Any:
    """Few digits, so that a row can be read and float16 moves it little."""
    return (tensor * 64).round().div(64).tolist()


_LOGITS = _round(2 * torch.randn(2, 3, 2, 2, generator=_GENERATOR))
_SHARES = _round(torch.rand(2, 3, 2, 2, generator=_GENERATOR) * 0.75 + 0.125)
_INDICES = [[[0, 2], [1, 1]], [[2, 2], [0, 1]]]
_ANSWERS = torch.randint(0, 2, (2, 3, 2, 2), generator=_GENERATOR).tolist()
_SOFT = _round(torch.rand(2, 3, 2, 2, generator=_GENERATOR))
_FLAT = _round(2 * torch.randn(3, 4, generator=_GENERATOR))
_OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch": True},
    {"include_background": False},
    {"ignore_index": 1},
    {"ignore_index": 1, "batch": True, "include_background": False},
    {"smooth_nr": 0.3, "smooth_dr": 0.9},
    {"smooth_nr": 0.0, "smooth_dr": 0.0},
]
_SQUARED: list[dict[str, Any]] = [{"squared": True}, {"squared": True, "ignore_index": 2}]
_KINDS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("dice", dice, _OPTIONS + _SQUARED),
    ("jaccard", jaccard, _OPTIONS + _SQUARED),
    ("tversky", tversky, [*_OPTIONS, {"alpha": 0.8, "beta": 0.1}]),
    ("focal_tversky", focal_tversky, [*_OPTIONS, {"gamma": 1.6, "alpha": 0.8, "beta": 0.1}]),
]

NAMED: list[Named] = [
    *(
        Named(loss, {"pred": pred, "target": target}, formula, {**mode, **params})
        for loss, formula, options in _KINDS
        for params in options
        for mode, pred, target in (
            ({"mode": "multiclass"}, _LOGITS, _INDICES),
            ({"mode": "multiclass", "from_logits": False}, _SHARES, _INDICES),
            ({"mode": "multilabel"}, _LOGITS, _ANSWERS),
            ({}, _LOGITS, _SOFT),
            ({"mode": "binary", "from_logits": False}, _SHARES, _ANSWERS),
        )
    ),
    *(
        Named(loss, {"pred": _FLAT, "target": [3, 0, 2]}, formula, {"mode": "multiclass"})
        for loss, formula, _ in _KINDS
    ),
    Named("dice", {"pred": [[[0.5, -1.0]]], "target": [[[1, 0]]]}, dice, {"mode": "binary"}),
    Named(
        "dice",
        {"pred": [[[0.5, -1.0]]], "target": [[[1, 0]]]},
        dice,
        {"mode": "binary", "include_background": False},
    ),
    *(
        Named("ce_dice", {"pred": pred, "target": _INDICES}, ce_dice, params)
        for pred, params in (
            *((_LOGITS, options) for options in _OPTIONS + _SQUARED),
            (_LOGITS, {"ce_weight": 0.3, "dice_weight": 1.7}),
            (_SHARES, {"from_logits": False}),
        )
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([1e4, -1e4, 0.0]).reshape(1, 3, 1).repeat(2, 1, 4)
_SURE = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1).repeat(2, 1, 4)
_CLASSES = [torch.full((2, 4), c) for c in range(3)]
_MODES: list[tuple[dict[str, Any], list[Tensor]]] = [
    ({"mode": "multiclass"}, _CLASSES),
    ({"mode": "multilabel"}, [torch.zeros(2, 3, 4), torch.ones(2, 3, 4)]),
]

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        (loss, {**mode, **params}, {"pred": pred, "target": target})
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for mode, targets in _MODES
        for target in targets
        for pred, params in (
            (_FAR, {}),
            (_FAR, {"smooth_nr": 0.0, "smooth_dr": 0.0}),
            (_FAR, {"batch": True, "ignore_index": 1}),
            (_SURE, {"from_logits": False}),
            (_SURE, {"from_logits": False, "smooth_nr": 0.0, "smooth_dr": 0.0}),
        )
    ),
    *(
        ("focal_tversky", {**mode, "gamma": gamma}, {"pred": _FAR, "target": target})
        for gamma in (0.1, 3.0)
        for mode, targets in _MODES
        for target in targets
    ),
    *(
        ("ce_dice", params, {"pred": pred, "target": target})
        for target in _CLASSES
        for pred, params in (
            (_FAR, {}),
            (_FAR, {"ignore_index": 1, "batch": True}),
            (_SURE, {"from_logits": False}),
        )
    ),
]

_NONE, _NO_CLASS = torch.empty(0, 3, 4), torch.empty(0, 4).long()
_SOME = torch.randn(2, 3, 4, generator=_GENERATOR)
_IGNORED = torch.full((2, 4), 255)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    **{
        loss: ({loss: {"mode": "multiclass"}}, {"pred": _NONE, "target": _NO_CLASS})
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
    },
    **{
        f"{loss} of no samples {mode} with some to ignore": (
            {loss: {"mode": mode, "ignore_index": 0, "batch": batch}},
            {"pred": torch.empty(0, 3, 2, 2), "target": target},
        )
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for mode, target, batch in (
            ("multiclass", torch.empty(0, 2, 2).long(), False),
            ("multiclass", torch.empty(0, 2, 2).long(), True),
            ("binary", torch.empty(0, 3, 2, 2), False),
        )
    },
    "ce_dice of no samples with some to ignore": (
        {"ce_dice": {"ignore_index": 0}},
        {"pred": torch.empty(0, 3, 2, 2), "target": torch.empty(0, 2, 2).long()},
    ),
    **{
        f"{loss} without positions {mode}": (
            {loss: {"mode": mode}},
            {"pred": torch.empty(2, 3, 0), "target": target},
        )
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for mode, target in (
            ("multiclass", torch.empty(2, 0).long()),
            ("binary", torch.empty(2, 3, 0)),
        )
    },
    **{
        f"{loss} all ignored {params}": (
            {loss: {"mode": "multiclass", "ignore_index": 255, **params}},
            {"pred": _SOME, "target": _IGNORED},
        )
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for params in ({}, {"smooth_nr": 0.0}, {"batch": True, "smooth_dr": 1.0})
    },
    **{
        f"{loss} all answers ignored {params}": (
            {loss: {"mode": "multilabel", "ignore_index": -1, "smooth_nr": 0.0, **params}},
            {"pred": _SOME, "target": torch.full((2, 3, 4), -1)},
        )
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for params in ({}, {"batch": True})
    },
    "ce_dice": ("ce_dice", {"pred": _NONE, "target": _NO_CLASS}),
    "ce_dice all ignored": (
        {"ce_dice": {"ignore_index": 255, "smooth_nr": 0.0}},
        {"pred": _SOME, "target": _IGNORED},
    ),
}

# ---------------------------------------------------------------- refusals

_MASKS, _MAP = torch.rand(2, 3, 4), torch.zeros(2, 4).long()
_OVERLAPS = ("dice", "jaccard", "tversky", "focal_tversky")
_OF_CLASSES: list[Any] = [
    *({loss: {"mode": "multiclass"}} for loss in _OVERLAPS),
    "ce_dice",
]
_OF_ANSWERS: list[Any] = [{loss: {"mode": "binary"}} for loss in _OVERLAPS]

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"pred": _MASKS, "target": _MAP[:1]}, r"\(2, 4\), but got \(1, 4\)")
        for loss in _OF_CLASSES
    ),
    (
        "dice",
        {"pred": _MASKS, "target": _MAP},
        r"the shape of pred \(class indices go with mode multiclass\), \(2, 3, 4\), but got",
    ),
    *(
        (
            loss,
            {"pred": _MASKS, "target": _MASKS.long()},
            r"class indices of shape \(2, 4\), but got shape \(2, 3, 4\) of torch.int64, as one-h",
        )
        for loss in _OF_CLASSES
    ),
    *(
        (
            loss,
            {"pred": _MASKS, "target": _MASKS[:, :1]},
            r"target must have the shape of pred, \(2, 3, 4\), but got \(2, 1, 4\)",
        )
        for loss in _OF_ANSWERS
    ),
    *(
        (loss, {"pred": _MASKS[0, 0], "target": _MASKS[0, 0]}, r"2 dimensions \(N, C, …\)")
        for loss in _OF_ANSWERS
    ),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"pred": _MASKS, "target": _MAP.float()}, "target must hold integers, but got")
        for loss in _OF_CLASSES
    ),
    *(
        (loss, {"pred": _MASKS.long(), "target": _MASKS}, "pred must be floating point, but got")
        for loss in _OF_ANSWERS
    ),
    *(
        (loss, {"pred": _MASKS, "target": _MASKS + 1j}, "target must be floating point, but got")
        for loss in _OF_ANSWERS
    ),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("dice", {"pred": _MASKS, "mask": _MASKS}, "missing target; unknown mask"),
    ("ce_dice", {"target": _MAP}, "missing pred"),
]

_THIRD = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 0]])
VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"pred": _MASKS, "target": target}, f"class index from 0 to 2, but got {value}")
        for loss in _OF_CLASSES
        for target, value in ((_THIRD, 3), (_THIRD - 1, -1), (_MAP - 100, -100))
    ),
    *(
        (
            {loss: {"mode": "multiclass", "ignore_index": 255}},
            {"pred": _MASKS, "target": _THIRD},
            "a class index from 0 to 2 or ignore_index 255, but got 3",
        )
        for loss in _OVERLAPS
    ),
    *(
        (loss, {"pred": _MASKS, "target": _MASKS + 1.5}, "target must be between 0 and 1, but got")
        for loss in _OF_ANSWERS
    ),
    *(
        (
            {loss: {"mode": "multilabel", "ignore_index": -1}},
            {"pred": _MASKS, "target": torch.full((2, 3, 4), -2)},
            "target must be between 0 and 1 or ignore_index -1, but got -2",
        )
        for loss in _OVERLAPS
    ),
    *(
        (
            {loss: {"mode": mode, "from_logits": False}},
            {"pred": _MASKS + 1.5, "target": target},
            "pred must be between 0 and 1, but got",
        )
        for loss in _OVERLAPS
        for mode, target in (("binary", _MASKS), ("multiclass", _MAP))
    ),
    (
        {"ce_dice": {"from_logits": False}},
        {"pred": -_MASKS - 0.5, "target": _MAP},
        "pred must be between 0 and 1, but got -",
    ),
]
