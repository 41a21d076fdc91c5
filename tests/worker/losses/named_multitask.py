"""Rows of the losses made of other losses' values."""

from typing import Any

import torch
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

# ---------------------------------------------------------------- formulas


def uncertainty(
    given: Arrays,
    variant: str = "kendall",
    task_types: tuple[str, ...] = (),
    initial_log_vars: tuple[float, ...] = (),
) -> tuple[list[Number], Number]:
    total = mp.mpf(0)
    for k, (loss, log_var) in enumerate(zip(given["losses"], given["log_vars"], strict=True)):
        s = min(max(log_var, mp.mpf(-20)), mp.mpf(20))
        if variant == "simple":
            total += mp.exp(-s) * loss + s
        elif task_types[k] == "regression":
            total += mp.exp(-s) * loss / 2 + s / 2
        else:
            total += mp.exp(-s) * loss + s / 2
    return [total], 1


def gradnorm(given: Arrays, held: Arrays, alpha: float = 1.5) -> tuple[list[Number], Number]:
    def weighted(arrays: Arrays) -> list[Number]:
        return [w * g for w, g in zip(arrays["weights"], arrays["grad_norms"], strict=True)]

    rates = [a / b for a, b in zip(held["losses"], held["initial_losses"], strict=True)]
    mean = sum(weighted(held)) / len(rates)
    pace = [mean * (r * len(rates) / sum(rates)) ** mp.mpf(alpha) for r in rates]
    return [sum(abs(a - c) for a, c in zip(weighted(given), pace, strict=True))], 1


def curriculum(given: Arrays, threshold: float) -> tuple[list[Number], Number]:
    pairs = zip(given["losses"], given["difficulty"], strict=True)
    admitted = [d <= threshold for _, d in pairs]
    values = [x if a else mp.mpf(0) for x, a in zip(given["losses"], admitted, strict=True)]
    return values, max(sum(admitted), 1)


# ---------------------------------------------------------------- rows

_TASKS = {"losses": [0.3, 7.5, 120.0], "log_vars": [-1.2, 0.4, 3.0]}
_KINDS = {"task_types": ["regression", "classification", "regression"]}
_NORMS = {
    "weights": [0.3, 1.2, 1.5],
    "grad_norms": [2.0, 0.1, 7.0],
    "losses": [0.5, 3.0, 8.0],
    "initial_losses": [1.0, 3.5, 40.0],
}
_SAMPLES = {"losses": [0.3, 7.5, 2.0, 1.0], "difficulty": [0.2, 0.9, 0.5, 0.7]}

NAMED: list[Named] = [
    *(
        Named("uncertainty", _TASKS, uncertainty, params, ("losses", "log_vars"))
        for params in (
            _KINDS,
            {**_KINDS, "variant": "kendall", "initial_log_vars": [0.0, 1.0, 2.0]},
            {"variant": "simple"},
        )
    ),
    *(
        Named("gradnorm", _NORMS, gradnorm, params, ("weights",), detached=True)
        for params in ({}, {"alpha": 0.0}, {"alpha": 0.5})
    ),
    *(
        Named("curriculum", _SAMPLES, curriculum, {"threshold": threshold}, ("losses",))
        for threshold in (0.5, 0.75, 1.0)
    ),
    Named(
        "curriculum",
        {"losses": _SAMPLES["losses"], "difficulty": [1, 4, 3, 2]},
        curriculum,
        {"threshold": 3},
        ("losses",),
    ),
]

# ---------------------------------------------------------------- extremes and nothing

_FAR = torch.tensor([1e4, 0.0, 1e-4])
_LOG_VARS = torch.tensor([1e4, -1e4, 0.0])

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    *(
        ("uncertainty", params, {"losses": _FAR, "log_vars": sign * _LOG_VARS})
        for params in (_KINDS, {"variant": "simple"})
        for sign in (1, -1)
    ),
    *(
        (
            "gradnorm",
            params,
            {
                "weights": torch.ones(3),
                "grad_norms": norms,
                "losses": _FAR,
                "initial_losses": initial,
            },
        )
        for params in ({}, {"alpha": 0.5})
        for norms in (_FAR, torch.zeros(3))
        for initial in (_FAR, torch.ones(3), torch.zeros(3))
    ),
    ("curriculum", {"threshold": 0.0}, {"losses": _FAR, "difficulty": _LOG_VARS}),
]

_NONE = torch.empty(0)

EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "uncertainty": ("uncertainty", {"losses": _NONE, "log_vars": _NONE}),
    "gradnorm": ("gradnorm", dict.fromkeys(_NORMS, _NONE)),
    "curriculum": ({"curriculum": {"threshold": 1}}, {"losses": _NONE, "difficulty": _NONE}),
    "curriculum that admits nobody": (
        {"curriculum": {"threshold": 0.1}},
        {"losses": torch.ones(3), "difficulty": torch.rand(3) + 0.5},
    ),
}

# ---------------------------------------------------------------- refusals

_V, _W = torch.rand(3), torch.rand(2)
_HALF: dict[str, Any] = {"curriculum": {"threshold": 0.5}}


def _norms(**changed: Tensor) -> dict[str, Tensor]:
    return {**dict.fromkeys(_NORMS, _V), **changed}


SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        {"uncertainty": _KINDS},
        {"losses": _V, "log_vars": _W},
        r"log_vars must have the shape of losses, \(3,\), but got \(2,\)",
    ),
    (
        {"uncertainty": _KINDS},
        {"losses": _W, "log_vars": _W},
        "task_types must have one value per task under variant kendall, 2, but got 3",
    ),
    (
        "uncertainty",
        {"losses": _W, "log_vars": _W},
        "task_types must have one value per task under variant kendall, 2, but got 0",
    ),
    (
        {"uncertainty": {"variant": "simple", "initial_log_vars": [0, 0, 0]}},
        {"losses": _W, "log_vars": _W},
        "initial_log_vars must have one value per task, 2, but got 3",
    ),
    ("gradnorm", _norms(losses=_W), r"losses must have the shape of weights, \(3,\), but got"),
    ("gradnorm", _norms(weights=_V[:, None]), r"weights must have 1 dimension \(K,\), but got"),
    (_HALF, {"losses": _V, "difficulty": _V[:, None]}, r"difficulty must have the shape of losse"),
    (_HALF, {"losses": torch.tensor(1.0), "difficulty": _V}, r"losses must have 1 dimension \(N,"),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        {"uncertainty": {"variant": "simple"}},
        {"losses": _V.long(), "log_vars": _V},
        "losses must be floating point, but got torch.int64",
    ),
    ("gradnorm", _norms(grad_norms=_V.int()), "grad_norms must be floating point, but got"),
    (_HALF, {"losses": _V, "difficulty": _V + 1j}, "difficulty must be floating point, but got"),
    (_HALF, {"losses": _V.int(), "difficulty": _V}, "losses must be floating point, but got"),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ({"uncertainty": _KINDS}, {"losses": _V}, "missing log_vars"),
    ("gradnorm", {"weights": _V, "grad_norms": _V}, "missing losses, initial_losses"),
    (_HALF, {"losses": _V, "difficulty": _V, "threshold": _V}, "unknown threshold"),
]

VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "curriculum",
        {"losses": _V, "difficulty": _V},
        "threshold must be set, the largest difficulty that is included, but got nothing",
    ),
]
