"""Rules and facts of tasks over images."""

from typing import Any

import pytest
from tests.proto.specs import base, checked

from talweg.spec import (
    arrays_of,
    fill,
    from_dict,
    goal_of,
    job_models,
    label,
    num_outputs,
    primary_metric,
)
from talweg.v1.losses_pb2 import MaskMode
from talweg.v1.options_pb2 import GOAL_UNSPECIFIED, MAXIMIZE


def masks(**changes: Any) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "task": "segmentation",
        "dataset": "digit_scenes",
        "model": "unet",
        "loss": "ce_dice",
        **changes,
    }
    return base(**parts)


def translation(loss: Any, **changes: Any) -> dict[str, Any]:
    return masks(task="image_translation", loss=loss, **changes)


def features(*layers: str, **more: Any) -> dict[str, Any]:
    return {"perceptual": {"network": {"job": "jobs/a"}, "layers": list(layers), **more}}


FOREGROUND = {"segmentation": {"target": "foreground"}}
OF_EITHER = ("dice", "jaccard", "tversky", "focal_tversky")


@pytest.mark.parametrize(
    "loss", ["ce_dice", "cross_entropy", "focal", "lovasz_softmax", *OF_EITHER]
)
def test_losses_of_classes(loss: str) -> None:
    assert checked(masks(loss=loss))[0] == []
    if loss not in OF_EITHER:
        violations, _ = checked(masks(loss=loss, task=FOREGROUND))
        assert [v.field for v in violations] == ["loss"]
        assert "target: classes" in violations[0].hint
        assert "lovasz_hinge" in violations[0].allowed


@pytest.mark.parametrize(
    "loss", ["bce_with_logits", "bce", "focal_binary", "lovasz_hinge", *OF_EITHER]
)
def test_losses_of_foreground(loss: str) -> None:
    assert checked(masks(loss=loss, task=FOREGROUND))[0] == []
    if loss not in OF_EITHER:
        violations, _ = checked(masks(loss={"sum": {"terms": [{"loss": loss}]}}))
        assert [v.field for v in violations] == ["loss.sum.terms[0].loss"]
        assert "target: foreground" in violations[0].hint


@pytest.mark.parametrize("loss", OF_EITHER)
def test_the_mode_follows_the_masks(loss: str) -> None:
    def mode(**changes: Any) -> int:
        filled = fill(from_dict(masks(**changes)))
        assert fill(filled) == filled
        return int(getattr(filled.loss, loss).mode)

    assert mode(loss=loss) == MaskMode.multiclass
    assert mode(loss=loss, task=FOREGROUND) == MaskMode.binary
    assert mode(loss={loss: {"mode": "multilabel"}}) == MaskMode.multilabel
    violations, _ = checked(masks(loss={loss: {"mode": "binary", "from_logits": False}}))
    assert [v.field for v in violations] == [f"loss.{loss}.mode", f"loss.{loss}.from_logits"]
    assert violations[0].allowed == "multiclass"


