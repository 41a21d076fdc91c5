"""Advice on masks, boxes and images."""

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
        Row("ce_dice", 60, "cross-entropy gives every pixel a steady gradient, dice counts each "
            "class by its overlap"),
        Row("dice", 30, "it goes by overlap, each sample and class by itself"),
        Row("ce", 30, "every pixel counts alike"),
        Row("lovasz_softmax", 15, "it follows IoU itself"),
        Row("lovasz_softmax", 0, "best after some training with cross_entropy"),
        Row("jaccard", 10, "as dice, by IoU"),
        Row("tversky", 10, "misses cost it more than false alarms, 7 to 3 by default"),
        Row("focal_tversky", 5, "as tversky, with classes that are still poor counting more"),
        Row("focal", 5, "it lets easy pixels count for less"),
        # Rare foreground.
        Row("ce_dice", 20, "objects cover little of the images: dice by sample and class cannot "
            "pass over them, while flattened over batch and classes, as often taught, missing "
            "all of a rare foreground costs 0.01", _RARE),
        Row("dice", 40, "objects cover little of the images, and missing one costs the whole of "
            "its sample and class", _RARE),
        Row("tversky", 45, "objects cover little of the images and are missed easily", _RARE),
        Row("focal_tversky", 40, "objects that are still missed count more than others", _RARE),
        Row("ce", -25, "the background is most of the pixels and most of its gradient", _RARE),
        # Empty images.
        Row("ce_dice", 20, "cross-entropy teaches from images without objects, and dice, pooled "
            "over the batch class by class, is not all or nothing there", given("empty_images")),
        Row("ce", 15, "images without objects teach it as much as others", given("empty_images")),
        Row("dice", -10, "of an image without objects it learns next to nothing, even pooled "
            "over the batch", given("empty_images")),
        # Costs, metric, probabilities.
        Row("tversky", 80, "a miss costs {miss_cost} times a false alarm, and its weights say "
            "just that", _COSTS),
        Row("focal_tversky", 40, "its weights say what a miss costs", _COSTS),
        Row("lovasz_softmax", 50, "IoU is the metric", is_("metric", "iou")),
        Row("lovasz_hinge", 40, "IoU is the metric", is_("metric", "iou")),
        Row("jaccard", 45, "IoU is the metric", is_("metric", "iou")),
        Row("dice", 40, "Dice is the metric", is_("metric", "dice")),
        Row("ce_dice", 15, "Dice is the metric", is_("metric", "dice")),
        Row("ce", 70, "a proper scoring rule: it is least where each pixel's probabilities are "
            "the true ones", given("calibrated")),
        Row("dice", -25, "losses of overlap push probabilities to 0 and 1", given("calibrated")),
        Row("ce_dice", 0, "its dice part pushes probabilities to 0 and 1", given("calibrated")),
        Row("tversky", -25, "losses of overlap push probabilities to 0 and 1",
            given("calibrated")),
        Row("focal", 40, "very many pixels are easy, and it damps them", given("easy_samples")),
        # What the masks hold.
        Row("dice", 10, "it takes one channel of yes or no", is_("masks", "binary")),
        Row("lovasz_hinge", 20, "it follows IoU itself, on one channel of yes or no",
            is_("masks", "binary")),
        Row("lovasz_hinge", NEVER, "", ~is_("masks", "binary")),
        Row("lovasz_softmax", NEVER, "", is_("masks", "binary", "multilabel")),
        Row("ce", NEVER, "", is_("masks", "multilabel")),
        Row("ce_dice", NEVER, "", is_("masks", "multilabel")),
        Row("focal", NEVER, "", is_("masks", "multilabel")),
        Row("dice", 20, "it takes a channel a label, each by itself", is_("masks", "multilabel")),
    ),
    notes=(
        Note("Judge by IoU or Dice of each class, not by the share of right pixels, most of "
             "which are background.", _RARE),
    ),
    settings=_target,
    bars=(
        Bar("jobs have masks of one class a pixel, or of foreground", is_("masks", "multilabel")),
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
        Row("giou", 60, "most positions are easy background, which focal damps; giou follows IoU "
            "where boxes overlap, and pulls where they do not yet"),
        Row("diou", 35, "as with giou, by the distance of the centres, which converges faster"),
        Row("ciou", 30, "as with diou, and proportions count"),
        Row("ce", 25, "cross-entropy of the classes, where positions are few or sampled"),
        Row("ce", -20, "easy background drowns the objects", given("easy_samples")),
        Row("smooth_l1", 10, "the older way: each side of the box by itself"),
        Row("smooth_l1", -10, "its value shrinks with the box, so that small ones hardly count",
            given("small_objects")),
        Row("diou", 40, "a small box misses its target easily, and the distance of the centres "
            "still pulls; identical boxes of any size give 0 here, while the eps that is often "
            "put into IoU's denominator makes 0.5 of them at a side of 1e-3",
            given("small_objects")),
        Row("ciou", 50, "objects are long or flat, and it pulls at the proportions",
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
        Row("mae", 50, "it blurs less than mse, since it learns medians and not means"),
        Row("with_ssim", 45, "its mae keeps colours and brightness, its ssim adds structure"),
        Row("charbonnier", 40, "it is mae with a rounded tip"),
        Row("mse", 30, "it learns the mean of what is possible"),
        Row("mse", 0, "that mean is blurred"),
        Row("ssim", 5, "structure alone"),
        Row("ssim", 0, "it hardly sees colour; best with mae beside it"),
        Row("mae", 20, "some target pixels are far off, and no error pulls harder than another",
            _OUTLIERS),
        Row("charbonnier", 15, "some target pixels are far off, and its pull is bounded",
            _OUTLIERS),
        Row("mse", -40, "pixels that are far off rule it", _OUTLIERS),
        Row("charbonnier", 30, "its gradient does not jump at 0", given("smooth")),
        Row("mae", -10, "its gradient jumps at 0", given("smooth")),
        Row("mse", 35, "PSNR is a function of the mean squared error", is_("metric", "psnr")),
        Row("with_ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("ssim", 30, "SSIM is the metric", is_("metric", "ssim")),
        Row("with_features", 70, "what images look like shows in a network's features, which mae "
            "beside it ties to the pixels", given("look_alike")),
        Row("with_features", 0, "it needs a network: VGG16's weights, which whoever runs the "
            "service names, for images of three channels, or a model that a job has trained",
            given("look_alike")),
        Row("with_ssim", 10, "structure is most of what looks right", given("look_alike")),
        Row("with_variation", 60, "images come out noisy, and it costs differences between "
            "neighbouring pixels", given("grainy")),
        Row("with_variation", 0, "try its weight out: too much flattens textures",
            given("grainy")),
    ),
    notes=(
        Note("ssim's data_range must be the range of the pixels: 1 for 0 to 1, 2 for -1 to 1."),
    ),
)  # fmt: skip
"""Images to images."""
