"""From what a detector gives of each location to the boxes that it finds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from talweg.v1.tasks_pb2 import ObjectDetection
from talweg.worker.models import SIDES

COLUMNS = 6
"""What is told of a found box: x1, y1, x2, y2, score, class."""


class Choice(NamedTuple):
    """Which boxes are given."""

    score_threshold: float
    """Of a higher score than this."""
    overlap: float
    """Dropped where their IoU with a better one of their class is above this."""
    most: int
    """Looked at, those of the highest scores."""

    @classmethod
    def of(cls, task: ObjectDetection) -> Choice:
        """Take what a filled task says."""
        return cls(task.score_threshold, task.overlap, task.most_boxes)


def find_boxes(
    outputs: Tensor, choice: Choice, sides: tuple[int, int], *, rounds: int | None = None
) -> Tensor:
    """Find the boxes of images.

    Args:
        outputs: Logits of the classes, the background first, and x1, y1, x2, y2 in pixels of each
            location (N, C + 4, H', W').
        choice: Which boxes are given.
        sides: Height and width of the images, to which boxes are cut.
        rounds: As for `undropped`.

    Returns:
        x1, y1, x2, y2 in pixels, score and class of the boxes (N, K, 6), the highest score first;
        zeros where there are no more. K is `choice.most`, or fewer where there are fewer
        locations and classes.
    """
    scores = outputs[:, :-SIDES].float().softmax(dim=1)[:, 1:].flatten(1)
    places = outputs[:, -SIDES:].float().flatten(2).movedim(1, -1)
    score, index = scores.topk(min(choice.most, scores.shape[1]), dim=1)
    label = index // places.shape[1] + 1
    place = (index % places.shape[1])[..., None].expand(-1, -1, SIDES)
    height, width = sides
    box = places.gather(1, place).clamp(min=0)
    box = box.minimum(box.new_tensor([width, height, width, height]))
    kept = undropped(box, label, score > choice.score_threshold, choice.overlap, rounds=rounds)
    found = torch.cat([box, score[..., None], label[..., None].float()], dim=-1) * kept[..., None]
    order = (score * kept).argsort(dim=1, descending=True, stable=True)
    return found.gather(1, order[..., None].expand(-1, -1, COLUMNS))


def undropped(
    boxes: Tensor, labels: Tensor, candidates: Tensor, overlap: float, *, rounds: int | None = None
) -> Tensor:
    """Return which boxes remain if each drops those after it that are much the same.

    Greedy non-maximum suppression, all images at once: what remains is the one answer in which
    each candidate remains unless one before it remains and drops it. It is found by starting from
    all candidates and asking again until nothing changes; after each round one box more of every
    image is settled, and mostly far more.

    Args:
        boxes: X1, y1, x2, y2 (N, K, 4), the best first.
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
    kept = candidates
    if rounds is not None:
        for _ in range(rounds):
            kept = candidates & ~(drops & kept[:, :, None]).any(dim=1)
        return kept
    while True:
        now = candidates & ~(drops & kept[:, :, None]).any(dim=1)
        if torch.equal(now, kept):
            return kept
        kept = now


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
