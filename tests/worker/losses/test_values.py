"""Every loss against its formula, value and gradient, in float64; and against torch's own."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.worker.losses.cases import CASES, Case, slope
from torch import Tensor
from torch.nn import functional as F

from talweg.spec import fill_message, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate

EXACT: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-14}


def ids(case: Case) -> str:
    return str(case)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_values_are_those_of_the_formula(case: Case) -> None:
    inputs = case.inputs()
    expected = torch.tensor([float(v) for v in case.values(case.flat())], dtype=torch.float64)

    values = evaluate(case.spec("none"), inputs)
    torch.testing.assert_close(values.flatten(), expected, **EXACT)
    module = build(fill_message(from_dict(case.spec(), Loss)))
    torch.testing.assert_close(module.values(inputs), values, rtol=0, atol=0)
    torch.testing.assert_close(evaluate(case.spec("sum"), inputs), expected.sum(), **EXACT)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_mean_and_its_gradient_are_those_of_the_formula(case: Case) -> None:
    inputs = case.inputs()

    mean = evaluate(case.spec(), inputs)

    expected = torch.tensor(float(case.mean(case.flat())), dtype=torch.float64)
    torch.testing.assert_close(mean, expected, **EXACT)
    gradient = slope(mean, inputs["pred"])
    expected = torch.tensor(case.gradient(), dtype=torch.float64)
    torch.testing.assert_close(gradient.flatten(), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_gradient_is_that_of_the_value(case: Case) -> None:
    inputs = case.inputs()
    module = build(fill_message(from_dict(case.spec("sum"), Loss)))

    def loss(pred: Tensor) -> Tensor:
        return module({**inputs, "pred": pred})

    assert torch.autograd.gradcheck(loss, inputs["pred"])


def positions(case: Case) -> tuple[int, ...]:
    """Return the shape of torch's unreduced loss."""
    pred = torch.tensor(case.pred)
    if case.target_name == "target_prob":
        return (pred.shape[0], *pred.shape[2:])
    return tuple(torch.tensor(case.target).shape)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_none_keeps_the_shape_of_the_elements_or_positions(case: Case) -> None:
    shape = tuple(torch.tensor(case.pred).shape)
    expected = shape if case.loss == "multi_quantile" else positions(case)
    assert tuple(evaluate(case.spec("none"), case.inputs()).shape) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_small_floats_are_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype)
    wide = {n: t.detach().double() if t.is_floating_point() else t for n, t in inputs.items()}

    loss = evaluate(case.spec(), inputs)

    assert loss.dtype is torch.float32
    assert slope(loss, inputs["pred"]).dtype is dtype
    # Far closer than the 3e-4 of a float16 loss: only the inputs were rounded.
    expected = evaluate(case.spec(), wide)
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=2e-6)


_generator = torch.Generator().manual_seed(0)
_PRED = torch.randn(20, 5, generator=_generator, dtype=torch.float64)
_TARGET = torch.randn(20, 5, generator=_generator, dtype=torch.float64)
_SHARE = torch.rand(20, 5, generator=_generator, dtype=torch.float64)
_CLASS = torch.randint(0, 5, (20,), generator=_generator)
_SOME_IGNORED = _CLASS.where(_CLASS != 3, -100)
_WEIGHT = [0.5, 1.0, 2.0, 0.0, 3.0]
_W = torch.tensor(_WEIGHT, dtype=torch.float64)

