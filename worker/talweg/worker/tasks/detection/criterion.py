"""The loss of a detector: of what it gives of each location, and what each is to learn."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from talweg.spec import kind
from talweg.v1.losses_pb2 import Loss, Reduction
from talweg.worker import losses
from talweg.worker.losses import LossModule, Part
from talweg.worker.models import SIDES


class ByLocation(LossModule):
    """Both parts summed, and divided by the number of locations that hold an object.

    So it is in Lin et al. 2017 and Tian et al. 2019: the mean over all locations would fall with
    the share of background. pred (N, C + 4, H', W'), logits and boxes; target (N, H', W') classes,
    0 for the background; target_boxes (N, 4, H', W'). Where there is no object it divides by 1.
    """

    input_names = ("pred", "target", "target_boxes")

    def __init__(self, loss: Loss) -> None:
        """Take a filled loss that is detection."""
        super().__init__("mean")
        summed = Loss()
        summed.CopyFrom(loss)
        for part in (summed.detection.class_loss, summed.detection.box_loss):
            message: Any = kind(part)[1]
            message.reduction = Reduction.sum
        self.inner = losses.build(summed)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the loss; see `LossModule.forward`."""
        loss: Tensor = self.inner(_parted(inputs))
        return loss / self.divisor(inputs["target"])

    def parts(self, inputs: Mapping[str, Tensor]) -> list[Part]:
        """Return the loss with the number of locations with an object; see `LossModule.parts`."""
        return [Part(self(inputs), (inputs["target"] > 0).sum())]

    def check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong names, shapes and dtypes; see `LossModule.check_inputs`."""
        self.inner.check_inputs(_parted(inputs))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse wrong numbers; see `LossModule.check_values`."""
        self.inner.check_values(
            {
                "class_logits": inputs["pred"][:, :-SIDES],
                "target_classes": inputs["target"],
                "target_boxes": _where(inputs["target"] > 0, inputs["target_boxes"]),
            }
        )

    def divisor(self, target: Tensor) -> Tensor:
        """Return the number of locations with an object, 1 at least; see `LossModule.divisor`."""
        return (target > 0).sum().clamp(min=1)


def _parted(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the loss's inputs: classes of all locations, boxes of those that hold an object."""
    pred, target = inputs["pred"], inputs["target"]
    has_object = target > 0
    return {
        "class_logits": pred[:, :-SIDES],
        "target_classes": target,
        "boxes": _where(has_object, pred[:, -SIDES:]),
        "target_boxes": _where(has_object, inputs["target_boxes"]),
    }


def _where(has_object: Tensor, boxes: Tensor) -> Tensor:
    """Return the boxes (M, 4) of some locations."""
    return boxes.movedim(1, -1)[has_object]
