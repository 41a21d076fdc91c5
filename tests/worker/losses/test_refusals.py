"""What is refused, and the sentence that says so with value and bound."""

from typing import Any

import pytest
import torch
from tests.worker.losses import (
    named_batches,
    named_boxes,
    named_generative,
    named_lovasz,
    named_margins,
    named_pairs,
    named_perceptual,
    named_redundancy,
    named_regions,
    named_several,
)
from tests.worker.losses.cases import CLASSES, YES_OR_NO
from tests.worker.losses.test_degenerate import NUMBERS
from torch import Tensor

from talweg.spec import SpecError, from_dict
from talweg.v1.losses_pb2 import Loss
from talweg.worker.losses import build, evaluate

FAMILIES = (
    named_pairs,
    named_batches,
    named_margins,
    named_redundancy,
    named_regions,
    named_lovasz,
    named_boxes,
    named_generative,
    named_perceptual,
    named_several,
)
A, B = torch.rand(4, 1), torch.rand(4)
LOGITS, INDICES = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])
QUANTILES: dict[str, Any] = {"multi_quantile": {"quantiles": [0.1, 0.5, 0.9]}}
EXPRESSION: dict[str, Any] = {"expression": "abs(pred - target)"}
SUM: dict[str, Any] = {"sum": {"terms": [{"loss": "mse"}, {"loss": "mae"}]}}
BOTH: dict[str, Any] = {"sum": {"terms": [{"loss": "focal"}, {"loss": "cross_entropy"}]}}

COUNTED: dict[str, Any] = {"class_counts": [5, 3, 1]}
ADJUSTED, LDAM = {"logit_adjusted": COUNTED}, {"ldam": COUNTED}
RANKS = torch.tensor([0, 3, 2, 1])
SEQUENCES = {
    "pred": torch.rand(5, 4, 3),
    "targets": torch.tensor([[1, 2], [1, 1], [2, 0], [0, 0]]),
    "target_lengths": torch.tensor([2, 2, 1, 0]),
    "input_lengths": torch.tensor([5, 4, 3, 0]),
}

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        "gaussian_nll",
        {"pred": A, "target": B, "var": A},
        r"target must have the shape of pred, \(4, 1\), but got \(4,\)",
    ),
    (
        "gaussian_nll",
        {"pred": B, "target": B, "var": torch.ones(1)},
        r"var must have the shape of pred, \(4,\), but got \(1,\)",
    ),
    ("tweedie", {"pred": A, "target": B}, r"the shape of pred, \(4, 1\), but got \(4,\)"),
    *(
        (loss, {"pred": LOGITS, "target": INDICES[:, None]}, r", \(4,\), but got \(4, 1\)")
        for loss in (ADJUSTED, LDAM, "coral", "corn")
    ),
    *(
        (loss, {"pred": torch.rand(4, 2), "target": INDICES}, "class_counts must have .*, 2, but")
        for loss in (ADJUSTED, LDAM)
    ),
    (
        {"ldam": {**COUNTED, "weight": [1, 2]}},
        {"pred": LOGITS, "target": INDICES},
        "weight must have one value a class, 3, but got 2",
    ),
    *(
        (
            loss,
            {"pred": torch.rand(4, 3, 2), "target": torch.zeros(4, 2).long()},
            r"pred must have 2 dimensions \(N, .*\), but got shape \(4, 3, 2\)",
        )
        for loss in (LDAM, "coral", "corn")
    ),
    (
        "distillation",
        {"pred": LOGITS, "teacher_logits": torch.rand(4, 2)},
        r"teacher_logits must have the shape of pred, \(4, 3\), but got \(4, 2\)",
    ),
    ("distillation", {"pred": torch.rand(4, 3, 2), "teacher_logits": LOGITS}, r"\(4, 3, 2\)"),
    *(
        ("ctc", {**SEQUENCES, **change}, words)
        for change, words in (
            ({"pred": LOGITS}, r"3 dimensions \(T, N, C\), but got shape \(4, 3\)"),
            ({"targets": INDICES}, r"2 dimensions \(N, S\), but got shape \(4,\)"),
            (
                {"targets": torch.ones(3, 2).long()},
                r"a row a sequence, \(4, 2\), but got \(3, 2\)",
            ),
            ({"target_lengths": INDICES[:3]}, r"one length a sequence, \(4,\), but got \(3,\)"),
            ({"input_lengths": INDICES[:, None]}, r"one length a sequence, \(4,\), but got"),
        )
    ),
    (
        {"ctc": {"blank": 3}},
        SEQUENCES,
        "blank must be a class of pred, 0 to 2, but got 3",
    ),
    *(
        (
            loss,
            {"pred": A, "target": B},
            r"target must have the shape of pred, \(4, 1\), but got \(4,\)",
        )
        for loss in (*NUMBERS, *YES_OR_NO, EXPRESSION, SUM)
    ),
    *(
        (loss, {"pred": B, "target": A}, r"the shape of pred, \(4,\), but got \(4, 1\)")
        for loss in (*NUMBERS, *YES_OR_NO)
    ),
    *(
        (loss, {"pred": LOGITS, "target": INDICES[:, None]}, r", \(4,\), but got \(4, 1\)")
        for loss in (*CLASSES, BOTH)
    ),
    *(
        (
            loss,
            {"pred": LOGITS, "target": torch.eye(3, dtype=torch.int64)[INDICES]},
            r"class indices of shape \(4,\), but got shape \(4, 3\) of torch.int64, as one-hot",
        )
        for loss in CLASSES
    ),
    *(
        (loss, {"pred": B, "target": torch.tensor(1)}, r"2 dimensions .* got shape \(4,\)")
        for loss in CLASSES
    ),
    (
        "cross_entropy",
        {"pred": LOGITS, "target_prob": torch.rand(4, 2)},
        r"target_prob must have the shape of pred, \(4, 3\), but got \(4, 2\)",
    ),
    (
        "multi_margin",
        {"pred": torch.rand(4, 3, 2), "target": torch.zeros(4, 2).long()},
        r"pred must have 2 dimensions \(N, C\), but got shape \(4, 3, 2\)",
    ),
    (QUANTILES, {"pred": torch.rand(4, 2), "target": B}, r"one value a quantile, \(4, 3\), but"),
    (QUANTILES, {"pred": LOGITS, "target": A}, r"\(4, 1, 3\), but got \(4, 3\)"),
    (
        {"cross_entropy": {"weight": [1, 2]}},
        {"pred": LOGITS, "target": INDICES},
        "weight must have one value a class, 3, but got 2",
    ),
    (
        {"focal": {"alpha": [0.25]}},
        {"pred": LOGITS, "target": INDICES},
        "alpha must have one value a class, 3, but got 1",
    ),
    (
        {"bce_with_logits": {"pos_weight": [1, 2]}},
        {"pred": LOGITS, "target": LOGITS},
        "pos_weight must have one value an element of pred's last dimension, 3, but got 2",
    ),
    (
        {"bce_with_logits": {"weight": [2]}},
        {"pred": LOGITS, "target": LOGITS},
        "weight must have one value an element of pred's last dimension, 3, but got 1",
    ),
    *(row for family in FAMILIES for row in family.SHAPES),
]

DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        ("gaussian_nll", {"pred": B, "target": B, "var": B, name: B.long()}, f"{name} must be fl")
        for name in ("pred", "var")
    ),
    ("tweedie", {"pred": B.long(), "target": B}, "pred must be floating point, but got"),
    *(
        (loss, {"pred": LOGITS, "target": torch.rand(4)}, "target must hold integers, but got")
        for loss in (ADJUSTED, LDAM, "coral", "corn")
    ),
    *(
        (
            "distillation",
            {"pred": LOGITS, "teacher_logits": LOGITS, name: LOGITS.long()},
            f"{name} must be floating point",
        )
        for name in ("pred", "teacher_logits")
    ),
    *(
        ("ctc", {**SEQUENCES, name: SEQUENCES[name].float()}, f"{name} must hold integers")
        for name in ("targets", "target_lengths", "input_lengths")
    ),
    *(
        (
            loss,
            {"pred": LOGITS, "target": torch.rand(4)},
            "target must hold integers, but got",
        )
        for loss in CLASSES
    ),
    *(
        (loss, {"pred": LOGITS, "target": torch.ones(4).bool()}, "integers, but got torch.bool")
        for loss in CLASSES
    ),
    *(
        (loss, {"pred": LOGITS.long(), "target": INDICES}, "pred must be floating point, but got")
        for loss in CLASSES
    ),
    *(
        (loss, {"pred": B.long(), "target": B}, "pred must be floating point, but got torch.int64")
        for loss in (*NUMBERS, *YES_OR_NO, EXPRESSION)
    ),
    *(
        (loss, {"pred": B, "target": B.long()}, "target must be floating point, but got torch.int")
        for loss in YES_OR_NO
    ),
    ("mse", {"pred": B, "target": B + 1j}, "target must be floating point, but got torch.complex"),
    (
        "cross_entropy",
        {"pred": LOGITS, "target_prob": torch.eye(3, dtype=torch.int64)[INDICES]},
        "target_prob must be floating point, but got torch.int64: one-hot integers go as indices",
    ),
    (QUANTILES, {"pred": LOGITS.long(), "target": B}, "pred must be floating point"),
    *(row for family in FAMILIES for row in family.DTYPES),
]

NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    ("gaussian_nll", {"pred": B, "target": B}, "missing var"),
    ("distillation", {"pred": LOGITS, "target": LOGITS}, "missing teacher_logits; unknown target"),
    ("ctc", {"pred": SEQUENCES["pred"]}, "missing targets, target_lengths, input_lengths"),
    ("mse", {"pred": B}, "inputs must be pred, target, but found missing target"),
    ("mse", {"target": B}, "missing pred"),
    ("mse", {}, "missing pred, target"),
    ("mse", {"pred": B, "target": B, "weight": B}, "unknown weight"),
    ("mse", {"pred": B, "targets": B}, "missing target; unknown targets"),
    ("focal", {"pred": LOGITS, "target_prob": LOGITS}, "missing target; unknown target_prob"),
    ("cross_entropy", {"pred": LOGITS}, "either target or target_prob, but got neither"),
    (
        "cross_entropy",
        {"pred": LOGITS, "target": INDICES, "target_prob": LOGITS},
        "either target or target_prob, but got both",
    ),
    ("cross_entropy", {"pred": LOGITS, "labels": INDICES}, "unknown labels"),
    (QUANTILES, {"pred": LOGITS, "y": B}, "missing target; unknown y"),
    (SUM, {"pred": B, "y": B}, "missing target; unknown y"),
    *(row for family in FAMILIES for row in family.NAMES),
]

BELOW_ONE = torch.tensor([0.5, 1.25, 0.0, 1.0])
VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    *(
        (loss, {"pred": LOGITS, "target": torch.tensor([0, y, 1, 2])}, f"to 2, but got {y}")
        for loss in (ADJUSTED, LDAM)
        for y in (3, -1, -100)
    ),
    *(
        (loss, {"pred": LOGITS, "target": RANKS + 1}, "a rank from 0 to 3, but got 4")
        for loss in ("coral", "corn")
    ),
    *(
        (loss, {"pred": LOGITS, "target": RANKS - 1}, "a rank from 0 to 3, but got -1")
        for loss in ("coral", "corn")
    ),
    ("tweedie", {"pred": B + 1, "target": B - 2}, "target must be at least 0, but got -"),
    ("tweedie", {"pred": 0 * B, "target": B}, "pred must be above 0, but got 0"),
    *(
        ("ctc", {**SEQUENCES, **change}, words)
        for change, words in (
            ({"target_lengths": INDICES + 2}, "target_lengths must be between 0 and 2, but got 3"),
            ({"input_lengths": INDICES + 5}, "input_lengths must be between 0 and 5, but got 6"),
            ({"targets": SEQUENCES["targets"] + 1}, "targets must be a class .* to 2, but got 3"),
            ({"targets": SEQUENCES["targets"] - 1}, "targets must be .* the blank, but got 0"),
        )
    ),
    *(
        (loss, {"pred": LOGITS, "target": torch.tensor([0, 1, 3, 2])}, "from 0 to 2.*, but got 3")
        for loss in (*CLASSES, BOTH)
    ),
    *(
        (
            loss,
            {"pred": LOGITS, "target": torch.tensor([0, -1, 2, 2])},
            "from 0 to 2.* got -1",
        )
        for loss in CLASSES
    ),
    *(
        (loss, {"pred": LOGITS, "target": torch.tensor([0, -100, 2, 2])}, "2, but got -100")
        for loss in ("multi_margin", "poly1", "generalized_ce", "symmetric_ce")
    ),
    (
        {"cross_entropy": {"ignore_index": 255}},
        {"pred": LOGITS, "target": torch.tensor([0, -100, 255, 2])},
        "a class index from 0 to 2 or ignore_index 255, but got -100",
    ),
    *(
        (loss, {"pred": B, "target": BELOW_ONE}, "target must be between 0 and 1, but got 1.25")
        for loss in YES_OR_NO
    ),
    *(
        (loss, {"pred": B, "target": -BELOW_ONE}, "target must be between 0 and 1, but got -0.5")
        for loss in YES_OR_NO
    ),
    *(
        (loss, {"pred": B, "target": BELOW_ONE * torch.nan}, "and 1, but got nan")
        for loss in YES_OR_NO
    ),
    ("bce", {"pred": BELOW_ONE, "target": B}, "pred must be between 0 and 1, but got 1.25"),
    (
        "cross_entropy",
        {"pred": LOGITS, "target_prob": LOGITS + 1.5},
        "target_prob must be between 0 and 1, but got [12]",
    ),
    ("poisson_nll", {"pred": B, "target": B - 2}, "target must be at least 0, but got -"),
    (
        {"poisson_nll": {"log_input": False}},
        {"pred": B - 2, "target": B},
        "pred must be at least 0, but got -",
    ),
    *(row for family in FAMILIES for row in family.VALUES),
]


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
        ({"distillation": {"temperature": 0}}, "loss.distillation.temperature", ["> 0"]),
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
        ("logit_adjusted", "class_counts must have one value a class .* but got none"),
        ("ldam", "class_counts must have one value a class .* but got none"),
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
