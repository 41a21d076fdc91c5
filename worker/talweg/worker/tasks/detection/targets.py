"""What each location of a detector's grid is to learn. Tian et al. 2019, with centre sampling."""

from typing import NamedTuple

import torch
from torch import Tensor

# Images that are looked at together, so that memory is bounded.
_AT_ONCE = 256


class Grid(NamedTuple):
    """The locations of a detector, each in the middle of a square of pixels."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    stride: int
    """Pixels of a square's side."""

    def centres(self) -> tuple[Tensor, Tensor]:
        """Return the locations' x and y in pixels, row by row (H'·W',)."""
        down, across = torch.meshgrid(
            torch.arange(self.height) + 0.5, torch.arange(self.width) + 0.5, indexing="ij"
        )
        return self.stride * across.flatten(), self.stride * down.flatten()


class Targets(NamedTuple):
    """What locations learn."""

    classes: Tensor
    """Class index, 0 for the background (N, H', W')."""
    boxes: Tensor
    """x1, y1, x2, y2 in pixels (N, 4, H', W'); zeros where there is no object."""


def assign(boxes: Tensor, classes: Tensor, count: Tensor, grid: Grid, radius: float) -> Targets:
    """Tell each location its object.

    A location may learn the objects in whose box it lies, at most `radius` strides from the centre
    along each side; of several the smallest. The location nearest to an object's centre learns it
    before others, even if the box is too small to hold it.

    Args:
        boxes: Their x1, y1, x2, y2 in pixels (N, K, 4).
        classes: Class index from 1 (N, K).
        count: How many of an image's K there are (N,).
        grid: The locations.
        radius: In strides.
    """
    split = (torch.split(array, _AT_ONCE) for array in (boxes, classes, count))
    parts = [
        _assign(some_boxes, some_classes, some_count, grid, radius)
        for some_boxes, some_classes, some_count in zip(*split, strict=True)
    ]
    return Targets(*(torch.cat(parts) for parts in zip(*parts, strict=True)))


def _assign(boxes: Tensor, classes: Tensor, count: Tensor, grid: Grid, radius: float) -> Targets:
    num_images, most = classes.shape
    if not most:
        zeros = boxes.new_zeros(num_images, 4, grid.height, grid.width)
        return Targets(zeros[:, 0].long(), zeros)
    x, y = grid.centres()
    x1, y1, x2, y2 = (side[..., None] for side in boxes.unbind(-1))
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    reach = radius * grid.stride
    near = ((x - middle_x).abs() <= reach) & ((y - middle_y).abs() <= reach)
    column = (middle_x / grid.stride).floor().clamp(0, grid.width - 1)
    row = (middle_y / grid.stride).floor().clamp(0, grid.height - 1)
    nearest = torch.arange(len(x)) == row * grid.width + column
    present = (torch.arange(most) < count[:, None])[..., None]
    # Smaller objects first, and before them all whose nearest location it is.
    area = (x2 - x1) * (y2 - y1)
    rank = area / (area.amax(dim=1, keepdim=True) + 1) - nearest.float()
    rank = rank.where((inside & near | nearest) & present, torch.inf)
    best, chosen = rank.min(dim=1)
    free = best.isinf()
    of_classes = classes.gather(1, chosen).masked_fill(free, 0)
    of_boxes = boxes.gather(1, chosen[..., None].expand(-1, -1, 4)).masked_fill(free[..., None], 0)
    size = (grid.height, grid.width)
    of_boxes = of_boxes.movedim(-1, 1).reshape(num_images, 4, *size)
    return Targets(of_classes.reshape(num_images, *size), of_boxes)
