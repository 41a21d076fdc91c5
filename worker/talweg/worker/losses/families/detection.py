"""Classes and boxes together."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from talweg import spec as specs
from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, Part, reduction_of, take_indices
from talweg.worker.losses.embedding_base import Pooled
from talweg.worker.losses.families import boxes, classification, regression
from talweg.worker.losses.families.boxes import take_boxes
from talweg.worker.losses.functional import _safe

_PARTS: dict[str, Callable[[Any], LossModule]] = {
    **classification.BUILDERS,
    **boxes.BUILDERS,
    **regression.BUILDERS,
}


class Detection(Pooled):
    """Loss of object detection: classes of all locations and boxes of the objects.

    L = class_weight L_class + box_weight L_box, each reduced in its own way

    boxes and target_boxes are those of the M locations that hold an object.

    Args:
        class_loss: The loss of the classes; default focal.
        box_loss: The loss of the boxes; default giou.
        class_weight: Weight of the classes' loss; ≥ 0, default 1.
        box_weight: Weight of the boxes' loss; ≥ 0, default 1.
        reduction: mean (default) or sum, which are the same.

    Inputs: class_logits (N, C, …); target_classes (N, …) class index; boxes (M, 4) x1, y1, x2, y2;
        target_boxes (M, 4).
    Returns: A scalar.
    Reference: Lin et al. 2017, https://arxiv.org/abs/1708.02002
    """

    input_names = ("class_logits", "target_classes", "boxes", "target_boxes")

    def __init__(self, spec: pb.Detection) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: A part is not reduced to one number.
        """
        super().__init__(reduction_of(spec))
        self.class_loss = _part(spec.class_loss, "class_loss")
        self.box_loss = _part(spec.box_loss, "box_loss")
        self.weights = spec.class_weight, spec.box_weight

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse classes out of range and boxes whose corners are swapped."""
        if "class_logits" in inputs and "target_classes" in inputs:
            checks.require_classes(
                "target_classes",
                inputs["target_classes"],
                inputs["class_logits"].shape[1],
                getattr(self.class_loss, "ignore_index", None),
            )
        for name in ("boxes", "target_boxes"):
            if name in inputs:
                checks.require_boxes(name, inputs[name])

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        names = self.input_names[0], self.input_names[1]
        logits, classes = take_indices(inputs[names[0]], inputs[names[1]], names)
        self.class_loss.check_inputs({"pred": logits, "target": classes})
        boxes, target_boxes = take_boxes(inputs, ("boxes", "target_boxes"))
        return logits, classes, boxes, target_boxes

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the parts of classes and boxes, which divide by different counts."""
        logits, classes, boxes, target_boxes = self._take(inputs)
        of_classes = self.class_loss.parts({"pred": logits, "target": classes})
        of_boxes = self.box_loss.parts({"pred": boxes, "target": target_boxes})
        return [
            part._replace(factor=weight * part.factor)
            for weight, parts in zip(self.weights, (of_classes, of_boxes), strict=True)
            for part in parts
        ]

    def _pooled(
        self, class_logits: Tensor, target_classes: Tensor, boxes: Tensor, target_boxes: Tensor
    ) -> Tensor:
        classes = self.class_loss({"pred": class_logits, "target": target_classes})
        places = self.box_loss({"pred": boxes, "target": target_boxes})
        return _safe.weighed_sum(self.weights, (classes, places), class_logits, boxes)


def _part(spec: pb.ClassLoss | pb.BoxLoss, name: str) -> LossModule:
    kind, message = specs.kind(spec)
    part = _PARTS[kind](message)
    if part.reduction == "none":
        raise ValueError(f"{name}.{kind}.reduction must be mean or sum, but got none")
    return part


BUILDERS: dict[str, type[LossModule]] = {"detection": Detection}
"""The loss of this family."""
