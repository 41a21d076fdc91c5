"""Batches in which nothing counts give 0, joined to the graph."""

from typing import Any

import pytest
import torch
from tests.worker.losses.cases import CLASSES, YES_OR_NO, slope
from torch import Tensor

from talweg.spec import from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate

NUMBERS = (
    "mse",
    "mae",
    "huber",
    "smooth_l1",
    "log_cosh",
    "quantile",
    "poisson_nll",
    "charbonnier",
    "asymmetric_mse",
)
EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    **{loss: (loss, {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)}) for loss in NUMBERS},
    **{
        loss: (loss, {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)})
        for loss in YES_OR_NO
    },
    **{
        loss: (loss, {"pred": torch.empty(0, 3), "target": torch.empty(0).long()})
        for loss in CLASSES
    },
    "multi_quantile": (
        {"multi_quantile": {"quantiles": [0.1, 0.9]}},
        {"pred": torch.empty(0, 2), "target": torch.empty(0)},
    ),
    "cross_entropy target_prob": (
        "cross_entropy",
        {"pred": torch.empty(0, 3), "target_prob": torch.empty(0, 3)},
    ),
    "focal_binary positives": (
        {"focal_binary": {"normalizer": "positives"}},
        {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)},
    ),
    "asymmetric_multilabel batchmean": (
        {"asymmetric_multilabel": {"reduction": "batchmean"}},
        {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)},
    ),
    "expression": (
        {"expression": "abs(pred - target)"},
        {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)},
    ),
    "expression of one value": (
        {"expression": "amax(pred) - mean(target)"},
        {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)},
    ),
    "sum": (
        {"sum": {"terms": [{"loss": "mse"}, {"loss": "mae"}]}},
        {"pred": torch.empty(0, 3), "target": torch.empty(0, 3)},
    ),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_batch_costs_nothing(name: str) -> None:
    loss, inputs = EMPTY[name]
    pred = inputs["pred"].clone().requires_grad_()
    value = evaluate(loss, {**inputs, "pred": pred})
    assert value.item() == 0
    assert slope(value, pred).shape == pred.shape


ALL_IGNORED: list[tuple[dict[str, Any], int]] = [
    ({}, -100),
    ({"ignore_index": 1}, 1),
    ({"ignore_index": 255}, 255),
]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("params", "ignored"), ALL_IGNORED, ids=str)
@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_all_ignored_gives_zero(
    loss: str, params: dict[str, Any], ignored: int, reduction: str
) -> None:
    pred = torch.randn(4, 3, 2, requires_grad=True)
    target = torch.full((4, 2), ignored)
    spec = {loss: {**params, "reduction": reduction}}
    value = evaluate(spec, {"pred": pred, "target": target})
    assert value.item() == 0
    assert not slope(value, pred).any()


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_ignored_positions_have_no_value_and_no_gradient(loss: str) -> None:
    pred = torch.randn(4, 3, requires_grad=True)
    target = torch.tensor([0, -100, 2, -100])
    alone = evaluate(loss, {"pred": pred[::2], "target": target[::2]})
    value = evaluate(loss, {"pred": pred, "target": target})
    torch.testing.assert_close(value, alone)
    assert not slope(value, pred)[1::2].any()


def test_classes_that_weigh_nothing_give_zero() -> None:
    pred = torch.randn(2, 3, requires_grad=True)
    spec = {"cross_entropy": {"weight": [0, 0, 1]}}
    value = evaluate(spec, {"pred": pred, "target": torch.tensor([0, 1])})
    assert value.item() == 0
    assert not slope(value, pred).any()


def test_a_prediction_of_nan_is_not_taken_for_an_empty_batch() -> None:
    """A diverged run must not look like a perfect one."""
    pred = torch.full((2, 3), torch.nan)
    for loss in ("cross_entropy", "focal", "poly1"):
        value = evaluate(loss, {"pred": pred, "target": torch.tensor([0, 1])})
        assert value.isnan()
    for loss in ("mse", "bce_with_logits", "asymmetric_multilabel"):
        assert evaluate(loss, {"pred": pred, "target": torch.ones(2, 3)}).isnan()


def test_bce_of_nan_is_nan_and_not_an_error() -> None:
    module = build(from_dict("bce", Loss))
    pred = torch.tensor([0.5, torch.nan], requires_grad=True)
    assert module({"pred": pred, "target": torch.ones(2)}).isnan()


def test_no_positives_divide_by_one() -> None:
    pred = torch.tensor([0.3, -1.0, 2.0])
    inputs = {"pred": pred, "target": torch.zeros(3)}
    by_positives = evaluate({"focal_binary": {"normalizer": "positives"}}, inputs)
    total = evaluate({"focal_binary": {"reduction": "sum"}}, inputs)
    assert by_positives.item() == pytest.approx(total.item())
