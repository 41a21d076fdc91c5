"""Losses of boxes: pred and target (N, 4) as x1, y1, x2, y2, a value a box."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import checks
from talweg.worker.losses.base import LossModule, reduction_of
from talweg.worker.losses.embedding_base import take_alike
from talweg.worker.losses.functional import boxes


def take_boxes(inputs: Mapping[str, Tensor], names: tuple[str, str]) -> tuple[Tensor, ...]:
    """Predicted and true boxes (N, 4), brought to one precision.

    Raises:
        ValueError: A dtype or shape is wrong.
    """
    first = inputs[names[0]]
    if first.dim() != 2 or first.shape[1] != 4:
        raise ValueError(
            f"{names[0]} must be boxes of shape (N, 4), but got shape {tuple(first.shape)}"
        )
    return take_alike(inputs, names)


class _Boxes(LossModule):
    def __init__(self, spec: pb.Iou | pb.Giou | pb.Diou | pb.Ciou) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse boxes whose corners are swapped; see `LossModule.check_values`."""
        for name in self.input_names:
            if name in inputs:
                checks.require_boxes(name, inputs[name])

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_boxes(inputs, ("pred", "target"))


class Iou(_Boxes):
    """IoU loss of boxes.

    L = 1 - IoU

    Boxes without area have an IoU of 0.

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, 4) x1, y1, x2, y2; target (N, 4) x1, y1, x2, y2.
    Returns: A value a box (N,), or the reduced scalar.
    Reference: Yu et al. 2016, https://arxiv.org/abs/1608.01471
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return boxes.iou(pred, target)


class Giou(_Boxes):
    """Generalised IoU loss of boxes: IoU and the empty share of the box around both.

    L = 1 - IoU + (A - U) / A, with the union U and the area A of the box around both

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, 4) x1, y1, x2, y2; target (N, 4) x1, y1, x2, y2.
    Returns: A value a box (N,), or the reduced scalar.
    Reference: Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return boxes.giou(pred, target)


class Diou(_Boxes):
    """Distance IoU loss of boxes: IoU and the squared distance of the centres.

    L = 1 - IoU + ρ² / c², with the centres' distance ρ and the diagonal c of the box around both

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, 4) x1, y1, x2, y2; target (N, 4) x1, y1, x2, y2.
    Returns: A value a box (N,), or the reduced scalar.
    Reference: Zheng et al. 2020, https://arxiv.org/abs/1911.08287
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return boxes.diou(pred, target)


class Ciou(_Boxes):
    """Complete IoU loss of boxes: diou and the difference of the proportions.

    L = diou + α v, v = 4/π² (atan(w/h) of pred - that of target)²

    α = v / (1 - IoU + v) has no gradient.

    Args:
        reduction: mean (default), sum or none.

    Inputs: pred (N, 4) x1, y1, x2, y2; target (N, 4) x1, y1, x2, y2.
    Returns: A value a box (N,), or the reduced scalar.
    Reference: Zheng et al. 2020, https://arxiv.org/abs/1911.08287
    """

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return boxes.ciou(pred, target)


BUILDERS: dict[str, type[LossModule]] = {"iou": Iou, "giou": Giou, "diou": Diou, "ciou": Ciou}
"""The losses of this family."""