# spec, field, part of found, part of allowed
REFUSED: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a model of one answer": (masks(model="convnet"), "model", "convnet under task", "unet"),
    "a model of pixels for one answer": (
        base(task="multiclass", dataset="digits", model="unet", loss="cross_entropy"),
        "model", "unet under task multiclass", "one of linear",
    ),
    "no masks": (masks(dataset="digits"), "dataset", "digits, whose targets", "digit_scenes"),
    "patches that leave pixels over": (
        masks(model={"unet": {"patch": 3}}), "model.unet.patch", "3", "64 and 64",
    ),
    "fewer digits than there must be": (
        masks(dataset={"digit_scenes": {"min_digits": 6}}), "dataset.digit_scenes.min_digits",
        "6", "max_digits (5)",
    ),
    "digits larger than the largest": (
        masks(dataset={"digit_scenes": {"min_scale": 3}}), "dataset.digit_scenes.min_scale",
        "3", "max_scale (2)",
    ),
    "weights of ten classes": (
        masks(loss={"cross_entropy": {"weight": [1] * 10}}), "loss.cross_entropy.weight",
        "10 weights", "11 weights, one per class of digit_scenes",
    ),
    "weights of two answers": (
        masks(loss={"bce_with_logits": {"pos_weight": [1, 2]}}, task=FOREGROUND),
        "loss.bce_with_logits.pos_weight", "2 weights", "task segmentation",
    ),
    "too many scenes at once": (
        masks(dataset={"digit_scenes": {"num_samples": 30000}}),
        "dataset.digit_scenes.num_samples", "30000", "20000",
    ),
    "a loss that knows no target": (
        translation({"sum": {"terms": [{"loss": "total_variation"}]}}), "loss",
        "total_variation alone", "such as mae",
    ),
    "a window larger than the images": (
        translation({"ssim": {"window_size": 65}}), "loss.ssim.window_size", "65", "64",
    ),
    "images from data without": (
        translation("mae", dataset="digits"), "dataset", "digits, whose targets", "digit_scenes",
    ),
    "one answer for an image": (
        translation("mae", model="convnet"), "model", "convnet under task", "unet",
    ),
    "a network of three channels": (
        translation("perceptual"), "loss.perceptual.network", "images of 1 channel", "3 channels",
    ),
    "no layers": (
        translation(features()), "loss.perceptual.layers", "nothing", "the names of the layers",
    ),
    "a layer twice, in a sum": (
        translation(
            {"sum": {"terms": [{"loss": "mae"}, {"loss": features("relu1", "mean", "relu1")}]}}
        ),
        "loss.sum.terms[1].loss.perceptual.layers[2]", "relu1 twice", "once",
    ),
    "as many weights as layers": (
        translation(features("relu1", layer_weights=[1, 2])), "loss.perceptual.layer_weights",
        "2 weights", "1, one per layer",
    ),
    "no layer that counts": (
        translation(features("relu1", layer_weights=[0])), "loss.perceptual.layer_weights",
        "no weight above 0", "> 0",
    ),
    "a weight that cannot be learned": (
        translation(features("relu1", "relu2", layer_weights=[1, 0], learned=True)),
        "loss.perceptual.layer_weights[1]", "0", "2.1e-9",
    ),
    "a job without a name": (
        translation({"perceptual": {"network": {"job": {}}, "layers": ["relu1"]}}),
        "loss.perceptual.network.job.job", "nothing", "jobs/ID",
    ),
    "a path for a job": (
        translation({"perceptual": {"network": {"job": "jobs/../x"}, "layers": ["relu1"]}}),
        "loss.perceptual.network.job.job", "jobs/../x", "jobs/ID",
    ),
    "a path for a digest": (
        translation(
            {"perceptual": {"network": {"job": {"job": "jobs/a", "sha256": "../x"}},
                            "layers": ["relu1"]}}
        ),
        "loss.perceptual.network.job.sha256", "../x", "64 hexadecimal digits",
    ),
    "a metric of no task": (
        masks(training={"early_stopping": {"metric": "val/ious_3"}}),
        "training.early_stopping.metric", "val/ious_3", "val/mean_iou",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    spec, field, found, allowed = REFUSED[name]
    violations, _ = checked(spec)
    assert [violation.field for violation in violations] == [field]
    assert found in violations[0].found
    assert allowed in violations[0].allowed


def test_metrics_by_class_have_a_goal_and_can_be_watched() -> None:
    spec = from_dict(masks())
    assert primary_metric(spec) == "test/mean_iou"
    assert goal_of(spec, "test/iou_7") == MAXIMIZE
    assert goal_of(spec, "val/iou_background") == MAXIMIZE
    assert goal_of(spec, "val/iou") == GOAL_UNSPECIFIED
    assert checked(masks(training={"early_stopping": {"metric": "val/iou_7"}}))[0] == []


def test_outputs_and_arrays() -> None:
    assert num_outputs(from_dict(masks()), 11) == 11
    assert num_outputs(from_dict(masks(task=FOREGROUND)), 11) == 1
    images = from_dict(translation("mae"))
    assert num_outputs(images, 3) == 3
    assert arrays_of(images) == ("x", "image")
    assert primary_metric(images) == "test/psnr"
    assert goal_of(images, "val/ssim") == MAXIMIZE
    assert arrays_of(from_dict(masks())) == ("x", "mask")


def test_layers_of_vgg16_are_known() -> None:
    # No data set has three channels, so that this is said beside.
    def fields_of(*layers: str) -> list[str]:
        violations, _ = checked(translation({"perceptual": {"layers": list(layers)}}))
        return [violation.field for violation in violations]

    assert fields_of("relu1_1", "relu5_3") == ["loss.perceptual.network"]
    assert fields_of("relu1_3") == ["loss.perceptual.layers[0]", "loss.perceptual.network"]


def test_models_of_other_jobs_are_found_wherever_they_stand() -> None:
    terms = [{"loss": "mae"}, {"loss": features("relu1")}, {"loss": "perceptual"}]
    spec = from_dict(translation({"sum": {"terms": terms}}))
    ((path, model),) = job_models(spec)
    assert path == "loss.sum.terms[1].loss.perceptual.network.job"
    assert model.job == "jobs/a"
    assert list(job_models(from_dict(translation("mae")))) == []


def test_a_jobs_model_is_named_by_the_job() -> None:
    loss = from_dict(translation(features("relu1"))).loss
    loss.perceptual.network.job.sha256 = "ab" * 32
    assert label(loss) == "perceptual job job=jobs/a layers=[relu1]"