TORCH: list[tuple[Any, dict[str, Tensor], Callable[..., Tensor], dict[str, Any]]] = [
    ("mse", {"target": _TARGET}, F.mse_loss, {}),
    ("mae", {"target": _TARGET}, F.l1_loss, {}),
    ({"huber": {"delta": 0.7}}, {"target": _TARGET}, F.huber_loss, {"delta": 0.7}),
    ({"smooth_l1": {"beta": 0.7}}, {"target": _TARGET}, F.smooth_l1_loss, {"beta": 0.7}),
    ({"smooth_l1": {"beta": 0}}, {"target": _TARGET}, F.l1_loss, {}),
    (
        {"poisson_nll": {"full": True}},
        {"target": 9 * _SHARE},
        F.poisson_nll_loss,
        {"full": True},
    ),
    (
        {"bce_with_logits": {"weight": _WEIGHT, "pos_weight": _WEIGHT}},
        {"target": _SHARE},
        F.binary_cross_entropy_with_logits,
        {"weight": _W, "pos_weight": _W},
    ),
    ("cross_entropy", {"target": _CLASS}, F.cross_entropy, {}),
    ("cross_entropy", {"target": _SOME_IGNORED}, F.cross_entropy, {}),
    ("cross_entropy", {"target_prob": _SHARE.softmax(1)}, F.cross_entropy, {}),
    (
        {"cross_entropy": {"weight": _WEIGHT, "label_smoothing": 0.1}},
        {"target": _SOME_IGNORED},
        F.cross_entropy,
        {"weight": _W, "label_smoothing": 0.1},
    ),
    (
        {"cross_entropy": {"weight": _WEIGHT, "label_smoothing": 0.1}},
        {"target_prob": _SHARE.softmax(1)},
        F.cross_entropy,
        {"weight": _W, "label_smoothing": 0.1},
    ),
    (
        {"cross_entropy": {"ignore_index": 4}},
        {"target": _CLASS},
        F.cross_entropy,
        {"ignore_index": 4},
    ),
    ({"focal": {"gamma": 0}}, {"target": _SOME_IGNORED}, F.cross_entropy, {}),
    ({"poly1": {"epsilon": 0}}, {"target": _CLASS}, F.cross_entropy, {}),
    ({"symmetric_ce": {"alpha": 1, "beta": 0}}, {"target": _CLASS}, F.cross_entropy, {}),
    ({"focal_binary": {"gamma": 0}}, {"target": _SHARE}, F.binary_cross_entropy_with_logits, {}),
    (
        {"asymmetric_multilabel": {"gamma_neg": 0, "gamma_pos": 0, "clip": 0}},
        {"target": _SHARE},
        F.binary_cross_entropy_with_logits,
        {},
    ),
    (
        {"multi_margin": {"margin": 0.4}},
        {"target": _CLASS},
        F.multi_margin_loss,
        {"margin": 0.4},
    ),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("loss", "target", "function", "options"), TORCH)
def test_torch_agrees(
    loss: Any,
    target: dict[str, Tensor],
    function: Callable[..., Tensor],
    options: dict[str, Any],
    reduction: str,
) -> None:
    spec = {loss: {}} if isinstance(loss, str) else loss
    spec = {name: {**params, "reduction": reduction} for name, params in spec.items()}
    (wanted,) = target.values()

    ours = evaluate(spec, {"pred": _PRED, **target})

    torch.testing.assert_close(
        ours, function(_PRED, wanted, reduction=reduction, **options), **EXACT
    )


def test_log_cosh_keeps_its_digits_near_zero() -> None:
    errors = torch.tensor([1e-4, 1e-3, 1e-2, 0.1, 1.0, 19.99, 20.01, 300.0])
    pred = errors.clone().requires_grad_()
    values = evaluate({"log_cosh": {"reduction": "none"}}, {"pred": pred, "target": 0 * errors})

    wide = errors.double()
    exact = wide + torch.log1p(torch.exp(-2 * wide)) - torch.log(torch.tensor(2.0).double())
    # The formula has few digits in float64 either, so the series stands in for it up to 0.01.
    exact[:3] = (wide**2 / 2 - wide**4 / 12 + wide**6 / 45)[:3]
    torch.testing.assert_close(values.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope(values.sum(), pred), torch.tanh(errors), rtol=1e-6, atol=0)


def test_batchmean_divides_by_the_number_of_samples() -> None:
    inputs = {"pred": _PRED, "target": (_SHARE > 0.5).double()}
    total = evaluate({"asymmetric_multilabel": {"reduction": "sum"}}, inputs)
    mean = evaluate({"asymmetric_multilabel": {"reduction": "batchmean"}}, inputs)
    torch.testing.assert_close(mean, total / 20)


def test_integer_targets_of_any_width_are_class_indices() -> None:
    expected = evaluate("cross_entropy", {"pred": _PRED, "target": _CLASS})
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        given = evaluate("cross_entropy", {"pred": _PRED, "target": _CLASS.to(dtype)})
        assert given.item() == expected.item()


def test_counts_may_be_integers() -> None:
    counts = torch.tensor([0, 3, 1])
    pred = torch.tensor([0.1, 1.0, -0.5])
    given = evaluate("poisson_nll", {"pred": pred, "target": counts})
    torch.testing.assert_close(
        given, evaluate("poisson_nll", {"pred": pred, "target": counts.float()})
    )


def test_counts_of_zero_have_a_gradient_too() -> None:
    """`talweg loss check` gives the gradient by every input."""
    target = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    pred = torch.tensor([0.1, 1.0, -0.5], dtype=torch.float64)
    spec = {"poisson_nll": {"full": True, "reduction": "sum"}}
    gradient = slope(evaluate(spec, {"pred": pred, "target": target}), target)
    expected = [-0.1, -1.0, 0.5 + math.log(3) + 1 / 6]
    assert gradient.tolist() == pytest.approx(expected)


def test_the_wider_of_two_float_types_counts() -> None:
    loss = evaluate("mse", {"pred": torch.rand(3), "target": torch.rand(3).double()})
    assert loss.dtype is torch.float64
    half = torch.rand(3).half()
    assert evaluate("mse", {"pred": half, "target": half.bfloat16()}).dtype is torch.float32
