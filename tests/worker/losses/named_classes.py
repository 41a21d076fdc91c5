"""Rows of the losses of classes, ranks, teachers and sequences that take named inputs."""

import itertools
from typing import Any

import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def logit_adjusted(
    given: Arrays, class_counts: list[float], tau: float = 1
) -> tuple[list[Number], Number]:
    total = sum(class_counts)
    prior = [mp.log(mp.mpf(n) / total) for n in class_counts]
    values = []
    for row, y in rows(given):
        shifted = [z + tau * p for z, p in zip(row, prior, strict=True)]
        values.append(formulas.cross_entropy(shifted, y))
    return values, len(values)


def ldam(
    given: Arrays,
    class_counts: list[float],
    max_margin: float = 0.5,
    scale: float = 30,
    weight: list[float] | None = None,
) -> tuple[list[Number], Number]:
    rarity = [mp.mpf(n) ** mp.mpf(-0.25) for n in class_counts]
    values, divisor = [], mp.mpf(0)
    for row, y in rows(given):
        margin = max_margin * rarity[y] / max(rarity)
        shifted = [scale * (z - margin * (c == y)) for c, z in enumerate(row)]
        factor = weight[y] if weight else 1
        values.append(factor * formulas.cross_entropy(shifted, y))
        divisor += factor
    return values, divisor


def coral(given: Arrays) -> tuple[list[Number], Number]:
    values = [
        sum(formulas.bce_with_logits(z, int(y > k)) for k, z in enumerate(row))
        for row, y in rows(given)
    ]
    return values, len(values)


def corn(given: Arrays) -> tuple[list[Number], Number]:
    values, number = [], 0
    for row, y in rows(given):
        reached = [(k, z) for k, z in enumerate(row) if y >= k]
        values.append(sum(formulas.bce_with_logits(z, int(y > k)) for k, z in reached))
        number += len(reached)
    return values, number


def distillation(given: Arrays, temperature: float = 1) -> tuple[list[Number], Number]:
    t = mp.mpf(temperature)
    values = []
    for z, sure in zip(given["pred"], given["teacher_logits"], strict=True):
        student, teacher = (formulas.softmax([x / t for x in row]) for row in (z, sure))
        parts = [p * mp.log(p / q) for p, q in zip(teacher, student, strict=True)]
        values.append(t**2 * sum(parts))
    return values, len(values)


def ctc(given: Arrays, blank: int = 0) -> tuple[list[Number], Number]:
    """Return every path is spelt out, so this is for a few time steps."""
    values, divisors = [], []
    for n, (steps, length) in enumerate(
        zip(given["input_lengths"], given["target_lengths"], strict=True)
    ):
        wanted = list(given["targets"][n, :length])
        shares = [formulas.softmax(z) for z in given["pred"][:steps, n]]
        total = mp.mpf(0)
        for path in itertools.product(range(given["pred"].shape[2]), repeat=int(steps)):
            if [c for c, _ in itertools.groupby(path) if c != blank] == wanted:
                total += mp.fprod(p[c] for p, c in zip(shares, path, strict=True))
        values.append(-mp.log(total) if total else mp.mpf(0))
        divisors.append(max(int(length), 1))
    return values, divisors


def ctc_mean(given: Arrays, blank: int = 0) -> tuple[list[Number], Number]:
    values, divisors = ctc(given, blank)
    return [v / d for v, d in zip(values, divisors, strict=True)], len(values)


def rows(given: Arrays) -> Any:
    """Rows of logits with their classes, positions of maps one after another."""
    pred = given["pred"]
    flat = pred.transpose(0, *range(2, pred.ndim), 1).reshape(-1, pred.shape[1])
    return zip(flat, (int(y) for y in given["target"].flatten()), strict=True)


# ---------------------------------------------------------------- rows

_ROWS = [[0.3, -1.2, 2.5], [-0.4, 4.0, -3.0], [0.1, 0.2, 0.3], [5.0, -2.0, 1.0]]
_CLASSES = [2, 0, 1, 0]
_RANKS = [3, 0, 1, 2]
_MAPS = [[[0.3, -1.0], [1.2, 0.4], [-0.6, 2.0]], [[-0.2, 0.1], [0.5, -1.5], [3.0, 0.7]]]
_COSINES = [[0.3, -0.2, 0.95], [-0.4, 0.8, -0.99], [0.1, 0.2, 0.3], [0.5, -0.7, 1.0]]
_COUNTS = [50.0, 10.0, 1.0]
_TEACHER = [[1.3, 0.2, 0.5], [-0.4, 0.3, -1.0], [2.1, 0.2, 0.3], [5.0, -1.0, -7.0]]
_PATHS = [
    [[0.3, -1.2, 0.4], [0.1, 0.7, -0.6], [1.0, 0.2, -0.3]],
    [[-0.5, 0.6, 0.2], [0.9, -0.8, 0.4], [0.0, 0.0, 0.0]],
    [[1.1, 0.3, -0.9], [-0.2, 0.5, 0.8], [2.0, -1.0, 0.5]],
    [[0.7, -0.4, 0.1], [0.6, 0.2, -1.3], [-0.3, 0.9, 0.4]],
]
_SEQUENCES = {
    "pred": _PATHS,
    "targets": [[1, 2], [1, 1], [2, 0]],
    "target_lengths": [2, 2, 1],
    "input_lengths": [4, 3, 2],
}
_COUNTED = {"class_counts": _COUNTS}

