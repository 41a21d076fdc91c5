"""Boxes: what locations learn, what is found, what is dropped, and what it is worth."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from talweg.worker.models.architectures.detector import boxes_at
from talweg.worker.tasks.detection.metrics import box_metrics
from talweg.worker.tasks.detection.predictions import Boxes, find_boxes, overlaps_of, undropped
from talweg.worker.tasks.detection.targets import Grid, assign

GRID = Grid(8, 6, 4)


def objects(*rows: tuple[float, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return one image's objects: x1, y1, x2, y2, class."""
    table = torch.tensor(rows).reshape(1, -1, 5)
    return table[..., :4], table[..., 4].long(), torch.tensor([len(rows)])


def learnt(*rows: tuple[float, ...], radius: float = 1.5) -> NDArray[np.int64]:
    return assign(*objects(*rows), GRID, radius).classes[0].numpy()


def test_locations_in_the_box_and_near_its_centre_learn_the_object() -> None:
    # Locations stand at 2, 6, 10, …: the box holds three by five, the circle around (10, 14) less.
    found = learnt((3, 3, 17, 25, 7), radius=1)
    assert found.sum() == 7 * 9
    assert (found[2:5, 1:4] == 7).all()
    assert learnt((3, 3, 17, 25, 7), radius=9).sum() == 7 * 5 * 3
    boxes = assign(*objects((3, 3, 17, 25, 7)), GRID, 1).boxes[0]
    assert boxes[:, 3, 2].tolist() == [3, 3, 17, 25]
    assert boxes[:, 0, 0].tolist() == [0, 0, 0, 0]


def test_the_smaller_of_two_objects_comes_first_in_any_order() -> None:
    large, small = (0.5, 0.5, 23, 31, 1.0), (8.5, 12.5, 15, 19, 2.0)
    for rows in ((large, small), (small, large)):
        found = learnt(*rows, radius=9)
        assert (found == 2).sum() == 4
        assert (found == 1).sum() == 48 - 4


def test_an_object_that_holds_no_location_has_the_nearest() -> None:
    # Between the locations at x = 2 and x = 6, and on a large object's own locations.
    tiny, large = (3.0, 3.0, 4.9, 4.5, 3.0), (0.0, 0.0, 24.0, 32.0, 1.0)
    found = learnt(tiny, large)
    assert found[0, 0] == 3
    assert (found == 3).sum() == 1
    # A large object's nearest location is its own, even if a smaller one holds it too.
    found = learnt((0, 0, 20, 20, 1), (8.5, 8.5, 15.5, 15.5, 2))
    assert found[2, 2] == 1
    assert {1, 2} <= set(found.flatten().tolist())


def test_what_is_beyond_the_count_is_not_read() -> None:
    boxes, classes, _ = objects((0, 0, 8, 8, 1), (8, 8, 16, 16, 2))
    found = assign(boxes, classes, torch.tensor([1]), GRID, 1.5).classes
    assert set(found.flatten().tolist()) == {0, 1}
    none = assign(boxes[:, :0], classes[:, :0], torch.tensor([0]), GRID, 1.5)
    assert none.classes.shape == (1, 8, 6)
    assert not none.boxes.any()


def test_images_do_not_depend_on_each_other() -> None:
    rng = torch.Generator().manual_seed(0)
    corner = 20 * torch.rand(300, 5, 2, generator=rng)
    boxes = torch.cat([corner, corner + 1 + 10 * torch.rand(300, 5, 2, generator=rng)], dim=2)
    classes = torch.randint(1, 11, (300, 5), generator=rng)
    count = torch.randint(0, 6, (300,), generator=rng)
    whole = assign(boxes, classes, count, GRID, 1.5)
    for index in (0, 17, 255, 256, 299):
        i = slice(index, index + 1)
        one = assign(boxes[i], classes[i], count[i], GRID, 1.5)
        assert torch.equal(one.classes[0], whole.classes[index])
        assert torch.equal(one.boxes[0], whole.boxes[index])
        # Five objects on 48 locations: each that could have one of its own has it.
        assert (one.classes[0] > 0).any() == bool(count[index])


