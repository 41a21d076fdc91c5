"""Rules and facts of jobs with several heads."""

from typing import Any

import pytest
from tests.proto.specs import base, checked

from talweg.spec import (
    arrays_of,
    fill,
    from_dict,
    goal_of,
    heads,
    metrics_of,
    num_outputs,
    primary_metric,
)
from talweg.spec.semantics.comparable import comparable_metrics, is_one_metric
from talweg.v1.losses_pb2 import MaskMode, Uncertainty
from talweg.v1.options_pb2 import GOAL_UNSPECIFIED, MAXIMIZE, MINIMIZE


def job(*of: Any, **changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "task": {"multitask": {"heads": list(of) or ["segmentation", "depth"]}},
        "dataset": "digit_scenes",
        "model": "multi_head",
        "loss": weighed("ce_dice", "mae"),
        **changes,
    }
    return base(**parts)


def weighed(*losses: Any, by: str = "uncertainty", **params: Any) -> dict[str, Any]:
    if by == "sum":
        return {"sum": {"terms": [{"loss": loss} for loss in losses]}}
    return {by: {"losses": list(losses), **params}}


NUMBERS: dict[str, Any] = job(
    {"number": {"column": 0}, "name": "first"}, {"number": {"column": 1}, "name": "second"},
    dataset={"synthetic_regression": {"num_targets": 2}},
    model={"multi_head": {"trunk": "mlp"}},
    loss=weighed("mse", "huber", by="gradnorm"),
)  # fmt: skip
FOREGROUND = {"segmentation": {"target": "foreground"}}


@pytest.mark.parametrize(
    "spec",
    [
        job(), NUMBERS, job(loss=weighed("focal", "mse", by="sum")),
        job(loss=weighed("focal", "mse", by="gradnorm")),
        job(FOREGROUND, loss=weighed({"sum": {"terms": [{"loss": "dice"}, {"loss": "bce"}]}})),
        job("depth", loss=weighed({"quantile": {"q": 0.9}})),
        job("segmentation", "depth", "detection", loss=weighed("ce_dice", "mae", "detection")),
        job({"detection": {"radius": 2}}, "depth", loss=weighed("detection", "mae", by="sum")),
    ],
)  # fmt: skip
def test_in_order(spec: dict[str, Any]) -> None:
    assert checked(spec)[0] == []


