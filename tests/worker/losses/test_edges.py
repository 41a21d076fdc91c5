"""What counts for nothing costs nothing, whatever it holds: ignored rows, ruled out classes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import evaluate
from talweg.worker.losses.functional.regression import _log1p_square

WILD = [torch.nan, torch.inf, -torch.inf]
# Losses with an index that is ignored, as parameters of pred (2, 3, 4) and classes (2, 4).
IGNORING: list[dict[str, Any]] = [
    {"cross_entropy": {"ignore_index": 9}},
    {"cross_entropy": {"ignore_index": 9, "weight": [1, 2, 3], "label_smoothing": 0.1}},
    {"focal": {"ignore_index": 9}},
    {"focal": {"ignore_index": 9, "alpha": [1, 2, 3], "gamma": 0.5}},
    {"lovasz_softmax": {"ignore_index": 9}},
    {"lovasz_softmax": {"ignore_index": 9, "per_image": True, "classes": "all"}},
    {"ce_dice": {"ignore_index": 9}},
    {"ce_dice": {"ignore_index": 9, "batch": True, "squared": True}},
    *(
        {loss: {"mode": "multiclass", "ignore_index": 9, **params}}
        for loss in ("dice", "jaccard", "tversky", "focal_tversky")
        for params in ({}, {"batch": True}, {"include_background": False})
    ),
    {"dice": {"mode": "multiclass", "ignore_index": 9, "squared": True}},
]


def slopes(loss: Any, inputs: dict[str, Tensor], name: str = "pred") -> tuple[Tensor, Tensor]:
    """Return value and gradient by one input."""
    leaf = inputs[name].clone().requires_grad_()
    value = evaluate(loss, {**inputs, name: leaf})
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def test_every_loss_that_ignores_is_tried() -> None:
    tried = {name for row in IGNORING for name in row}
    fields = {
        name
        for name, field in Loss.DESCRIPTOR.fields_by_name.items()
        if field.message_type is not None and "ignore_index" in field.message_type.fields_by_name
    }
    assert fields == tried


@pytest.mark.parametrize("wild", WILD)
@pytest.mark.parametrize("loss", IGNORING, ids=str)
def test_ignored_positions_may_hold_anything(loss: dict[str, Any], wild: float) -> None:
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(2, 3, 4, generator=generator)
    target = torch.tensor([[0, 9, 2, 1], [9, 9, 1, 9]])
    expected, slope = slopes(loss, {"pred": pred, "target": target})
    broken = pred.masked_fill((target == 9)[:, None], wild)

    value, gradient = slopes(loss, {"pred": broken, "target": target})

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)
    assert not gradient.masked_select((target == 9)[:, None].expand_as(pred)).any()


@pytest.mark.parametrize(("from_logits", "wild"), [*((True, wild) for wild in WILD), (False, 1.0)])
@pytest.mark.parametrize("loss", ["dice", "jaccard", "tversky", "focal_tversky"])
def test_ignored_answers_may_hold_anything(loss: str, wild: float, from_logits: bool) -> None:
    pred = torch.tensor([[[0.2, 0.7, 0.4]], [[0.1, 0.9, 0.3]]])
    target = torch.tensor([[[0.0, 9.0, 1.0]], [[1.0, 9.0, 9.0]]])
    spec = {loss: {"mode": "binary", "ignore_index": 9, "from_logits": from_logits}}
    expected, slope = slopes(spec, {"pred": pred, "target": target})
    broken = pred.masked_fill(target == 9, wild)

    value, gradient = slopes(spec, {"pred": broken, "target": target})

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


def test_levels_beyond_the_rank_may_hold_anything() -> None:
    pred = torch.tensor([[0.5, torch.nan, torch.inf], [0.3, -0.2, torch.nan]])
    rest = torch.tensor([[0.5, 0.0, 0.0], [0.3, -0.2, 0.0]])
    target = torch.tensor([0, 1])
    expected, slope = slopes("corn", {"pred": rest, "target": target})
    value, gradient = slopes("corn", {"pred": pred, "target": target})
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize("impossible", ["zero", "error"])
def test_time_steps_behind_the_end_may_hold_anything(impossible: str) -> None:
    pred = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    inputs = {
        "pred": pred,
        "targets": torch.tensor([[1, 2], [1, 0]]),
        "target_lengths": torch.tensor([2, 1]),
        "input_lengths": torch.tensor([5, 2]),
    }
    spec = {"ctc": {"impossible": impossible}}
    expected, slope = slopes(spec, inputs)
    broken = pred.clone()
    broken[2:, 1] = torch.nan

    value, gradient = slopes(spec, {**inputs, "pred": broken})

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize(
    ("targets", "length", "steps"),
    [([1, 2, 1], 3, 2), ([1, 1, 2], 3, 3), ([2, 2, 2], 2, 2), ([1, 2, 2], 1, 0)],
)
def test_a_sequence_without_alignment_is_zero_or_refused(
    targets: list[int], length: int, steps: int
) -> None:
    pred = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))
    inputs = {
        "pred": pred,
        "targets": torch.tensor([[1, 2, 0], targets]),
        "target_lengths": torch.tensor([2, length]),
        "input_lengths": torch.tensor([4, steps]),
    }
    value, gradient = slopes({"ctc": {"reduction": "none"}}, inputs)
    assert value[0] > 0
    assert value[1] == 0
    assert gradient[:, 0].any()
    assert not gradient[:, 1].any()

    message = f"sequence 1 has none: {length} symbols in {steps} time steps"
    with pytest.raises(ValueError, match=message):
        evaluate({"ctc": {"impossible": "error"}}, inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shares", [[0.5, 0.5, 0.5], [0.3, 0.3, 0.3], [0.0, 0.0, 0.0]])
def test_shares_that_are_no_distribution_are_refused(
    shares: list[float], dtype: torch.dtype
) -> None:
    prob = torch.tensor([[1.0, 0.0, 0.0], shares], dtype=dtype)
    inputs = {"pred": torch.zeros(2, 3), "target_prob": prob}
    with pytest.raises(ValueError, match="probabilities that sum to 1 over the classes, but got"):
        evaluate("cross_entropy", inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_shares_that_are_rounded_are_taken(dtype: torch.dtype) -> None:
    logits = torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    inputs = {"pred": logits, "target_prob": logits.softmax(1).to(dtype)}
    assert evaluate("cross_entropy", inputs) > 0
    thirds = {"pred": torch.zeros(1, 3), "target_prob": torch.full((1, 3), 0.333)}
    assert evaluate("cross_entropy", thirds) > 0


@pytest.mark.parametrize("params", [{}, {"weight": [1.0, 0.0, 2.0]}])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_class_that_is_ruled_out_rightly_costs_nothing(
    params: dict[str, Any], reduction: str
) -> None:
    spec = {"cross_entropy": {**params, "reduction": reduction}}
    prob = torch.tensor([[0.25, 0.0, 0.75], [1.0, 0.0, 0.0]])
    low = torch.tensor([[0.5, -1e9, 1.0], [0.2, -1e9, -1e9]])
    expected, slope = slopes(spec, {"pred": low, "target_prob": prob})

    pred = low.masked_fill(low == -1e9, -torch.inf)
    value, gradient = slopes(spec, {"pred": pred, "target_prob": prob})

    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


def test_a_class_that_is_ruled_out_wrongly_costs_everything() -> None:
    pred = torch.tensor([[0.0, -torch.inf]])
    assert evaluate("cross_entropy", {"pred": pred, "target_prob": torch.tensor([[0.5, 0.5]])}) > (
        1e30
    )
    teacher = torch.zeros(1, 2)
    assert evaluate("distillation", {"pred": pred, "teacher_logits": teacher}) > 1e30


@pytest.mark.parametrize("name", ["pred", "teacher_logits"])
def test_a_class_that_the_teacher_rules_out_costs_nothing(name: str) -> None:
    low = {
        "pred": torch.tensor([[0.5, -1e9, 1.0], [0.1, 0.7, 0.2]]),
        "teacher_logits": torch.tensor([[0.1, -1e9, 0.3], [-1e9, 0.2, 0.4]]),
    }
    expected, slope = slopes("distillation", low, name)
    ruled_out = {key: each.masked_fill(each == -1e9, -torch.inf) for key, each in low.items()}
    value, gradient = slopes("distillation", ruled_out, name)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.parametrize(
    "loss",
    [
        "bce_with_logits",
        {"bce_with_logits": {"pos_weight": [3.0], "weight": [2.0]}},
        {"bce_with_logits": {"reduction": "sum"}},
        {"bce_with_logits": {"reduction": "none"}},
        "focal_binary",
        {"focal_binary": {"gamma": 0.5, "alpha": 0.25}},
        "asymmetric_multilabel",
        {"asymmetric_multilabel": {"clip": 0.0, "gamma_neg": 0.0, "gamma_pos": 0.0}},
    ],
    ids=str,
)
def test_infinite_logits_that_are_right_cost_nothing(loss: Any) -> None:
    low = torch.tensor([[1e4], [-1e4], [0.5]])
    target = torch.tensor([[1.0], [0.0], [1.0]])
    expected, slope = slopes(loss, {"pred": low, "target": target})
    pred = torch.tensor([[torch.inf], [-torch.inf], [0.5]])
    value, gradient = slopes(loss, {"pred": pred, "target": target})
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


def test_infinite_logits_of_ranks_and_reconstructions_cost_nothing_where_right() -> None:
    sure = torch.tensor([[torch.inf, -torch.inf]])
    for loss in ("coral", "corn"):
        value, gradient = slopes(loss, {"pred": sure, "target": torch.tensor([1])})
        assert value == 0
        assert not gradient.any()
    code = {"mu": torch.zeros(1, 1), "logvar": torch.zeros(1, 1)}
    inputs = {"recon": sure, "target": torch.tensor([[1.0, 0.0]]), **code}
    value, gradient = slopes("vae", inputs, "recon")
    assert value == 0
    assert not gradient.any()


# What has a weight of 0, as a loss, its inputs, and its value without the part of that weight.
_WILD_ROW = {"pred": torch.tensor([[torch.nan, 0.0], [0.0, 1.0]]), "target": torch.tensor([0, 1])}
_RULED_OUT = {"pred": torch.tensor([[-torch.inf, 0.0]]), "target": torch.tensor([0])}
_FAR = {"pred": torch.tensor([1e25, 1.0]), "target": torch.zeros(2)}
_WRONG = {"pred": torch.tensor([[-torch.inf], [0.0]]), "target": torch.tensor([[1.0], [0.0]])}
_VIEWS = {"z1": torch.tensor([[1e20], [0.0]]), "z2": torch.tensor([[1e20], [0.0]])}
_NOT_ALONE = math.log(1 + math.exp(-1))
_CODE = {"mu": torch.tensor([[1e25]]), "logvar": torch.zeros(1, 1)}
_IMAGES = {"recon": torch.ones(1, 1), "target": torch.zeros(1, 1)}
_BOXES = {"boxes": torch.tensor([[0.0, 0, 1, 1]]), "target_boxes": torch.tensor([[0.0, 0, 1, 2]])}
_NO_CLASS = {"class_logits": torch.tensor([[torch.nan, 0.0]]), "target_classes": torch.tensor([0])}
_NOTHING: list[tuple[Any, dict[str, Tensor], float]] = [
    ({"cross_entropy": {"weight": [0.0, 1.0]}}, _WILD_ROW, _NOT_ALONE),
    ({"focal": {"alpha": [0.0, 1.0], "gamma": 0.0}}, _WILD_ROW, _NOT_ALONE / 2),
    ({"ldam": {"class_counts": [1, 1], "weight": [0, 1], "max_margin": 0, "scale": 1}},
     _WILD_ROW, _NOT_ALONE),
    ({"symmetric_ce": {"alpha": 0.0}}, _RULED_OUT, 4.0),
    ({"asymmetric_mse": {"over_penalty": 0.0}}, _FAR, 0.0),
    ({"bce_with_logits": {"pos_weight": [0.0]}}, _WRONG, math.log(2) / 2),
    ({"bce_with_logits": {"pos_weight": [0.0]}},
     {**_WRONG, "pred": torch.tensor([[torch.nan], [0.0]])}, math.log(2) / 2),
    ({"asymmetric_mse": {"over_penalty": 0.0}},
     {**_FAR, "pred": torch.tensor([torch.inf, 1.0])}, 0.0),
    ({"detection": {"class_weight": 0.0}}, {**_NO_CLASS, **_BOXES}, 0.5),
    ({"focal_binary": {"alpha": 0.0}}, _WRONG, math.log(2) / 8),
    ({"sum": {"terms": [{"loss": "mse", "weight": 0}, {"loss": "mae"}]}}, _FAR, 5e24),
    ({"sum": {"terms": [{"loss": "mse", "weight": 0}]}}, _FAR, 0.0),
    ({"vae": {"beta": 0.0, "recon": "mse"}}, {**_IMAGES, **_CODE}, 1.0),
    ({"vae": {"beta": 0.0, "recon": "mse"}},
     {"logvar": torch.tensor([[torch.nan]]), "mu": torch.zeros(1, 1), **_IMAGES}, 1.0),
    ({"vicreg": {"cov": 0.0, "sim": 0.0}}, _VIEWS, 0.0),
    ({"ce_dice": {"ce_weight": 0.0}}, _RULED_OUT, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "inputs", "expected"), _NOTHING, ids=str)
def test_what_has_a_weight_of_0_costs_nothing(
    loss: Any, inputs: dict[str, Tensor], expected: float
) -> None:
    value, gradient = slopes(loss, inputs, next(iter(inputs)))
    assert value.item() == pytest.approx(expected, rel=1e-4)
    assert not gradient.isnan().any()


@pytest.mark.parametrize("error", [1e9, 1e15, 1e25, 1e38])
def test_evidential_is_finite_where_the_square_of_an_error_overflows(error: float) -> None:
    def inputs(dtype: torch.dtype) -> dict[str, Tensor]:
        one = torch.ones(1, dtype=dtype)
        return {"pred": error * one, "target": 0 * one, "nu": one, "alpha": one, "beta": one}

    for name in ("pred", "nu", "alpha", "beta"):
        loss = {"evidential": {"coefficient": 0.0}}
        value, gradient = slopes(loss, inputs(torch.float32), name)
        exact, slope = slopes(loss, inputs(torch.float64), name)
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
        torch.testing.assert_close(gradient.double(), slope, rtol=1e-4, atol=1e-45)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_evidential_is_the_formula_to_the_bit_where_that_is_finite(dtype: torch.dtype) -> None:
    error, share = torch.logspace(-20, 18, 500, dtype=dtype), torch.full((500,), 0.37, dtype=dtype)
    assert torch.equal(_log1p_square(error, share), torch.log1p(error.square() * share))


@pytest.mark.parametrize("power", [1.01, 1.5, 1.99, 1.999999])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("pred", [1e-45, 1e-38, 1e-30, 1e-26, 1.0])
def test_tweedie_at_a_target_of_zero_is_finite_near_zero(
    power: float, dtype: torch.dtype, pred: float
) -> None:
    inputs = {
        "pred": torch.tensor([pred], dtype=dtype),
        "target": torch.zeros(1, dtype=dtype),
    }
    value, gradient = slopes({"tweedie": {"power": power}}, inputs)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient.item() > 0
