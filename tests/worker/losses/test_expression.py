"""Formulas of the user's own: beyond the tables, what results may be, and what is tried out."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import slope
from tests.worker.losses.formulas import EXPRESSIONS
from torch import Tensor

from talweg.spec import formulas, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import OwnLoss, build, evaluate
from talweg.worker.losses.composed.formula import IMPLEMENTED

PRED = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.0, 1.0]], dtype=torch.float64)
TARGET = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 3.0, 1.5]], dtype=torch.float64)


def value(formula: str, reduction: str = "none", **params: float) -> Tensor:
    spec = {"expression": {"formula": formula, "params": params, "reduction": reduction}}
    return evaluate(spec, {"pred": PRED, "target": TARGET})


def own(formula: str, **params: float) -> OwnLoss:
    module = build(from_dict({"expression": {"formula": formula, "params": params}}, Loss))
    assert isinstance(module, OwnLoss)
    return module


def test_the_table_uses_every_function_and_operator() -> None:
    assert IMPLEMENTED == {*formulas.FUNCTIONS, *formulas.OPERATORS}
    used = set()
    waiting: list[formulas.Term] = [
        formulas.parse(text, dict.fromkeys(["k", "eps", "scale", "q", "high"], 1.0))
        for text in EXPRESSIONS
    ]
    while waiting:
        term = waiting.pop()
        if isinstance(term, formulas.Operation):
            used.add(term.name)
            waiting += term.terms
    reductions = {name for name, f in formulas.FUNCTIONS.items() if f.reduces}
    assert used == IMPLEMENTED - reductions


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("mean(pred)", PRED.mean()),
        ("sum(pred - target)", (PRED - TARGET).sum()),
        ("amax(pred)", PRED.max()),
        ("amin(pred)", PRED.min()),
        ("mean(pred, 1)", PRED.mean(1, keepdim=True)),
        ("sum(pred, -1)", PRED.sum(1, keepdim=True)),
        ("amax(pred, 1)", PRED.max(1, keepdim=True).values),
        ("amin(pred, -1)", PRED.min(1, keepdim=True).values),
        ("pred - mean(pred, 1)", PRED - PRED.mean(1, keepdim=True)),
        ("abs(pred - mean(pred))", (PRED - PRED.mean()).abs()),
        ("mean(pred > target) * pred", (PRED > TARGET).double().mean() * PRED),
        ("mean(k) * pred", 3 * PRED),
    ],
)
def test_reductions_within_a_formula(formula: str, expected: Tensor) -> None:
    torch.testing.assert_close(value(formula, k=3.0), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_one_value_stays_under_every_reduction(reduction: str) -> None:
    assert value("mean(square(pred - target))", reduction).item() == pytest.approx(
        (PRED - TARGET).square().mean().item()
    )


def test_values_a_sample_are_reduced() -> None:
    rows = (PRED - TARGET).abs().sum(1)
    assert value("sum(abs(pred - target), 1)", "mean").item() == pytest.approx(rows.mean().item())
    assert value("sum(abs(pred - target), 1)", "sum").item() == pytest.approx(rows.sum().item())


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        ("mean(pred, 0)", r"pred of shape \(2, 3\) it has shape \(1, 3\)"),
        ("sum(abs(pred - target), -2)", r"it has shape \(1, 3\)"),
        ("mean(pred, 2)", "'mean' at column 1 is along dimension 2, but what it is of has 2"),
        ("pred + amax(pred, -3)", "'amax' at column 8 is along dimension -3"),
        ("mean(3, 1) * pred", "'mean' at column 1 is along dimension 1, but what it is of has 0"),
        ("pred / (k - 2)", None),
        ("pred * (1 / (k - 2))", "'/' at column 11 gives inf"),
        ("pred + log(-1)", "'log' at column 8 gives nan"),
        ("pred * 1e30**10 * 1e30**10", r"'\*\*' at column 12 gives 1e\+300, but numbers go up to"),
        ("pred * (1e30 * 1e30)", "at column 14 gives 1e.60"),
    ],
)
def test_results_that_are_refused(formula: str, says: str | None) -> None:
    if says is None:
        assert not torch.isfinite(value(formula, k=2.0)).all()
        return
    with pytest.raises(UserSpecError, match=says):
        value(formula, k=2.0)


def test_where_and_masks_take_numbers_on_either_side() -> None:
    assert value("where(pred > 0, 1, 0) + 0 * pred").tolist() == [[1, 0, 1], [1, 0, 1]]
    assert value("where(k > 1, pred, target)", k=2.0).equal(PRED)
    assert value("where(k > 1, pred, target)", k=0.0).equal(TARGET)
    assert value("clamp(0, pred, 4) + maximum(pred, 0)").equal(2 * PRED.clamp(min=0))
    third = value("where(pred > 99, pred, 1/3)")
    assert third.dtype is torch.float64
    assert third.flatten().tolist() == [1 / 3] * 6


@pytest.mark.parametrize(
    "formula",
    [
        "clamp({}, target, pred + 9)",
        "where(pred > 0.2, {}, pred)",
        "minimum({}, pred)",
        "maximum(pred, {})",
    ],
)
@pytest.mark.parametrize("part", ["0.5", "mean(pred)", "mean(pred, 1)"])
def test_gradients_reach_parts_of_another_shape(formula: str, part: str) -> None:
    """Numbers and reductions stand beside whole tensors."""
    module = own(formula.format(part))

    def loss(pred: Tensor) -> Tensor:
        return module({"pred": pred, "target": TARGET - 9.25})

    assert torch.autograd.gradcheck(loss, PRED.clone().requires_grad_())


def test_softplus_has_no_straight_end() -> None:
    pred = torch.tensor([30.0], dtype=torch.float64)
    loss = evaluate({"expression": "softplus(pred) - pred"}, {"pred": pred, "target": pred})
    assert loss.item() == pytest.approx(9.36e-14, rel=0.05)


def test_logits_and_their_targets_in_float32() -> None:
    """The formula of bce_with_logits is that loss."""
    pred = torch.tensor([3.0, -50.0, 1e4], requires_grad=True)
    inputs = {"pred": pred, "target": torch.tensor([0.0, 1.0, 1.0])}
    ours = evaluate({"expression": "softplus(pred) - pred * target"}, inputs)
    torch.testing.assert_close(ours, evaluate("bce_with_logits", inputs))
    torch.testing.assert_close(slope(ours, pred), slope(evaluate("bce_with_logits", inputs), pred))


# formula, what is wrong with it on the samples below
FAULTS: list[tuple[str, list[str]]] = [
    ("sqrt(pred - target)", ["value of the loss is nan at pred = -2, target = 1", "'sqrt'"]),
    ("1 + sqrt(pred - target)", ["value of the loss is nan", "'sqrt' at column 5"]),
    ("log(abs(pred - target))", ["value of the loss is -inf", "'log' at column 1"]),
    ("exp(1000 * pred)", ["value of the loss is inf", "'exp' at column 1"]),
    ("mean(1 / (pred - target))", ["value of the loss is inf", "'/' at column 8"]),
    ("sqrt(abs(pred - target))", ["gradient of the loss is nan", "'sqrt' at column 1"]),
    ("pred + sqrt(abs(pred - target))", ["gradient of the loss is nan", "'sqrt' at column 8"]),
    ("abs(pred - target)**0.5", ["gradient of the loss is nan", "'**' at column 19"]),
    ("where(pred < 9, pred, sqrt(pred - 9 + 0 * target))", ["gradient of the loss is nan",
                                                           "'sqrt' at column 23"]),
    ("(pred > target) * 1", ["no gradient"]),
    ("where(pred > target, target, 0)", ["no gradient"]),
    ("mean(pred, 0)", ["one value per sample or one value"]),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "says"), FAULTS, ids=[row[0] for row in FAULTS])
def test_what_is_found_when_a_formula_is_tried_out(formula: str, says: list[str]) -> None:
    with torch.no_grad(), pytest.raises(UserSpecError) as error:
        own(formula).dry_run({"pred": PRED, "target": TARGET})
    for words in says:
        assert words in str(error.value)


@pytest.mark.parametrize(
    "formula",
    [
        # Infinite at 0, which the samples hold.
        *(formula for formula in EXPRESSIONS if "pred**-2" not in formula),
        "sqrt(square(pred - target) + 1e-12)",
        "mean(square(pred - target)) / mean(square(target))",
        "mean(square(pred - target), 1)",
        "where(pred > 0, 1, 0) + 0 * pred",
    ],
)
def test_a_good_formula_passes(formula: str) -> None:
    params = dict.fromkeys(["k", "eps", "scale", "q", "high"], 0.5)
    before = PRED.clone()
    with torch.no_grad():
        own(formula, **params).dry_run({"pred": PRED, "target": TARGET})
    assert PRED.equal(before)
    assert PRED.grad is None


def test_formulas_add_up() -> None:
    spec: dict[str, Any] = {
        "sum": {"terms": [{"loss": {"expression": "abs(pred - target)"}}, {"loss": "mse"}]}
    }
    inputs = {"pred": PRED, "target": TARGET}
    expected = evaluate("mae", inputs) + evaluate("mse", inputs)
    torch.testing.assert_close(evaluate(spec, inputs), expected)