# spec, field, part of found, part of allowed
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no loss for a head": (
        job(loss=weighed("ce_dice")), "loss.uncertainty.losses", "1 losses", "2, one per head",
    ),
    "a loss too many": (
        job(loss=weighed("ce_dice", "mae", "mse", by="sum")), "loss.sum.terms", "3 losses", "2",
    ),
    "losses the other way round": (
        job("segmentation", loss=weighed("mae")), "loss.uncertainty.losses[0]",
        "mae under task segmentation", "cross_entropy",
    ),
    "a loss of other masks": (
        job(FOREGROUND, loss=weighed("ce_dice", by="gradnorm")), "loss.gradnorm.losses[0]",
        "ce_dice under task segmentation with target foreground", "lovasz_hinge",
    ),
    "within a sum of sums": (
        job("depth", loss=weighed({"sum": {"terms": [{"loss": "bce"}]}}, by="sum")),
        "loss.sum.terms[0].loss.sum.terms[0].loss", "bce under task regression", "mse",
    ),
    "two outputs for one number": (
        job("depth", loss=weighed("gaussian_nll")), "loss.uncertainty.losses[0]",
        "gaussian_nll for the head depth", "one output per target",
    ),
    "no loss of heads": (
        job(loss="mse"), "loss", "mse under task multitask", "uncertainty",
    ),
    "two heads of one name": (
        job("depth", "depth", loss=weighed("mae", "mae")), "task.multitask.heads",
        "2 heads named depth", "each name once",
    ),
    "a head of nothing": (
        job("depth", {"name": "x"}, loss=weighed("mae", "mae")), "task.multitask.heads[1]",
        "nothing", "one of segmentation",
    ),
    "pixels from vectors": (
        job(model={"multi_head": {"trunk": "mlp"}}), "model.multi_head.trunk",
        "mlp under the head segmentation", "unet",
    ),
    "a trunk of images for vectors": (
        {**NUMBERS, "model": "multi_head"}, "model.multi_head.trunk", "unet on synthetic", "mlp",
    ),
    "batch norm of one": (
        {**NUMBERS, "training": {"batch_size": 1},
         "model": {"multi_head": {"trunk": {"mlp": {"batch_norm": True}}}}},
        "model.multi_head.trunk.mlp.batch_norm", "a batch of 1 sample", "at least 2 samples",
    ),
    "boxes from vectors": (
        job("detection", model={"multi_head": {"trunk": "mlp"}}, loss=weighed("detection")),
        "model.multi_head.trunk", "mlp under the head detection", "unet",
    ),
    "boxes of numbers": (
        {**NUMBERS, "task": {"multitask": {"heads": ["detection"]}}, "loss": weighed("detection"),
         "model": "multi_head"},
        "task.multitask.heads[0]", "detection on synthetic_regression", "data supports",
    ),
    "a mean over boxes": (
        job("detection", loss=weighed({"detection": {"box_loss": {"mae": {"reduction": "sum"}}}})),
        "loss.uncertainty.losses[0].detection.box_loss.mae.reduction", "sum", "mean",
    ),
    "boxes without classes": (
        job("depth", "detection", loss=weighed("mae", "giou", by="gradnorm")),
        "loss.gradnorm.losses[1]", "giou in a job", "detection",
    ),
    "masks of numbers": (
        {**NUMBERS, "task": {"multitask": {"heads": ["segmentation", "number"]}},
         "loss": weighed("ce_dice", "mse"), "model": "multi_head"},
        "task.multitask.heads[0]", "segmentation on synthetic_regression", "data supports",
    ),
    "a number that is not there": (
        {**NUMBERS, "dataset": "diabetes"}, "task.multitask.heads[1].number.column", "1",
        "at most 0",
    ),
    "types of other heads": (
        job(loss=weighed("ce_dice", "mae", task_types=["regression"])),
        "loss.uncertainty.task_types", "1", "2, one per head",
    ),
    "a model of one head": (job(model="unet"), "model", "unet under task multitask", "multi_head"),
    "patches that leave pixels over": (
        job(model={"multi_head": {"trunk": {"unet": {"patch": 5}}}}),
        "model.multi_head.trunk.unet.patch", "5", "64 and 64",
    ),
    "a metric of no head": (
        job(training={"early_stopping": {"metric": "val/depth/iou"}}),
        "training.early_stopping.metric", "val/depth/iou", "val/depth/mae",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    spec, field, found, allowed = REFUSED[name]
    violations, _ = checked(spec)
    fields = [violation.field for violation in violations]
    assert field in fields
    violation = violations[fields.index(field)]
    assert found in violation.found
    assert allowed in violation.allowed


def test_what_follows_from_the_heads() -> None:
    filled = fill(from_dict(job(loss=weighed("dice", "mae"))))
    assert fill(filled) == filled
    first, second = heads(filled)
    assert (first.name, first.of_pixels, first.path) == (
        "segmentation", True, "loss.uncertainty.losses[0]",
    )  # fmt: skip
    assert second.loss is not None
    assert second.loss.HasField("mae")
    assert filled.loss.uncertainty.losses[0].dice.mode == MaskMode.multiclass
    assert list(filled.loss.uncertainty.task_types) == [
        Uncertainty.classification, Uncertainty.regression,
    ]  # fmt: skip
    assert not filled.preprocessing.standardise_targets
    assert fill(from_dict(NUMBERS)).preprocessing.standardise_targets
    assert arrays_of(filled) == ("x", "mask", "depth")
    assert arrays_of(from_dict(NUMBERS)) == ("x", "y")
    assert num_outputs(filled, 11) == 12
    assert num_outputs(from_dict(NUMBERS), 2) == 2
    three = fill(from_dict(job("detection", "depth", loss=weighed("detection", "mae"))))
    assert list(three.loss.uncertainty.task_types) == [
        Uncertainty.classification, Uncertainty.regression,
    ]  # fmt: skip
    assert arrays_of(three) == ("x", "boxes", "classes", "count", "depth")
    assert num_outputs(three, 11) == 16
    assert primary_metric(three) == "test/detection/map_50"


def test_metrics_stand_behind_their_heads_name() -> None:
    spec = from_dict(job())
    assert primary_metric(spec) == "test/segmentation/mean_iou"
    assert "depth/mae" in [metric.name for metric in metrics_of(spec)]
    assert goal_of(spec, "val/segmentation/iou_7") == MAXIMIZE
    assert goal_of(spec, "test/depth/loss") == MINIMIZE
    assert goal_of(spec, "weights/depth") == GOAL_UNSPECIFIED
    assert checked(job(training={"early_stopping": {"metric": "val/depth/mae"}}))[0] == []


BOXES: dict[str, Any] = {"detection": {}}


@pytest.mark.parametrize(
    ("first", "second", "metric", "is_one"),
    [
        ({"segmentation": {}}, BOXES, "val/y/mean_iou", False),
        ({"segmentation": {}}, FOREGROUND, "val/y/dice", False),
        ({"number": {}}, {"depth": {}}, "test/y/mae", False),
        ({"number": {}}, {"depth": {}}, "val/y/loss", False),
        ({"number": {"column": 0}}, {"number": {"column": 1}}, "val/y/mae", False),
        ({"segmentation": {}}, {"segmentation": {"threshold": 0.4}}, "val/y/mean_iou", True),
        # The heads beside it decide about the metrics of their own.
        ({"segmentation": {}}, BOXES, "val/depth/mae", True),
    ],
)
def test_heads_of_one_name_are_compared_by_what_they_are(
    first: dict[str, Any], second: dict[str, Any], metric: str, is_one: bool
) -> None:
    losses = {"segmentation": "ce_dice", "detection": "detection"}
    jobs = []
    for head in (first, second):
        loss = losses.get(next(iter(head)), "mse")
        given = job({**head, "name": "y"}, "depth", loss=weighed(loss, "mae"))
        jobs.append(fill(from_dict(given)))
    assert is_one_metric(metric, jobs) == is_one
    part = metric.partition("/")[0]
    assert (metric in comparable_metrics(part, jobs)) == is_one
