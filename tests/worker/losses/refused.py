"""What losses refuse: a loss, its inputs, and what the message says."""

from typing import Any

import torch
from tests.worker.losses import (
    named_batches,
    named_boxes,
    named_classes,
    named_generative,
    named_lovasz,
    named_margins,
    named_multitask,
    named_pairs,
    named_perceptual,
    named_redundancy,
    named_regions,
    named_regression,
)
from tests.worker.losses.cases import CLASSES, YES_OR_NO
from tests.worker.losses.test_degenerate import NUMBERS
from torch import Tensor

FAMILIES: tuple[Any, ...] = (
    named_regression,
    named_classes,
    named_pairs,
    named_batches,
    named_margins,
    named_redundancy,
    named_regions,
    named_lovasz,
    named_boxes,
    named_generative,
    named_perceptual,
    named_multitask,
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
        "weight must have one value per class, 3, but got 2",
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
                r"one row per sequence, \(4, 2\), but got \(3, 2\)",
            ),
            ({"target_lengths": INDICES[:3]}, r"one length per sequence, \(4,\), but got \(3,\)"),
            ({"input_lengths": INDICES[:, None]}, r"one length per sequence, \(4,\), but got"),
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
    (QUANTILES, {"pred": torch.rand(4, 2), "target": B}, r"one value per quantile, \(4, 3\), but"),
    (QUANTILES, {"pred": LOGITS, "target": A}, r"\(4, 1, 3\), but got \(4, 3\)"),
    (
        {"cross_entropy": {"weight": [1, 2]}},
        {"pred": LOGITS, "target": INDICES},
        "weight must have one value per class, 3, but got 2",
    ),
    (
        {"focal": {"alpha": [0.25]}},
        {"pred": LOGITS, "target": INDICES},
        "alpha must have one value per class, 3, but got 1",
    ),
    (
        {"bce_with_logits": {"pos_weight": [1, 2]}},
        {"pred": LOGITS, "target": LOGITS},
        "pos_weight must have one value per element of pred's last dimension, 3, but got 2",
    ),
    (
        {"bce_with_logits": {"weight": [2]}},
        {"pred": LOGITS, "target": LOGITS},
        "weight must have one value per element of pred's last dimension, 3, but got 1",
    ),
    *(row for family in FAMILIES for row in getattr(family, "SHAPES", ())),
]
DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
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
    *(row for family in FAMILIES for row in getattr(family, "DTYPES", ())),
]
NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
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
    *(row for family in FAMILIES for row in getattr(family, "NAMES", ())),
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
    *(row for family in FAMILIES for row in getattr(family, "VALUES", ())),
]
