"""Rules and facts of detection."""

from typing import Any

import pytest
from tests.proto.specs import base, checked

from talweg.spec import arrays_of, fill, from_dict, goal_of, num_outputs, primary_metric, recommend
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import MAXIMIZE
from talweg.v1.spec_pb2 import JobSpec


def objects(loss: Any = "detection", **changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "task": "detection",
        "dataset": "digit_scenes",
        "model": "detector",
        "loss": loss,
        **changes,
    }
    return base(**parts)


def classes(loss: Any) -> dict[str, Any]:
    return {"detection": {"class_loss": loss}}


def test_in_order() -> None:
    assert checked(objects()) == ([], [])
    assert checked(objects(classes({"cross_entropy": {"weight": [0.1] * 11}})))[0] == []
    assert checked(objects(classes({"focal": {"alpha": "balanced"}})))[0] == []
    assert checked(objects(model={"detector": {"stride": 8, "channels": [8, 16]}}))[0] == []


@pytest.mark.parametrize(
    "facts", [{}, {"small_objects": True}, {"elongated": True}, {"easy_samples": True}], ids=str
)
def test_every_recommended_loss_is_accepted(facts: dict[str, Any]) -> None:
    from talweg.v1.recommendations_pb2 import ProblemFacts

    found = recommend("detection", from_dict(facts, ProblemFacts))
    assert len(found.recommendations) >= 3
    for each in found.recommendations:
        assert not each.only_evaluated
        spec = JobSpec()
        spec.CopyFrom(from_dict(objects()))
        spec.loss.CopyFrom(each.loss)
        assert checked_spec(spec) == []


def checked_spec(spec: JobSpec) -> list[Any]:
    from talweg.spec import check

    return check(fill(spec))[0]


# spec, field, part of found, part of allowed or hint
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "another loss": (objects("cross_entropy"), "loss", "under task detection", "detection"),
    "boxes without classes": (
        objects("giou"), "loss", "giou in a job", "write loss: {detection: {box_loss: giou}}",
    ),
    "another model": (objects(model="unet"), "model", "unet under task detection", "detector"),
    "a detector of something else": (
        objects(task="segmentation", loss="dice"), "model", "detector under task segm", "unet",
    ),
    "data without boxes": (
        objects(dataset="digits"), "dataset", "digits, whose targets", "digit_scenes",
    ),
    "parts that weigh nothing": (
        objects({"detection": {"class_weight": 0, "box_weight": 0}}), "loss.detection",
        "of 0", "at least one",
    ),
    "sums": (
        objects({"detection": {"box_loss": {"giou": {"reduction": "sum"}}}}),
        "loss.detection.box_loss.giou.reduction", "sum", "leave it out",
    ),
    "none": (
        objects(classes({"focal": {"reduction": "none"}})),
        "loss.detection.class_loss.focal.reduction", "none", "mean",
    ),
    "weights of the digits alone": (
        objects(classes({"cross_entropy": {"weight": [1] * 10}})),
        "loss.detection.class_loss.cross_entropy.weight", "10 weights", "with the background",
    ),
    "weights of nothing": (
        objects(classes({"focal": {"alpha": [0] * 11}})),
        "loss.detection.class_loss.focal.alpha", "no weight above 0", "at least one",
    ),
    "no background": (
        objects(classes({"focal": {"ignore_index": 0}})),
        "loss.detection.class_loss.focal.ignore_index", "0", "background",
    ),
    "locations that leave pixels over": (
        objects(model={"detector": {"stride": 5}}), "model.detector.stride", "5", "64 and 64",
    ),
    "a bound": (
        objects(task={"detection": {"most_boxes": 500}}), "task.detection.most_boxes", "500",
        "200",
    ),
    "a metric of another task": (
        objects(training={"early_stopping": {"metric": "val/map"}}),
        "training.early_stopping.metric", "val/map", "val/map_50",
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
    assert allowed in violation.allowed + violation.hint


def test_in_a_sum_each_loss_is_checked() -> None:
    inner = {"detection": {"box_loss": {"mae": {"reduction": "sum"}}}}
    violations, _ = checked(objects({"sum": {"terms": [{"loss": inner}]}}))
    assert [violation.field for violation in violations] == [
        "loss.sum.terms[0].loss.detection.box_loss.mae.reduction"
    ]


def test_what_follows_from_the_task() -> None:
    spec = from_dict(objects())
    filled = fill(spec)
    assert fill(filled) == filled
    loss: Loss = filled.loss
    assert loss.detection.class_loss.HasField("focal")
    assert loss.detection.box_loss.HasField("giou")
    assert not filled.preprocessing.standardise_targets
    assert num_outputs(filled, 11) == 15
    assert arrays_of(filled) == ("x", "boxes", "classes", "count")
    assert primary_metric(filled) == "test/map_50"
    assert goal_of(filled, "val/mean_iou") == MAXIMIZE
