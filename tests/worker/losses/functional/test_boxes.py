"""Boxes: overlap, enclosing box, centres and shapes."""

import math
from collections.abc import Callable

import pytest
import torch
from tests.worker.losses.functional.helpers import close, finite, slopes_agree
from torch import Tensor

from talweg.worker.losses.functional import boxes

PRED = torch.tensor(
    [[0.0, 0, 2, 2], [1.0, 1, 4, 3], [0.0, 0, 1, 5], [-3.0, -2, -1, 0], [0.1, 0.2, 0.4, 0.9]]
).double()
TARGET = torch.tensor(
    [[1.0, 0.5, 3, 4], [1.5, 1.25, 2, 2.5], [5.0, 6, 7, 8], [-2.5, -1, 1, 2], [0.1, 0.3, 0.6, 0.8]]
).double()
LOSSES: list[Callable[[Tensor, Tensor], Tensor]] = [boxes.iou, boxes.giou, boxes.diou, boxes.ciou]


def formulas(a: list[float], b: list[float]) -> list[float]:
    """Return the four losses of one pair of boxes, of which none is without area."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    iou = both / union
    w, h = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    giou = iou - (w * h - union) / (w * h)
    between = ((a[0] + a[2] - b[0] - b[2]) ** 2 + (a[1] + a[3] - b[1] - b[3]) ** 2) / 4
    diou = iou - between / (w * w + h * h)
    angles = [math.atan((x[2] - x[0]) / (x[3] - x[1])) for x in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return [1 - iou, 1 - giou, 1 - diou, 1 - diou + v * v / (1 - iou + v)]


@pytest.mark.parametrize("which", range(4), ids=["iou", "giou", "diou", "ciou"])
def test_boxes_by_their_definitions(which: int) -> None:
    expected = [formulas(a, b)[which] for a, b in zip(PRED.tolist(), TARGET.tolist(), strict=True)]
    close(LOSSES[which](PRED, TARGET), expected)
    if which < 3:
        slopes_agree(lambda p: LOSSES[which](p, TARGET), PRED.clone().requires_grad_())


def test_cious_balance_has_no_gradient() -> None:
    pred = PRED.clone().requires_grad_()
    (ours,) = torch.autograd.grad(boxes.ciou(pred, TARGET).sum(), pred)
    iou = 1 - boxes.iou(pred, TARGET)
    sides, others = pred[:, 2:] - pred[:, :2], TARGET[:, 2:] - TARGET[:, :2]
    angle = torch.atan(sides[:, 0] / sides[:, 1]) - torch.atan(others[:, 0] / others[:, 1])
    v = 4 / math.pi**2 * angle**2
    fixed = (v / (1 - iou + v)).detach()
    (expected,) = torch.autograd.grad((boxes.diou(pred, TARGET) + fixed * v).sum(), pred)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("side", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("loss", LOSSES)
def test_equal_boxes_cost_nothing_at_any_size(
    loss: Callable[[Tensor, Tensor], Tensor], side: float
) -> None:
    """An eps in the denominator would give 0.5 at a side of 1e-3."""
    box = torch.tensor([[1.0, 1.0, 2.0, 3.0]]) * side
    value, (gradient, _) = finite(loss, box, box)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-3 / side


ODD = [
    [0.0, 0, 0, 0],
    [1.0, 1, 1, 1],
    [0.0, 0, 2, 0],
    [0.0, 0, 0, 2],
    [0.0, 0, 2, 2],
    [-1e4, -1e4, 1e4, 1e4],
    [1.0, 0, 1, 1e4],
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_boxes_without_area_are_finite(
    loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    every = torch.tensor(ODD, dtype=dtype)
    pred, target = every.repeat_interleave(len(ODD), 0), every.repeat(len(ODD), 1)
    value, _ = finite(loss, pred, target)
    assert value.min() >= -1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_no_boxes_are_no_trouble(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    value, _ = finite(loss, torch.empty(0, 4), torch.empty(0, 4))
    assert value.shape == (0,)