def test_boxes_are_boxes_whatever_the_numbers() -> None:
    raw = torch.zeros(1, 4, 3, 2)
    raw[0, 0], raw[0, 1] = 0.5, -0.25
    boxes = boxes_at(raw, 8)[0]
    side = 8 * np.log(2)
    # The location of row 2, column 1 stands at (12, 20).
    x, y = 12 + 4, 20 - 2
    wanted = [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
    assert boxes[:, 2, 1].tolist() == pytest.approx(wanted, rel=1e-5)
    for size in (1e4, -1e4):
        wild = boxes_at(torch.full((1, 4, 3, 2), size), 8)[0]
        assert bool(torch.isfinite(wild).all())
        assert bool((wild[2:] >= wild[:2]).all())


def plain_nms(
    boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any], overlap: float
) -> list[int]:
    """Greedy suppression as it is defined, one box after another."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        for j in kept:
            x1, y1 = np.maximum(boxes[i, :2], boxes[j, :2])
            x2, y2 = np.minimum(boxes[i, 2:], boxes[j, 2:])
            both = max(0.0, x2 - x1) * max(0.0, y2 - y1)
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
            if labels[i] == labels[j] and both > overlap * (sum(areas) - both):
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
def test_suppression_is_the_greedy_one(overlap: float) -> None:
    rng = torch.Generator().manual_seed(1)
    corner = 20 * torch.rand(6, 80, 2, generator=rng)
    boxes = torch.cat([corner, corner + 4 + 16 * torch.rand(6, 80, 2, generator=rng)], dim=2)
    labels = torch.randint(0, 3, (6, 80), generator=rng)
    scores = torch.rand(6, 80, generator=rng).sort(dim=1, descending=True).values
    candidates = scores > 0.2
    kept = undropped(boxes, labels, candidates, overlap)
    assert torch.equal(kept, undropped(boxes, labels, candidates, overlap, rounds=80))
    for image in range(6):
        n = int(candidates[image].sum())
        some, score, label = (array[image, :n].numpy() for array in (boxes, scores, labels))
        wanted = sorted(plain_nms(some, score, label, overlap))
        assert kept[image].nonzero()[:, 0].tolist() == wanted
        assert len(wanted) < n or overlap == 0.9


def test_a_long_chain_of_boxes_needs_every_round() -> None:
    # Each box drops the next alone, so that every second one remains.
    starts = torch.arange(9.0)
    boxes = torch.stack([starts, torch.zeros(9), starts + 3, torch.ones(9)], dim=1)[None]
    labels, all_of_them = torch.zeros(1, 9), torch.ones(1, 9, dtype=torch.bool)
    kept = undropped(boxes, labels, all_of_them, 0.45)
    assert kept[0].tolist() == [True, False] * 4 + [True]
    assert torch.equal(kept, undropped(boxes, labels, all_of_them, 0.45, rounds=9))
    assert not torch.equal(kept, undropped(boxes, labels, all_of_them, 0.45, rounds=3))


def test_overlaps() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    found = overlaps_of(boxes, boxes)
    assert found[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert found[3, 3] == 0


def test_what_is_found_is_cut_dropped_and_in_order() -> None:
    outputs = torch.zeros(1, 3 + 4, 2, 2)
    outputs[0, 0] = 9
    for row, column, label, logit, box in (
        (0, 0, 1, 12.0, (-3.0, 1, 5, 6)),
        (0, 1, 1, 11.0, (0, 1, 5, 6)),
        (1, 0, 2, 11.5, (0, 1, 5, 6)),
        (1, 1, 2, 6.0, (5, 5, 8, 8)),
    ):
        outputs[0, label, row, column] = logit
        outputs[0, 3:, row, column] = torch.tensor(box)
    found = find_boxes(outputs, Boxes(0.3, 0.5, 50, (6, 8)))[0]
    assert found.shape == (8, 6)
    p = [np.exp(logit) / (np.exp(logit) + np.exp(9) + 1) for logit in (12, 11.5)]
    # The second of class 1 is the first again, cut at the image's edge; the last has a low score.
    assert found[0].tolist() == pytest.approx([0, 1, 5, 6, p[0], 1])
    assert found[1].tolist() == pytest.approx([0, 1, 5, 6, p[1], 2])
    assert not found[2:].any()
    assert len(find_boxes(outputs, Boxes(0.3, 0.5, 1, (6, 8)))[0]) == 1
    exported = find_boxes(outputs, Boxes(0.3, 0.5, 50, (6, 8)), rounds=50)[0]
    assert torch.equal(exported, found)


def plain_map(true: Any, found: Any) -> float:
    """Average precision at 101 recalls by its definition, one class after another."""
    precisions = []
    for label in sorted({c for _, classes in true for c in classes.tolist()}):
        total = sum(int((classes == label).sum()) for _, classes in true)
        rows = sorted(
            (-scores[k], image, k)
            for image, (_, classes, scores) in enumerate(found)
            for k in range(len(scores))
            if classes[k] == label
        )
        taken: set[tuple[int, int]] = set()
        hits = []
        for _, image, k in rows:
            best = (0.5, -1)
            for j in np.flatnonzero(true[image][1] == label).tolist():
                a, b = torch.tensor(found[image][0][k]), torch.tensor(true[image][0][j])
                iou = float(overlaps_of(a[None], b[None]))
                if (image, j) not in taken and iou >= best[0]:
                    best = (iou, j)
            if best[1] >= 0:
                taken.add((image, best[1]))
            hits.append(best[1] >= 0)
        right = np.cumsum(hits)
        recall, precision = right / total, right / np.arange(1, len(hits) + 1)
        at = [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
        precisions.append(np.mean(at))
    return float(np.mean(precisions))


def test_average_precision_is_as_defined_and_says_nothing() -> None:
    rng = np.random.default_rng(3)

    def some(count: int) -> NDArray[Any]:
        corner = rng.uniform(0, 40, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(3, 20, (count, 2))], axis=1)

    true, found = [], []
    for image in range(12):
        count = image % 5
        boxes, classes = some(count), rng.integers(1, 4, count)
        true.append((boxes, classes))
        near = boxes + rng.normal(0, 1, boxes.shape)
        wrong = some(3)
        labels = np.concatenate([classes, rng.integers(1, 6, 3)])
        found.append((np.concatenate([near, wrong]), labels, rng.uniform(0, 1, count + 3)))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        values = box_metrics(true, found)
    assert said.getvalue() == ""
    assert 0.2 < values["map_50"] < 0.95
    assert values["map_50"] == pytest.approx(plain_map(true, found), abs=1e-9)
    assert 0.5 < values["mean_iou"] < 1


def test_average_precision_at_its_ends() -> None:
    boxes, classes = np.array([[0.0, 0, 4, 4], [4, 4, 9, 9]]), np.array([1, 2])
    scores = np.array([0.9, 0.8])
    none = (np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
    perfect = box_metrics([(boxes, classes)], [(boxes, classes, scores)])
    assert perfect == {"map_50": pytest.approx(1), "mean_iou": pytest.approx(1)}
    assert box_metrics([(boxes, classes)], [none]) == {"map_50": 0}
    assert box_metrics([none[:2]], [(boxes, classes, scores)]) == {}
    # A box half as wide is right by a hair, and one that is found twice is wrong once.
    half = boxes.copy()
    half[:, 2] = [2, 6.5]
    twice = [np.concatenate([half, half]), np.tile(classes, 2), np.tile(scores, 2)]
    values = box_metrics([(boxes, classes)], [(twice[0], twice[1], twice[2])])
    assert values == {"map_50": pytest.approx(1), "mean_iou": pytest.approx(0.5)}
