"""Finite values and gradients where formulas overflow, and gradients of 0 at kinks."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import CLASSES, YES_OR_NO, Case, slope
from tests.worker.losses.formulas import mp

from talweg.worker.losses import evaluate

_FAR = [1e4, -1e4, 1e4, -1e4, 0.0, 60.0, -60.0]
_NUMBERS = [0.0, 0.0, 9999.0, -9999.0, 0.0, 1.0, 2.0]
_ANSWERS = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
_SOFT = [0.5, 0.5, 0.25, 0.25, 0.5, 0.5, 0.5]
_ROWS = [
    [1e4, -1e4, 0.0],
    [1e4, -1e4, 0.0],
    [1e4, -1e4, 0.0],
    [1e4, 1e4, 1e4],
    [-1e4, -1e4, -1e4],
    [0.0, 0.0, 0.0],
    [60.0, -60.0, -60.0],
    [1e4, 9992.0, 9984.0],
]
_INDICES = [0, 1, 2, 0, 1, 2, 0, 1]

# Parameters at which a formula is at its most fragile, beside the defaults.
_PARAMS: dict[str, list[dict[str, Any]]] = {
    "mse": [{}],
    "mae": [{}],
    "huber": [{}, {"delta": 1e-6}, {"delta": 1e6}],
    "smooth_l1": [{}, {"beta": 0.0}, {"beta": 1e-6}],
    "log_cosh": [{}],
    "quantile": [{}, {"q": 0.01}],
    "multi_quantile": [{"quantiles": [0.01, 0.99]}],
    "poisson_nll": [{}, {"full": True}, {"log_input": False}],
    "charbonnier": [{}, {"eps": 1e-12}],
    "asymmetric_mse": [{}],
    "expression": [
        {"formula": formula, "params": params}
        for formula, params in (
            ("where(pred > target, k * (pred - target)**2, (pred - target)**2)", {"k": 2.0}),
            ("abs(pred - target)", {}),
            ("sqrt(square(pred - target) + eps)", {"eps": 1e-6}),
            ("softplus(pred) - pred * target", {}),
            ("(target - sigmoid(pred))**2 / 2", {}),
        )
    ],
    "bce_with_logits": [{}, {"pos_weight": [5.0]}],
    "bce": [{}],
    "cross_entropy": [
        {},
        {"label_smoothing": 0.1},
        {"label_smoothing": 0.1, "weight": [1.0, 0.0, 2.0]},
    ],
    "focal": [{}, {"gamma": 0.0}, {"gamma": 0.1}, {"gamma": 0.5, "alpha": [0.5, 1.0, 2.0]}],
    "focal_binary": [{}, {"gamma": 0.0}, {"gamma": 0.1}, {"gamma": 0.5, "alpha": 0.25}],
    "multi_margin": [{}],
    "asymmetric_multilabel": [
        {},
        {"clip": 0.0},
        {"gamma_neg": 0.0, "gamma_pos": 0.0, "clip": 0.0},
        {"gamma_neg": 0.1, "gamma_pos": 0.1, "clip": 0.0},
        {"gamma_neg": 0.1, "gamma_pos": 0.1, "clip": 1e-12},
    ],
    "poly1": [{}],
    "generalized_ce": [{}, {"q": 0.01}, {"q": 1.0}],
    "symmetric_ce": [{}],
}


def _cases() -> list[Case]:
    cases = []
    for loss, rows in _PARAMS.items():
        for params in rows:
            if loss in CLASSES:
                cases.append(Case(loss, _ROWS, _INDICES, params))
            elif loss == "multi_quantile":
                cases.append(Case(loss, [[p, -p] for p in _FAR], _NUMBERS, params))
            elif loss == "bce":
                cases.append(Case(loss, [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0], params))
            elif loss in YES_OR_NO:
                cases.append(Case(loss, _FAR, _ANSWERS, params))
                cases.append(Case(loss, _FAR, _SOFT, params))
            elif loss == "poisson_nll" and params == {"log_input": False}:
                cases.append(Case(loss, [0.0, 1e-3, 1e4], [0.0, 3.0, 0.0], params))
            elif loss == "poisson_nll":
                cases.append(Case(loss, [-1e4, 0.0, 8.0], [0.0, 9999.0, 0.0], params))
            else:
                cases.append(Case(loss, _FAR, _NUMBERS, params))
    return cases


EXTREMES = _cases()
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", EXTREMES, ids=str)
def test_values_and_gradients_are_finite_and_right(case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype)

    values = evaluate(case.spec("none"), inputs)
    gradient = slope(values.sum(), inputs["pred"])

    assert torch.isfinite(gradient).all()
    rounded = [mp.mpf(p) for p in inputs["pred"].detach().flatten().double().tolist()]
    targets = inputs["target"].double().tolist()
    if case.loss in CLASSES:
        targets = case.target
    exact = Case(case.loss, inputs["pred"].tolist(), targets, case.params).values(rounded)
    expected = torch.tensor([float(v) for v in exact], dtype=values.dtype)
    torch.testing.assert_close(values.flatten(), expected, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_wild_log_rate_costs_much_and_is_pushed_back(
    dtype: torch.dtype, full: bool, reduction: str
) -> None:
    pred = torch.full((50,), 1e4, dtype=dtype, requires_grad=True)
    inputs = {"pred": pred, "target": torch.arange(50).to(dtype)}

    loss = evaluate({"poisson_nll": {"full": full, "reduction": reduction}}, inputs).sum()

    assert torch.isfinite(loss)
    assert loss > 1e30
    gradient = slope(loss, pred)
    assert torch.isfinite(gradient).all()
    assert (gradient > 0).all()


@pytest.mark.parametrize("logit", [-1e4, -104.0, -100.0, -95.0, -60.0, 60.0, 95.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_bce_behind_a_sigmoid_is_finite_at_every_logit(logit: float, dtype: torch.dtype) -> None:
    pred = torch.tensor([logit] * 2, dtype=dtype, requires_grad=True)
    inputs = {"pred": torch.sigmoid(pred), "target": torch.tensor([0.0, 1.0], dtype=dtype)}
    values = evaluate({"bce": {"reduction": "none"}}, inputs)
    assert values.max() <= 100
    assert torch.isfinite(slope(values.sum(), pred)).all()


def test_a_log_rate_in_range_is_exact_up_to_the_largest() -> None:
    pred = torch.tensor([80.0], requires_grad=True)
    loss = evaluate("poisson_nll", {"pred": pred, "target": torch.zeros(1)})
    assert loss.item() == pytest.approx(5.5406e34, rel=1e-4)
    assert slope(loss, pred).item() == pytest.approx(5.5406e34, rel=1e-4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "mae",
        "huber",
        "smooth_l1",
        {"smooth_l1": {"beta": 0}},
        "log_cosh",
        "quantile",
        {"quantile": {"q": 0.9}},
        "charbonnier",
        {"charbonnier": {"eps": 1e-30}},
        "asymmetric_mse",
    ],
    ids=str,
)
def test_the_gradient_at_no_error_is_zero(loss: Any, dtype: torch.dtype) -> None:
    pred = torch.tensor([-3.0, 0.0, 5.0], dtype=dtype, requires_grad=True)
    value = evaluate(loss, {"pred": pred, "target": pred.detach()})
    assert slope(value, pred).tolist() == [0, 0, 0]


def test_the_gradient_of_several_quantiles_at_no_error_is_zero() -> None:
    pred = torch.ones(2, 3, requires_grad=True)
    spec = {"multi_quantile": {"quantiles": [0.1, 0.5, 0.9]}}
    loss = evaluate(spec, {"pred": pred, "target": torch.ones(2)})
    assert not slope(loss, pred).any()


def test_the_gradient_at_the_margin_is_zero() -> None:
    pred = torch.tensor([[2.0, 1.0, 1.0]], requires_grad=True)
    loss = evaluate("multi_margin", {"pred": pred, "target": torch.tensor([0])})
    assert slope(loss, pred).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        ({"focal": {"gamma": 0.5}}, "target"),
        ("cross_entropy", "target"),
        ("cross_entropy", "target_prob"),
        ("poly1", "target"),
        ("generalized_ce", "target"),
        ("symmetric_ce", "target"),
        ("multi_margin", "target"),
    ],
    ids=str,
)
def test_one_class_alone_costs_nothing_and_breaks_nothing(loss: Any, target: str) -> None:
    pred = torch.tensor([[3.0], [-1e4]], requires_grad=True)
    given = torch.tensor([0, 0]) if target == "target" else torch.ones(2, 1)
    value = evaluate(loss, {"pred": pred, target: given})
    assert value.item() == 0
    assert slope(value, pred).tolist() == [[0], [0]]


def test_infinite_logits_out_of_a_mask_cost_nothing_where_they_are_not_the_class() -> None:
    pred = torch.tensor([[1.0, -torch.inf, 2.0]], requires_grad=True)
    loss = evaluate("cross_entropy", {"pred": pred, "target": torch.tensor([2])})
    assert loss.item() == pytest.approx(0.3132617, rel=1e-6)
    assert torch.isfinite(slope(loss, pred)).all()
