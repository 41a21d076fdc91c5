"""Advice on segmentation, object detection and image translation."""

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
    """Return an overlap loss, pooled over the batch where images may be empty."""

    def form(facts: Facts) -> Form:
        values: dict[str, Any] = {"mode": facts.get("masks", "multiclass"), **parameters}
        if "empty_images" in facts:
            values["batch"] = True
        return {name: values}

    return form


def _by_costs(name: str) -> Builder:
    """Return a Tversky loss weighted by the costs of false positives and misses."""

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
    """Return a loss for one class per pixel, or for binary masks."""
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
        Row("ce_dice", 60, "cross-entropy gives every pixel a steady gradient, dice measures the "
            "overlap of each class"),
        Row("dice", 30, "it measures the overlap of each sample and class separately"),
        Row("ce", 30, "every pixel has the same weight"),
        Row("lovasz_softmax", 15, "it optimises IoU directly"),
        Row("lovasz_softmax", 0, "it works best after some training with cross_entropy"),
        Row("jaccard", 10, "like dice, for IoU"),
        Row("tversky", 10, "misses cost more than false positives, 7 to 3 by default"),
        Row("focal_tversky", 5, "like tversky, with more weight for classes that are still poor"),
        Row("focal", 5, "it down-weights easy pixels"),
        # Rare foreground.
        Row("ce_dice", 20, "objects cover little of the images: dice per sample and class cannot "
            "ignore them, while with dice flattened over batch and classes, as often taught, "
            "missing all of a rare foreground costs 0.01", _RARE),
        Row("dice", 40, "objects cover little of the images, and a missed object costs the full "
            "loss of its sample and class", _RARE),
        Row("tversky", 45, "objects cover little of the images and are easily missed", _RARE),
        Row("focal_tversky", 40, "it gives objects that are still missed more weight", _RARE),
        Row("ce", -25, "background pixels dominate its gradient", _RARE),
        # Empty images.
        Row("ce_dice", 20, "cross-entropy learns from images without objects, and dice, pooled "
            "over the batch per class, is not all or nothing there", given("empty_images")),
        Row("ce", 15, "it learns from images without objects as from any other",
            given("empty_images")),
        Row("dice", -10, "it learns almost nothing from images without objects, even pooled over "
            "the batch", given("empty_images")),
        # Costs, metric, probabilities.
        Row("tversky", 80, "a miss costs {miss_cost} times a false positive, as its weights say",
            _COSTS),
        Row("focal_tversky", 40, "its weights express the cost of a miss", _COSTS),
        Row("lovasz_softmax", 50, "IoU is the metric", is_("metric", "iou")),
        Row("lovasz_hinge", 40, "IoU is the metric", is_("metric", "iou")),
        Row("jaccard", 45, "IoU is the metric", is_("metric", "iou")),
        Row("dice", 40, "Dice is the metric", is_("metric", "dice")),
        Row("ce_dice", 15, "Dice is the metric", is_("metric", "dice")),
        Row("ce", 70, "a proper scoring rule: it is minimal where the probabilities of each pixel "
            "are the true ones", given("calibrated")),
        Row("dice", -25, "overlap losses push probabilities to 0 and 1", given("calibrated")),
        Row("ce_dice", 0, "its dice term pushes probabilities to 0 and 1", given("calibrated")),
        Row("tversky", -25, "overlap losses push probabilities to 0 and 1",
            given("calibrated")),
        Row("focal", 40, "very many pixels are easy, and it down-weights them",
            given("easy_samples")),
        # Kinds of masks.
        Row("dice", 10, "it takes a single channel for binary masks", is_("masks", "binary")),
        Row("lovasz_hinge", 20, "it optimises IoU directly, on a single channel for binary masks",
            is_("masks", "binary")),
        Row("lovasz_hinge", NEVER, "", ~is_("masks", "binary")),
        Row("lovasz_softmax", NEVER, "", is_("masks", "binary", "multilabel")),
        Row("ce", NEVER, "", is_("masks", "multilabel")),
        Row("ce_dice", NEVER, "", is_("masks", "multilabel")),
        Row("focal", NEVER, "", is_("masks", "multilabel")),
        Row("dice", 20, "it takes one channel per label", is_("masks", "multilabel")),
    ),
    notes=(
        Note("Use IoU or Dice of each class, not pixel accuracy: most pixels are "
             "background.", _RARE),
    ),
    settings=_target,
    bars=(
        Bar("masks in jobs are multiclass (one class per pixel) or binary (foreground)",
            is_("masks", "multilabel")),
    ),
)  # fmt: skip
"""Segmentation."""


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
            "follows IoU where boxes overlap, and has a gradient where they do not yet"),
        Row("diou", 35, "like giou, with the distance between the centres, which converges "
            "faster"),
        Row("ciou", 30, "like diou, with aspect ratios"),
        Row("ce", 25, "cross-entropy for the classes, for few or sampled locations"),
        Row("ce", -20, "easy background dominates the objects", given("easy_samples")),
        Row("smooth_l1", 10, "the older approach: each side of the box separately"),
        Row("smooth_l1", -10, "its value shrinks with the box, so small boxes hardly count",
            given("small_objects")),
        Row("diou", 40, "a small box easily misses its target, and the distance of the centres "
            "still has a gradient; identical boxes of any size have a loss of 0 here, while the "
            "epsilon often added to the denominator of IoU makes it 0.5 at sides of 1e-3",
            given("small_objects")),
        Row("ciou", 50, "objects are elongated, and it corrects their aspect ratios",
            given("elongated")),
    ),
    notes=(
        Note("Boxes are x1, y1, x2, y2 with x2 >= x1 and y2 >= y1. Swapped corners are refused, "
             "since their GIoU loss would be 0."),
    ),
)  # fmt: skip
"""Object detection."""


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
        Row("mae", 50, "it blurs less than mse, since it predicts medians, not means"),
        Row("with_ssim", 45, "mae keeps colours and brightness, ssim adds structure"),
        Row("charbonnier", 40, "it is mae smoothed around 0"),
        Row("mse", 30, "it predicts the mean of all possible images"),
        Row("mse", 0, "that mean is blurred"),
        Row("ssim", 5, "it measures structure only"),
        Row("ssim", 0, "it hardly measures colour; combine it with mae"),
        Row("mae", 20, "some target pixels are outliers, and all errors have the same gradient",
            _OUTLIERS),
        Row("charbonnier", 15, "some target pixels are outliers, and its gradient is bounded",
            _OUTLIERS),
        Row("mse", -40, "outliers among the pixels dominate it", _OUTLIERS),
        Row("charbonnier", 30, "its gradient does not jump at 0", given("smooth")),
        Row("mae", -10, "its gradient jumps at 0", given("smooth")),
        Row("mse", 35, "PSNR is a function of the mean squared error", is_("metric", "psnr")),
        Row("with_ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("with_features", 70, "the features of a network measure how images look, and mae "
            "fixes the pixels", given("look_alike")),
        Row("with_features", 0, "it needs a network: a model that a job has trained, or, for "
            "images with three channels, VGG16 with weights from the operator",
            given("look_alike")),
        Row("with_ssim", 10, "structure matters most for how images look", given("look_alike")),
        Row("with_variation", 60, "outputs are noisy, and it penalises differences between "
            "neighbouring pixels", given("grainy")),
        Row("with_variation", 0, "tune its weight: too much flattens textures",
            given("grainy")),
    ),
    notes=(
        Note("The data_range of ssim must be the range of the pixels: 1 for [0, 1], 2 for [-1, "
             "1]."),
    ),
)  # fmt: skip
"""Image translation."""
