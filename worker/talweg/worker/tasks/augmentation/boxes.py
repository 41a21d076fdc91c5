"""Boxes after their images have moved."""

from dataclasses import dataclass

import torch
from torch import Tensor

# A box of which less remains, or that has become smaller, tells nothing of its object any more.
_LEAST_SHARE = 0.25
_LEAST_SIDE = 1.0
_ROUNDING = 1e-4
# kornia counts from the middle of the first pixel, boxes from its edge.
_HALF = 0.5


@dataclass(frozen=True)
class Objects:
    """The objects of images."""

    boxes: Tensor
    """x1, y1, x2, y2 in pixels (N, K, 4)."""
    classes: Tensor
    """Class index from 1; 0 where there is no object (N, K)."""
    count: Tensor
    """The objects of each image (N,)."""


def moved(objects: Objects, matrix: Tensor, height: int, width: int) -> Objects:
    """Move boxes with their images.

    Args:
        objects: Of the images as they were.
        matrix: From a point of each image to where it is now (N, 3, 3), in kornia's pixels.
        height: Of the images.
        width: Of the images.

    Returns:
        The smallest upright boxes around the moved ones, cut off at the image's edges; without
        those of which too little is left.
    """
    boxes, classes, count = objects.boxes, objects.classes, objects.count
    x1, y1, x2, y2 = boxes.unbind(-1)
    corners = torch.stack(
        [torch.stack([x, y], -1) for x, y in ((x1, y1), (x2, y1), (x1, y2), (x2, y2))], dim=2
    )
    points = corners.flatten(1, 2) - _HALF
    ones = points.new_ones(*points.shape[:2], 1)
    there = torch.cat([points, ones], dim=-1) @ matrix.to(points).transpose(1, 2)
    there = there[..., :2] / there[..., 2:] + _HALF
    there = there.reshape(corners.shape)
    low, high = there.amin(dim=2), there.amax(dim=2)
    edge = boxes.new_tensor([width, height])
    cut_low, cut_high = low.clamp(min=0).minimum(edge), high.clamp(min=0).minimum(edge)
    sides, whole = cut_high - cut_low, (high - low).clamp(min=torch.finfo(boxes.dtype).tiny)
    most = classes.shape[1]
    remains = torch.arange(most, device=count.device) < count[:, None]
    remains &= sides.prod(-1) >= _LEAST_SHARE * whole.prod(-1)
    # A side that was as short before is none that was cut.
    least = (high - low).clamp(max=_LEAST_SIDE) * (1 - _ROUNDING)
    remains &= (sides >= least).all(-1)
    # Those that remain come first, in their order.
    order = (~remains).to(torch.int64).argsort(dim=1, stable=True)
    remains = remains.gather(1, order)
    new = torch.cat([cut_low, cut_high], dim=-1).gather(1, order[..., None].expand(-1, -1, 4))
    return Objects(
        new.masked_fill(~remains[..., None], 0),
        classes.gather(1, order).masked_fill(~remains, 0),
        remains.sum(dim=1),
    )
