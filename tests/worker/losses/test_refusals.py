"""What is refused, and the sentence that says so with value and bound."""

from typing import Any

import pytest
import torch
from tests.worker.losses.refused import BOTH, DTYPES, INDICES, LOGITS, NAMES, SHAPES, VALUES
from torch import Tensor

from talweg.spec import SpecError, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate


@pytest.mark.parametrize(("loss", "inputs", "message"), SHAPES + DTYPES + NAMES)
def test_names_shapes_and_dtypes_are_refused_on_every_call(
    loss: Any, inputs: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(loss, inputs)
    module = build(from_dict(loss, Loss))
    with pytest.raises(ValueError, match=message):
        module(inputs)
    with pytest.raises(ValueError, match=message):
        module.values(inputs)
    with pytest.raises(ValueError, match=message):
        module.check_inputs(inputs)


@pytest.mark.parametrize(("loss", "inputs", "message"), VALUES)
def test_values_out_of_range_are_refused(
    loss: Any, inputs: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(loss, inputs)


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="target must be a tensor, but got list"):
        evaluate("mse", {"pred": torch.zeros(1), "target": [0.0]})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("loss", "field", "words"),
    [
        ({"huber": {"delta": -1.0}}, "loss.huber.delta", ["-1", "> 0"]),
        ({"huber": {"delta": 0}}, "loss.huber.delta", ["0", "> 0"]),
        ({"smooth_l1": {"beta": -0.5}}, "loss.smooth_l1.beta", ["-0.5", ">= 0"]),
        ({"quantile": {"q": 1}}, "loss.quantile.q", ["1", "< 1"]),
        ({"multi_quantile": {}}, "loss.multi_quantile.quantiles", []),
        ({"multi_quantile": {"quantiles": [0.5, 2]}}, "quantiles[1]", ["2"]),
        ({"poisson_nll": {"eps": 0}}, "loss.poisson_nll.eps", ["> 0"]),
        ({"charbonnier": {"eps": 0}}, "loss.charbonnier.eps", ["> 0"]),
        ({"asymmetric_mse": {"over_penalty": -1}}, "over_penalty", ["-1"]),
        ({"cross_entropy": {"label_smoothing": 1.5}}, "label_smoothing", ["1.5", "<= 1"]),
        ({"cross_entropy": {"weight": [1, -2]}}, "weight", ["-2"]),
        ({"focal": {"gamma": -1}}, "loss.focal.gamma", ["-1"]),
        ({"focal": {"alpha": [-1, 1]}}, "alpha.values[0]", ["-1"]),
        ({"focal_binary": {"alpha": 2}}, "loss.focal_binary.alpha", ["2", "<= 1"]),
        ({"asymmetric_multilabel": {"clip": 1}}, "clip", ["< 1"]),
        ({"generalized_ce": {"q": 0}}, "loss.generalized_ce.q", ["> 0"]),
        ({"expression": {}}, "loss.expression.formula", ["nothing"]),
        ({"expression": "abs(prd)"}, "loss.expression.formula", ["column 5", "pred"]),
        ({"expression": {"formula": "pred", "params": {"abs": 1}}}, "expression.params", ["abs"]),
        ({"symmetric_ce": {"A": 0}}, "loss.symmetric_ce.A", ["< 0"]),
        ({"gaussian_nll": {"eps": 0}}, "loss.gaussian_nll.eps", ["> 0"]),
        ({"tweedie": {"power": 1}}, "loss.tweedie.power", ["1", "> 1, < 2"]),
        ({"tweedie": {"power": 2}}, "loss.tweedie.power", ["2"]),
        ({"logit_adjusted": {"class_counts": [1, 0]}}, "class_counts[1]", ["0", "> 0"]),
        ({"logit_adjusted": {"tau": -1}}, "loss.logit_adjusted.tau", ["-1"]),
        ({"ldam": {"max_margin": -1}}, "loss.ldam.max_margin", ["-1"]),
        ({"ldam": {"scale": 0}}, "loss.ldam.scale", ["> 0"]),
        ({"distillation": {"temperature": 0}}, "loss.distillation.temperature", [">= 1e-06"]),
        ({"ctc": {"blank": -1}}, "loss.ctc.blank", ["-1"]),
        ({"cross_entropy": {"weight": {}}}, "loss.cross_entropy.weight", ["balanced"]),
        ({"sum": {"terms": []}}, "loss.sum.terms", []),
        ({"sum": {"terms": [{"loss": "mse", "weight": -1}]}}, "weight", ["-1"]),
        ({"sum": {"terms": [{"weight": 1}]}}, "loss.sum.terms[0].loss", []),
        ({"hubber": {}}, "loss", ["huber"]),
        ({"huber": {"dleta": 1}}, "loss.huber", ["delta"]),
        ({"mse": {"reduction": "average"}}, "loss.mse.reduction", ["mean"]),
        ({"mse": {}, "mae": {}}, "loss", []),
        ({}, "loss", []),
        (None, "loss", []),
        (Loss(), "loss", []),
        ("nothing", "loss", []),
    ],
    ids=str,
)
def test_a_loss_out_of_bounds_is_refused_as_on_submission(
    loss: Any, field: str, words: list[str]
) -> None:
    with pytest.raises(SpecError) as refusal:
        evaluate(loss, {"pred": torch.zeros(2), "target": torch.zeros(2)})
    assert field in str(refusal.value)
    for word in words:
        assert word in str(refusal.value)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("logit_adjusted", "class_counts must have one value per class .* but got none"),
        ("ldam", "class_counts must have one value per class .* but got none"),
        ({"cross_entropy": {"weight": "balanced"}}, "weight must be values .* got balanced"),
        ({"focal": {"alpha": "balanced"}}, "alpha must be values .* but got balanced"),
        (
            {"bce_with_logits": {"pos_weight": "effective_number"}},
            "pos_weight must be values .* but got effective_number",
        ),
    ],
    ids=str,
)
def test_what_only_a_training_split_can_tell_is_refused(loss: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(loss, {"pred": LOGITS, "target": INDICES})


def test_value_checks_work_on_what_is_there() -> None:
    """The training code has all targets but one batch of outputs."""
    module = build(from_dict("cross_entropy", Loss))
    module.check_values({"pred": torch.rand(2, 3), "target": torch.tensor([0, 1, 2, 2, 1])})
    with pytest.raises(ValueError, match="from 0 to 2 .*, but got 7"):
        module.check_values({"pred": torch.rand(2, 3), "target": torch.tensor([0, 1, 2, 7])})
    module = build(from_dict("bce", Loss))
    module.check_values({"target": torch.rand(5)})
    with pytest.raises(ValueError, match="target must be between 0 and 1, but got 3"):
        module.check_values({"target": torch.tensor([3.0])})
    module = build(from_dict("poisson_nll", Loss))
    with pytest.raises(ValueError, match="target must be at least 0, but got -3"):
        module.check_values({"target": torch.tensor([1, -3])})
    module = build(from_dict(BOTH, Loss))
    with pytest.raises(ValueError, match="from 0 to 2 .*, but got 7"):
        module.check_values({"pred": torch.rand(2, 3), "target": torch.tensor([0, 1, 2, 7])})
