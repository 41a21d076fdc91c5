"""Advice on masks, boxes and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from talweg.spec.advice._conditions import Facts, above, below, given, is_, other_than
from talweg.spec.advice._table import NEVER, Bar, Builder, Form, Note, Row, Table
from talweg.v1 import options_pb2

_RARE_BELOW = 0.1
_RARE = below("foreground", _RARE_BELOW) | given("small_objects")
_COSTS = other_than("miss_cost", 1)
_OUTLIERS = above("outliers", 0)


def _overlap(name: str, **parameters: float) -> Builder:
    """Give a loss of overlap for the masks, pooled over the batch where images may be empty."""

    def form(facts: Facts) -> Form:
        values: dict[str, Any] = {"mode": facts.get("masks", "multiclass"), **parameters}
        if "empty_images" in facts:
            values["batch"] = True
        return {name: values}

    return form


def _by_costs(name: str) -> Builder:
    """Give a tversky loss whose weights are the costs of false alarms and misses."""

    def form(facts: Facts) -> Form:
        cost = facts.get("miss_cost")
        weights = {} if cost is None else {"alpha": 1 / (1 + cost), "beta": cost / (1 + cost)}
        return _overlap(name, **{key: round(value, 6) for key, value in weights.items()})(facts)

    return form


def _ce_dice(facts: Facts) -> Form:
    if facts.get("masks") == "binary":
        return {"sum": {"terms": [{"loss": "bce_with_logits"}, {"loss": _overlap("dice")(facts)}]}}
    pooled: Mapping[str, Any] = {"batch": True} if "empty_images" in facts else {}
    return {"ce_dice": dict(pooled)}


def _by_masks(of_classes: str, of_foreground: str) -> Builder:
    """Give a loss of one class a pixel, or of yes or no."""
    return lambda facts: of_foreground if facts.get("masks") == "binary" else of_classes


def _target(facts: Facts) -> Mapping[str, Any]:
    return {"target": "foreground"} if facts.get("masks") == "binary" else {}


SEGMENTATION = Table(
    task=options_pb2.SEGMENTATION,
    losses={
        "ce_dice": _ce_dice,
        "dice": _overlap("dice"),
        "ce": _by_masks("cross_entropy", "bce_with_logits"),
        "lovasz_softmax": "lovasz_softmax",
        "lovasz_hinge": "lovasz_hinge",
        "jaccard": _overlap("jaccard"),
        "tversky": _by_costs("tversky"),
        "focal_tversky": _by_costs("focal_tversky"),
        "focal": _by_masks("focal", "focal_binary"),
    },
    rows=(
        Row("ce_dice", 60, "cross-entropy gives every pixel a stable gradient, and dice weights "
                           "each class by its overlap"),
        Row("dice", 30, "it measures overlap, per sample and class"),
        Row("ce", 30, "all pixels have equal weight"),
        Row("lovasz_softmax", 15, "it optimises IoU directly"),
        Row("lovasz_softmax", 0, "best after some training with cross_entropy"),
        Row("jaccard", 10, "as dice, by IoU"),
        Row("tversky", 10, "false negatives cost more than false positives, 7 to 3 by default"),
        Row("focal_tversky", 5, "as tversky, with more weight on classes that are still poorly "
                                "segmented"),
        Row("focal", 5, "it down-weights easy pixels"),
        # Rare foreground.
        Row("ce_dice", 20, "objects cover a small part of the images: dice per sample and class "
                           "cannot ignore them, while missing all of a rare foreground costs "
                           "only 0.01 in the common form that flattens batch and classes", _RARE),
        Row("dice", 40, "objects cover a small part of the images, and missing one costs the "
                        "whole loss of its sample and class", _RARE),
        Row("tversky", 45, "objects cover a small part of the images and are easily "
                           "missed", _RARE),
        Row("focal_tversky", 40, "objects that are still missed have more weight", _RARE),
        Row("ce", -25, "most of the pixels, and most of its gradient, are background", _RARE),
        # Empty images.
        Row("ce_dice", 20, "cross-entropy learns from images without "
                           "objects, and dice, computed over the batch "
                           "per class, is not all or nothing there", given("empty_images")),
        Row("ce", 15, "it learns from images without objects as much as "
                      "from others", given("empty_images")),
        Row("dice", -10, "it learns almost nothing from images without objects, even when "
                         "computed over the batch", given("empty_images")),
        # Costs, metric, probabilities.
        Row("tversky", 80, "a false negative costs {miss_cost} times a false positive, and its "
                           "weights express exactly that", _COSTS),
        Row("focal_tversky", 40, "its weights express the cost of a false negative", _COSTS),
        Row("lovasz_softmax", 50, "IoU is the metric", is_("metric", "iou")),
        Row("lovasz_hinge", 40, "IoU is the metric", is_("metric", "iou")),
        Row("jaccard", 45, "IoU is the metric", is_("metric", "iou")),
        Row("dice", 40, "Dice is the metric", is_("metric", "dice")),
        Row("ce_dice", 15, "Dice is the metric", is_("metric", "dice")),
        Row("ce", 70, "a proper scoring rule: minimal where each pixel's probabilities are the "
                      "true ones", given("calibrated")),
        Row("dice", -25, "overlap losses push probabilities to 0 and 1", given("calibrated")),
        Row("ce_dice", 0, "its dice term pushes probabilities to 0 and 1", given("calibrated")),
        Row("tversky", -25, "overlap losses push probabilities to 0 and 1",
            given("calibrated")),
        Row("focal", 40, "very many pixels are easy, and it down-weights "
                         "them", given("easy_samples")),
        # What the masks hold.
        Row("dice", 10, "it takes one binary channel", is_("masks", "binary")),
        Row("lovasz_hinge", 20, "it optimises IoU directly, on one binary channel",
            is_("masks", "binary")),
        Row("lovasz_hinge", NEVER, "", ~is_("masks", "binary")),
        Row("lovasz_softmax", NEVER, "", is_("masks", "binary", "multilabel")),
        Row("ce", NEVER, "", is_("masks", "multilabel")),
        Row("ce_dice", NEVER, "", is_("masks", "multilabel")),
        Row("focal", NEVER, "", is_("masks", "multilabel")),
        Row("dice", 20, "it takes one channel per label, each "
                        "independent", is_("masks", "multilabel")),
    ),
    notes=(
        Note("Evaluate with IoU or Dice per class, not pixel accuracy: most pixels are "
             "background.", _RARE),
    ),
    settings=_target,
    bars=(
        Bar("jobs have masks of one class per pixel, or of "
            "foreground", is_("masks", "multilabel")),
    ),
)  # fmt: skip
"""A class, or yes or no, a pixel."""


def _detector(class_loss: str, box_loss: str) -> Form:
    return {"detection": {"class_loss": {class_loss: {}}, "box_loss": {box_loss: {}}}}


DETECTION = Table(
    task=options_pb2.DETECTION,
    losses={
        "giou": _detector("focal", "giou"),
        "diou": _detector("focal", "diou"),
        "ciou": _detector("focal", "ciou"),
        "ce": _detector("cross_entropy", "giou"),
        "smooth_l1": _detector("focal", "smooth_l1"),
    },
    rows=(
        Row("giou", 60, "most locations are easy background, which focal down-weights; giou "
                        "follows IoU where boxes overlap, and has a gradient where they do not "
                        "yet"),
        Row("diou", 35, "as giou, with the distance of the centres, which converges faster"),
        Row("ciou", 30, "as diou, with aspect ratios"),
        Row("ce", 25, "classification by cross-entropy, for few or sampled locations"),
        Row("ce", -20, "easy background dominates the objects", given("easy_samples")),
        Row("smooth_l1", 10, "the older approach: each side of the box separately"),
        Row("smooth_l1", -10, "its value scales with the box, so small boxes hardly matter",
            given("small_objects")),
        Row("diou", 40, "small boxes easily miss their targets, and the distance of the centres "
                        "still has a gradient; identical boxes of any size give 0 here, whereas "
                        "the eps that is often added to IoU's denominator gives 0.5 at a side of "
                        "1e-3",
            given("small_objects")),
        Row("ciou", 50, "objects are long or flat, and it penalises the aspect ratio",
            given("elongated")),
    ),
    notes=(
        Note("Boxes are x1, y1, x2, y2 with x2 >= x1 and y2 >= y1: swapped corners are refused, "
             "since GIoU would be 0 for them."),
    ),
)  # fmt: skip
"""Objects with class and box."""


def _beside_mae(other: str, weight: float) -> Form:
    return {"sum": {"terms": [{"loss": "mae"}, {"loss": other, "weight": weight}]}}


IMAGE_TRANSLATION = Table(
    task=options_pb2.IMAGE_TRANSLATION,
    losses={
        "mae": "mae",
        "with_ssim": _beside_mae("ssim", 0.2),
        "charbonnier": "charbonnier",
        "mse": "mse",
        "with_variation": _beside_mae("total_variation", 0.01),
        "with_features": _beside_mae("perceptual", 0.1),
        "ssim": "ssim",
    },
    rows=(
        Row("mae", 50, "it blurs less than mse, since it learns medians instead of means"),
        Row("with_ssim", 45, "mae keeps colours and brightness, ssim adds structure"),
        Row("charbonnier", 40, "it is mae, smooth at zero"),
        Row("mse", 30, "it learns the mean of all plausible images"),
        Row("mse", 0, "that mean is blurred"),
        Row("ssim", 5, "structure only"),
        Row("ssim", 0, "it is nearly insensitive to colour; best combined with mae"),
        Row("mae", 20, "some target pixels are outliers, and all errors have the same gradient",
            _OUTLIERS),
        Row("charbonnier", 15, "some target pixels are outliers, and its gradient is bounded",
            _OUTLIERS),
        Row("mse", -40, "outlier pixels dominate it", _OUTLIERS),
        Row("charbonnier", 30, "its gradient is continuous at 0", given("smooth")),
        Row("mae", -10, "its gradient is discontinuous at 0", given("smooth")),
        Row("mse", 35, "PSNR is a function of the mean squared error", is_("metric", "psnr")),
        Row("with_ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("with_features", 70, "perceptual similarity shows in a network's features, and mae "
                                 "ties it to the pixels", given("look_alike")),
        Row("with_features", 0, "it needs a feature network: VGG16's weights, set by the "
                                "operator, for images of three channels, or a model trained by a "
                                "job",
            given("look_alike")),
        Row("with_ssim", 10, "structure matters most for perceptual "
                             "similarity", given("look_alike")),
        Row("with_variation", 60, "predicted images are noisy, and it penalises differences "
                                  "between neighbouring pixels", given("grainy")),
        Row("with_variation", 0, "tune its weight: too much flattens textures",
            given("grainy")),
    ),
    notes=(
        Note("ssim's data_range must be the range of the pixels: 1 for 0 to 1, 2 for -1 to 1."),
    ),
)  # fmt: skip
"""Images to images."""
