"""From what a detector gives of each location to the boxes that it finds."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.models import SIDES
from talweg.worker.tasks.common.postprocessing import Postprocessor

COLUMNS = 6
"""What is told of a predicted box: x1, y1, x2, y2, score, class."""


@dataclass(frozen=True)
class Boxes(Postprocessor):
    """The boxes of images (N, K, 6): x1, y1, x2, y2 in pixels, score and class."""

    kind = "boxes"
    score_threshold: float
    """Boxes of a higher score than this are given."""
    overlap: float
    """Boxes are dropped where their IoU with a better one of their class is above this."""
    most_boxes: int
    """So many are looked at, those of the highest scores."""
    sides: Sequence[int]
    """Height and width of the images, to which boxes are cut."""

    def __call__(self, outputs: Tensor) -> Tensor:
        """Find the boxes in a fixed number of rounds, as an exported program needs."""
        return find_boxes(outputs, self, rounds=self.most_boxes)


POSTPROCESSORS = (Boxes,)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Boxes:
    """Make the postprocessor of a filled spec over its data."""
    task = spec.task.detection
    sides = list(bundle.inputs.shape[1:])
    return Boxes(task.score_threshold, task.overlap, task.most_boxes, sides)


def find_boxes(outputs: Tensor, which: Boxes, *, rounds: int | None = None) -> Tensor:
    """Find the boxes of images.

    Args:
        outputs: Logits of the classes, the background first, and x1, y1, x2, y2 in pixels of each
            location (N, C + 4, H', W').
        which: Which boxes are given.
        rounds: As for `undropped`.

    Returns:
        x1, y1, x2, y2 in pixels, score and class of the boxes (N, K, 6), the highest score first;
        zeros where there are no more. K is `most_boxes`, or fewer where there are fewer locations
        and classes.
    """
    scores = outputs[:, :-SIDES].float().softmax(dim=1)[:, 1:].flatten(1)
    locations = outputs[:, -SIDES:].float().flatten(2).movedim(1, -1)
    score, index = scores.topk(min(which.most_boxes, scores.shape[1]), dim=1)
    label = index // locations.shape[1] + 1
    location = (index % locations.shape[1])[..., None].expand(-1, -1, SIDES)
    height, width = which.sides
    box = locations.gather(1, location).clamp(min=0)
    box = box.minimum(box.new_tensor([width, height, width, height]))
    remain = undropped(box, label, score > which.score_threshold, which.overlap, rounds=rounds)
    boxes = (
        torch.cat([box, score[..., None], label[..., None].float()], dim=-1) * remain[..., None]
    )
    # The best come first already: those that remain, then the others. ONNX has no stable sort.
    count = score.shape[1]
    ranks = torch.arange(count, 0, -1, device=score.device) + count * remain
    order = ranks.topk(count, dim=1).indices
    return boxes.gather(1, order[..., None].expand(-1, -1, COLUMNS))


def undropped(
    boxes: Tensor, labels: Tensor, candidates: Tensor, overlap: float, *, rounds: int | None = None
) -> Tensor:
    """Return which boxes remain if each drops those after it that are much the same.

    Greedy non-maximum suppression, all images at once: what remains is the one choice in which
    each candidate remains unless one before it remains and drops it. It is found by starting from
    all candidates and asking again until nothing changes; after each round one box more of every
    image is settled, and mostly far more.

    Args:
        boxes: Their x1, y1, x2, y2 (N, K, 4), the best first.
        labels: Classes (N, K): boxes of others drop none.
        candidates: Which boxes there are (N, K).
        overlap: The IoU above which boxes are much the same.
        rounds: How often is asked, whatever changes; K are always enough. Until nothing changes
            where None.

    Returns:
        Which remain (N, K).
    """
    same = (overlaps_of(boxes, boxes) > overlap) & (labels[:, :, None] == labels[:, None, :])
    drops = same.triu(diagonal=1) & candidates[:, None, :]
    remain = candidates
    if rounds is not None:
        for _ in range(rounds):
            remain = candidates & ~(drops & remain[:, :, None]).any(dim=1)
        return remain
    while True:
        now = candidates & ~(drops & remain[:, :, None]).any(dim=1)
        if torch.equal(now, remain):
            return remain
        remain = now


def overlaps_of(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU of each of boxes (…, K, 4) with each of others (…, M, 4), as (…, K, M).

    0 where both boxes have no area.
    """
    a, b = first[..., :, None, :], second[..., None, :, :]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    both = sides[..., 0] * sides[..., 1]
    union = _area(a) + _area(b) - both
    return torch.where(union > 0, both / union.clamp(min=torch.finfo(both.dtype).tiny), 0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
