"""The table of losses: parameters and inputs, with what `formulas` says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tests.worker.losses import formulas
from tests.worker.losses.formulas import Number, mp
from torch import Tensor

YES_OR_NO = ("bce_with_logits", "bce", "focal_binary", "asymmetric_multilabel")
CLASSES = ("cross_entropy", "focal", "multi_margin", "poly1", "generalized_ce", "symmetric_ce")


@dataclass(frozen=True)
class Case:
    """One loss with parameters and inputs away from its kinks."""

    loss: str
    """The member of `Loss`."""
    pred: Any
    """Nested lists of numbers."""
    target: Any
    """Nested lists of numbers or class indices."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The parameters, in JSON form."""
    target_name: str = "target"
    """The name under which the target goes in."""

    def __str__(self) -> str:
        """Return the test's name."""
        return " ".join([self.loss, *(f"{k}={v}" for k, v in self.params.items())])

    def spec(self, reduction: str = "mean") -> dict[str, Any]:
        """Return the loss's JSON form."""
        return {self.loss: {**self.params, "reduction": reduction}}

    def inputs(self, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
        """Return the inputs, of which pred wants a gradient."""
        target = torch.tensor(self.target)
        if target.is_floating_point():
            target = torch.tensor(self.target, dtype=dtype)
        pred = torch.tensor(self.pred, dtype=dtype, requires_grad=True)
        return {"pred": pred, self.target_name: target}

    def flat(self) -> list[Number]:
        """Return all of pred, in the order of memory."""
        return [mp.mpf(float(p)) for p in np.array(self.pred).flatten()]

    def values(self, pred: Sequence[Number]) -> list[Number]:
        """Return the unreduced loss by its formula, in the order of memory.

        Args:
            pred: What stands in the place of `flat()`.
        """
        shaped = np.array(pred, dtype=object).reshape(np.shape(self.pred))
        if self.loss == "multi_quantile":
            return self._of_quantiles(shaped)
        return self._of_classes(shaped) if self.loss in CLASSES else self._of_elements(shaped)

    def mean(self, pred: Sequence[Number]) -> Number:
        """Return the loss under reduction mean, by its formula."""
        values = self.values(pred)
        return sum(values) / self._divisor(len(values))

    def gradient(self) -> list[float]:
        """Return the gradient of the mean by pred, differentiated numerically in fifty digits."""
        at = self.flat()

        def slope(index: int) -> float:
            def along(x: Number) -> Number:
                return self.mean([*at[:index], x, *at[index + 1 :]])

            return float(mp.diff(along, at[index]))

        return [slope(index) for index in range(len(at))]

    def _of_elements(self, pred: Any) -> list[Number]:
        values = []
        for index, p in np.ndenumerate(pred):
            y = mp.mpf(float(np.array(self.target)[index]))
            params = dict(self.params)
            params.pop("normalizer", None)
            for name in ("weight", "pos_weight"):
                if name in params:
                    weights = _weights(params[name])
                    params[name] = weights[index[-1] if len(weights) > 1 else 0]
            values.append(getattr(formulas, self.loss)(p, y, **params))
        return values

    def _of_quantiles(self, pred: Any) -> list[Number]:
        target = np.array(self.target, dtype=float)
        return [
            formulas.quantile(pred[(*index, i)], mp.mpf(float(y)), mp.mpf(q))
            for index, y in np.ndenumerate(target)
            for i, q in enumerate(self.params["quantiles"])
        ]

    def _of_classes(self, pred: Any) -> list[Number]:
        params = {k: v for k, v in self.params.items() if k != "ignore_index"}
        if "weight" in params:
            params["weight"] = _weights(params["weight"])
        rows = np.moveaxis(pred, 1, -1).reshape(-1, pred.shape[1])
        if self.target_name == "target_prob":
            prob = np.moveaxis(np.array(self.target), 1, -1).reshape(rows.shape)
            targets = [[mp.mpf(float(t)) for t in row] for row in prob]
            return [
                formulas.cross_entropy(z, t, **params) for z, t in zip(rows, targets, strict=True)
            ]
        formula = getattr(formulas, self.loss)
        return [
            formula(z, int(y), **params) if y != self._ignored() else mp.mpf(0)
            for z, y in zip(rows, np.array(self.target).flatten(), strict=True)
        ]

    def _ignored(self) -> int:
        return int(self.params.get("ignore_index", -100))

    def _divisor(self, number: int) -> Number:
        if self.params.get("normalizer") == "positives":
            return max(sum(np.array(self.target).flatten()), 1)
        if self.loss in ("cross_entropy", "focal") and self.target_name == "target":
            kept = [int(y) for y in np.array(self.target).flatten() if y != self._ignored()]
            weights = _weights(self.params["weight"]) if "weight" in self.params else None
            return sum(weights[y] for y in kept) if weights else len(kept)
        return number


def slope(loss: Tensor, tensor: Tensor) -> Tensor:
    """Return the gradient of a loss by one tensor."""
    (gradient,) = torch.autograd.grad(loss, tensor)
    return gradient


def _weights(given: Any) -> list[float]:
    return list(given["values"] if isinstance(given, Mapping) else given)


# Errors of 1.5, -0.5, 0.02, -3, 0.3 and -0.001, so on both sides of every default threshold.
_PRED = [[2.0, 0.25, 1.02], [-4.0, 0.8, 0.499]]
_TARGET = [[0.5, 0.75, 1.0], [-1.0, 0.5, 0.5]]
_COUNTS = [[0.0, 1.0, 2.0], [7.0, 3.0, 0.0]]
_LOGITS = [[0.3, -1.2, 2.5], [-0.4, 4.0, -3.0]]
_PROBABILITIES = [[0.3, 0.02, 0.9], [0.5, 0.77, 0.999]]
_YES_NO = [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
_SOFT = [[0.9, 0.2, 1.0], [0.5, 0.0, 0.35]]
_ROWS = [[0.3, -1.2, 2.5], [-0.4, 4.0, -3.0], [0.1, 0.2, 0.3], [5.0, -2.0, 1.0]]
_INDICES = [2, 0, 1, 0]
# (N, C, d) = (2, 3, 2)
_MAPS = [[[0.3, -1.0], [1.2, 0.4], [-0.6, 2.0]], [[-0.2, 0.1], [0.5, -1.5], [3.0, 0.7]]]
_MAP_INDICES = [[0, 2], [1, 0]]
_SHARES = [[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5], [0.6, 0.4, 0.0]]
_MAP_SHARES = [[[0.2, 0.5], [0.3, 0.5], [0.5, 0.0]], [[1.0, 0.1], [0.0, 0.1], [0.0, 0.8]]]

_REGRESSION: list[tuple[str, dict[str, Any]]] = [
    ("mse", {}),
    ("mae", {}),
    ("huber", {}),
    ("huber", {"delta": 0.4}),
    ("huber", {"delta": 2.1}),
    ("smooth_l1", {}),
    ("smooth_l1", {"beta": 0.4}),
    ("smooth_l1", {"beta": 0.0}),
    ("log_cosh", {}),
    ("quantile", {}),
    ("quantile", {"q": 0.9}),
    ("charbonnier", {}),
    ("charbonnier", {"eps": 0.6}),
    ("asymmetric_mse", {}),
    ("asymmetric_mse", {"over_penalty": 0.3, "under_penalty": 3.3}),
]
_PARAMS = {"k": 2.2, "eps": 0.3, "scale": 0.6, "q": 0.9, "high": 0.25}


def _expressions() -> list[dict[str, Any]]:
    return [
        {
            "formula": formula,
            "params": {k: v for k, v in _PARAMS.items() if k in meaning.__code__.co_varnames},
        }
        for formula, meaning in formulas.EXPRESSIONS.items()
    ]


_POISSON: list[dict[str, Any]] = [
    {},
    {"full": True},
    {"log_input": False},
    {"log_input": False, "full": True, "eps": 0.1},
]
_LOGIT: list[tuple[str, dict[str, Any]]] = [
    ("bce_with_logits", {}),
    ("bce_with_logits", {"weight": [0.6, 2.1, 1.3]}),
    ("bce_with_logits", {"pos_weight": {"values": [3.3, 1.0, 0.2]}}),
    ("bce_with_logits", {"weight": [0.6, 2.1, 1.3], "pos_weight": [3.3, 1.0, 0.2]}),
    ("focal_binary", {}),
    ("focal_binary", {"alpha": 0.3}),
    ("focal_binary", {"alpha": 0.0, "gamma": 1.0}),
    ("focal_binary", {"gamma": 0.6}),
    ("focal_binary", {"gamma": 0.0}),
    ("focal_binary", {"alpha": 0.3, "normalizer": "positives"}),
    ("asymmetric_multilabel", {}),
    ("asymmetric_multilabel", {"gamma_neg": 0.0, "gamma_pos": 0.0, "clip": 0.0}),
    ("asymmetric_multilabel", {"gamma_neg": 0.5, "gamma_pos": 0.5, "clip": 0.3}),
    ("asymmetric_multilabel", {"gamma_neg": 2.0, "clip": 0.0}),
]
_CLASS: list[tuple[str, dict[str, Any]]] = [
    ("cross_entropy", {}),
    ("cross_entropy", {"weight": [0.6, 2.1, 1.3]}),
    ("cross_entropy", {"label_smoothing": 0.1}),
    ("cross_entropy", {"weight": {"values": [0.6, 2.1, 1.3]}, "label_smoothing": 0.3}),
    ("cross_entropy", {"label_smoothing": 1.0}),
    ("cross_entropy", {"ignore_index": 0}),
    ("cross_entropy", {"ignore_index": 2, "weight": [0.6, 2.1, 1.3], "label_smoothing": 0.1}),
    ("focal", {}),
    ("focal", {"gamma": 0.6}),
    ("focal", {"gamma": 0.0}),
    ("focal", {"alpha": [0.3, 1.0, 2.1]}),
    ("focal", {"alpha": [0.3, 1.0, 2.1], "ignore_index": 0}),
    ("poly1", {}),
    ("poly1", {"epsilon": -0.4}),
    ("generalized_ce", {}),
    ("generalized_ce", {"q": 1.0}),
    ("generalized_ce", {"q": 0.01}),
    ("symmetric_ce", {}),
    ("symmetric_ce", {"alpha": 2.1, "beta": 0.3, "A": -6.1}),
]

CASES: list[Case] = [
    *(Case(loss, _PRED, _TARGET, params) for loss, params in _REGRESSION),
    *(Case("expression", _PRED, _TARGET, params) for params in _expressions()),
    *(Case("poisson_nll", _PRED, _COUNTS, params) for params in _POISSON[:2]),
    *(Case("poisson_nll", _PROBABILITIES, _COUNTS, params) for params in _POISSON[2:]),
    *(
        Case("tweedie", _PROBABILITIES, _COUNTS, params)
        for params in ({}, {"power": 1.1}, {"power": 1.95})
    ),
    Case("multi_quantile", _ROWS, [0.0, 1.0, -1.0, 2.0], {"quantiles": [0.1, 0.5, 0.9]}),
    Case("multi_quantile", [[1.0], [2.0]], [1.5, -0.5], {"quantiles": [0.3]}),
    Case("multi_quantile", _MAPS, [[0.0] * 3, [1.0] * 3], {"quantiles": [0.2, 0.6]}),
    *(Case(loss, _LOGITS, _YES_NO, params) for loss, params in _LOGIT),
    *(Case(loss, _LOGITS, _SOFT, params) for loss, params in _LOGIT),
    Case("bce_with_logits", _LOGITS[0], _YES_NO[0], {"pos_weight": [4.4]}),
    Case("focal_binary", _LOGITS[0], [0.0, 0.0, 0.0], {"normalizer": "positives"}),
    Case("bce", _PROBABILITIES, _YES_NO),
    Case("bce", _PROBABILITIES, _SOFT),
    *(Case(loss, _ROWS, _INDICES, params) for loss, params in _CLASS),
    *(Case(loss, _MAPS, _MAP_INDICES, params) for loss, params in _CLASS),
    *(
        Case("cross_entropy", pred, shares, params, target_name="target_prob")
        for pred, shares in ((_ROWS, _SHARES), (_MAPS, _MAP_SHARES))
        for params in (
            {},
            {"label_smoothing": 0.2},
            {"weight": [0.6, 2.1, 1.3], "label_smoothing": 0.2},
        )
    ),
    Case("multi_margin", _ROWS, _INDICES),
    Case("multi_margin", _ROWS, _INDICES, {"margin": 2.35}),
]