NAMED: list[Named] = [
    *(
        Named("logit_adjusted", given, logit_adjusted, {**_COUNTED, **params})
        for given in (
            {"pred": _ROWS, "target": _CLASSES},
            {"pred": _MAPS, "target": [[0, 2], [1, 0]]},
        )
        for params in ({}, {"tau": 0.0}, {"tau": 2.2})
    ),
    *(
        Named("ldam", {"pred": _COSINES, "target": _CLASSES}, ldam, {**_COUNTED, **params})
        for params in (
            {},
            {"max_margin": 0.2, "scale": 7.0},
            {"weight": [0.6, 2.1, 1.3]},
            {"max_margin": 0.0, "scale": 1.0},
        )
    ),
    Named("coral", {"pred": _ROWS, "target": _RANKS}, coral),
    Named("corn", {"pred": _ROWS, "target": _RANKS}, corn),
    *(
        Named(
            "distillation",
            {"pred": _ROWS, "teacher_logits": _TEACHER},
            distillation,
            params,
            learned=("pred", "teacher_logits"),
        )
        for params in ({}, {"temperature": 4.0}, {"temperature": 0.6})
    ),
    Named("ctc", _SEQUENCES, ctc_mean),
    Named(
        "ctc",
        {**_SEQUENCES, "targets": [[0, 1], [1, 1], [0, 2]]},
        ctc_mean,
        {"blank": 2},
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor(
    [[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e4, 1e4, 1e4], [0.0, 0.0, 0.0]]
)
_EACH = torch.tensor([0, 1, 2, 0, 1])
_LONG = torch.stack([_FAR, -_FAR, _FAR.flip(1)], 1)

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("logit_adjusted", {**_COUNTED, **params}, {"pred": _FAR, "target": _EACH})
        for params in ({}, {"tau": 100.0})
    ),
    *(
        ("ldam", {**_COUNTED, **params}, {"pred": _FAR, "target": _EACH})
        for params in ({}, {"weight": [1.0, 0.0, 2.0]})
    ),
    ("coral", {}, {"pred": _FAR, "target": torch.tensor([0, 1, 2, 3, 3])}),
    ("corn", {}, {"pred": _FAR, "target": torch.tensor([0, 1, 2, 3, 3])}),
    *(
        ("distillation", params, {"pred": _FAR, "teacher_logits": _FAR.flip(1)})
        for params in ({}, {"temperature": 0.1}, {"temperature": 100.0})
    ),
    (
        "ctc",
        {},
        {
            "pred": _LONG,
            "targets": torch.tensor([[1, 2, 1], [1, 1, 1], [2, 2, 2]]),
            "target_lengths": torch.tensor([3, 3, 0]),
            "input_lengths": torch.tensor([5, 4, 5]),
        },
    ),
]

_NONE, _NO_CLASS = torch.empty(0, 3), torch.empty(0).long()

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "logit_adjusted": ({"logit_adjusted": _COUNTED}, {"pred": _NONE, "target": _NO_CLASS}),
    "ldam": ({"ldam": _COUNTED}, {"pred": _NONE, "target": _NO_CLASS}),
    "ldam weighted": (
        {"ldam": {**_COUNTED, "weight": [1, 2, 3]}},
        {"pred": _NONE, "target": _NO_CLASS},
    ),
    "ldam of classes that weigh nothing": (
        {"ldam": {**_COUNTED, "weight": [0, 0, 1]}},
        {"pred": torch.randn(2, 3), "target": torch.tensor([0, 1])},
    ),
    "coral": ("coral", {"pred": _NONE, "target": _NO_CLASS}),
    "coral of one rank": ("coral", {"pred": torch.empty(2, 0), "target": torch.zeros(2).long()}),
    "corn": ("corn", {"pred": _NONE, "target": _NO_CLASS}),
    "corn of one rank": ("corn", {"pred": torch.empty(2, 0), "target": torch.zeros(2).long()}),
    "distillation": ("distillation", {"pred": _NONE, "teacher_logits": _NONE}),
    "ctc": (
        "ctc",
        {
            "pred": torch.empty(4, 0, 3),
            "targets": torch.empty(0, 2).long(),
            "target_lengths": _NO_CLASS,
            "input_lengths": _NO_CLASS,
        },
    ),
    "ctc without a possible alignment": (
        "ctc",
        {
            "pred": torch.randn(2, 1, 3),
            "targets": torch.tensor([[1, 1]]),
            "target_lengths": torch.tensor([2]),
            "input_lengths": torch.tensor([2]),
        },
    ),
    "ctc without time": (
        "ctc",
        {
            "pred": torch.randn(2, 1, 3),
            "targets": torch.tensor([[1, 1]]),
            "target_lengths": torch.tensor([1]),
            "input_lengths": torch.tensor([0]),
        },
    ),
}
