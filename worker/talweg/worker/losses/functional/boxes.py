"""Losses of boxes (N, 4) as x1, y1, x2, y2, a value a box."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.worker.losses.functional import _safe


class _Measures(NamedTuple):
    iou: Tensor
    union: Tensor
    # The smallest box around both: width and height.
    around: Tensor


def iou(pred: Tensor, target: Tensor) -> Tensor:
    """1 - IoU. Boxes without area have an IoU of 0.

    Args:
        pred: Predicted boxes (N, 4), x1, y1, x2, y2.
        target: True boxes, of the same shape.

    Returns:
        A value a box (N,).

    Reference: Yu et al. 2016, https://arxiv.org/abs/1608.01471
    """
    return 1 - _measure(pred, target).iou


def giou(pred: Tensor, target: Tensor) -> Tensor:
    """1 - IoU + (A - U) / A, A being the area of the box around both.

    Args:
        pred: Predicted boxes (N, 4), x1, y1, x2, y2.
        target: True boxes, of the same shape.

    Returns:
        A value a box (N,).

    Reference: Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630
    """
    measured = _measure(pred, target)
    area = _area(measured.around)
    return 1 - measured.iou + _safe.divide(area - measured.union, area)


def diou(pred: Tensor, target: Tensor) -> Tensor:
    """1 - IoU + ρ² / c²: centres' distance by the diagonal around both.

    Args:
        pred: Predicted boxes (N, 4), x1, y1, x2, y2.
        target: True boxes, of the same shape.

    Returns:
        A value a box (N,).

    Reference: Zheng et al. 2020, https://arxiv.org/abs/1911.08287
    """
    return _distance_term(pred, target, _measure(pred, target))


def ciou(pred: Tensor, target: Tensor) -> Tensor:
    """diou + α v, v = 4/π² (difference of atan(w/h))².

    α = v / (1 - IoU + v) has no gradient.

    Args:
        pred: Predicted boxes (N, 4), x1, y1, x2, y2.
        target: True boxes, of the same shape.

    Returns:
        A value a box (N,).

    Reference: Zheng et al. 2020, https://arxiv.org/abs/1911.08287
    """
    measured = _measure(pred, target)
    v = 4 / math.pi**2 * (_angle(pred) - _angle(target)).square()
    with torch.no_grad():
        alpha = _safe.divide(v, 1 - measured.iou + v)
    return _distance_term(pred, target, measured) + alpha * v


def _measure(pred: Tensor, target: Tensor) -> _Measures:
    (first, last), (start, end) = _corners(pred), _corners(target)
    # relu has a gradient of 0 where boxes only touch.
    both = _area(F.relu(torch.minimum(last, end) - torch.maximum(first, start)))
    union = _area(last - first) + _area(end - start) - both
    around = torch.maximum(last, end) - torch.minimum(first, start)
    return _Measures(_safe.divide(both, union), union, around)


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[:, :2], boxes[:, 2:]


def _area(sides: Tensor) -> Tensor:
    return sides[:, 0] * sides[:, 1]


def _angle(boxes: Tensor) -> Tensor:
    first, last = _corners(boxes)
    return torch.atan2(*(last - first).unbind(-1))


def _distance_term(pred: Tensor, target: Tensor, measured: _Measures) -> Tensor:
    between = (pred[:, :2] + pred[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    diagonal = measured.around.square().sum(-1)
    return 1 - measured.iou + _safe.divide(between.square().sum(-1), diagonal)
