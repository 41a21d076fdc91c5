"""Augmentation: images change, what belongs to them follows, and all follows from the seed."""

from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf.json_format import ParseDict
from torch import Tensor

from talweg.spec.reading.fill import fill_message
from talweg.spec.rules.loss import facts_of, losses_of
from talweg.v1 import options_pb2
from talweg.v1.augmentation_pb2 import Augmentation
from talweg.worker.data import StandardScaler
from talweg.worker.losses import evaluate
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.augmentation.boxes import Objects

SIDE = 32
MOVES: list[dict[str, Any]] = [
    {"flip": {"probability": 1}},
    {"flip": {"horizontal": False, "vertical": True, "probability": 1}},
    {"rotate": {"degrees": 30}},
    {"crop": {"min_area": 0.4}},
    {"flip": {"vertical": True}, "rotate": {"degrees": 20}, "crop": {"min_area": 0.6}},
]


def augmenter(asked: dict[str, Any], *, channels: int = 1, height: int = SIDE) -> Augmenter:
    message = fill_message(ParseDict(asked, Augmentation()))
    return Augmenter(message, (channels, height, SIDE), None)


def rectangles(count: int, height: int = SIDE) -> tuple[Tensor, Tensor, Objects]:
    """Images with one bright rectangle each, its mask and its box."""
    rng = np.random.default_rng(1)
    x = torch.zeros(count, 1, height, SIDE)
    mask = torch.zeros(count, height, SIDE, dtype=torch.long)
    boxes = torch.zeros(count, 2, 4)
    classes = torch.zeros(count, 2, dtype=torch.long)
    for index in range(count):
        left, top = (int(each) for each in rng.integers(6, 14, 2))
        width, tall = (int(each) for each in rng.integers(5, 9, 2))
        x[index, 0, top : top + tall, left : left + width] = 1
        mask[index, top : top + tall, left : left + width] = 3
        boxes[index, 0] = torch.tensor([left, top, left + width, top + tall])
        classes[index, 0] = 3
    return x, mask, Objects(boxes, classes, torch.ones(count, dtype=torch.long))


@pytest.mark.parametrize("asked", MOVES, ids=str)
@pytest.mark.parametrize("height", [SIDE, 24])
def test_masks_move_with_their_images(asked: dict[str, Any], height: int) -> None:
    x, mask, _ = rectangles(16, height)
    torch.manual_seed(0)
    new, moved = augmenter(asked, height=height).with_masks(x, mask, outside=9)
    assert moved.shape == mask.shape
    assert moved.dtype == mask.dtype
    assert set(moved.flatten().tolist()) <= {0, 3, 9}
    assert not torch.equal(new, x)
    # Away from the edges, where pixels are mixed, both agree.
    assert (moved[new[:, 0] > 0.9] == 3).all()
    assert (new[:, 0][moved == 3] > 0.2).float().mean() > 0.97
    assert (moved == 9).any() == ("rotate" in asked)


@pytest.mark.parametrize("asked", MOVES, ids=str)
@pytest.mark.parametrize("height", [SIDE, 24])
def test_boxes_move_with_their_images(asked: dict[str, Any], height: int) -> None:
    x, _, objects = rectangles(32, height)
    torch.manual_seed(0)
    new, moved = augmenter(asked, height=height).with_boxes(x, objects)
    assert moved.count.sum() > 24
    assert not moved.boxes[:, 1].any()
    assert not moved.classes[:, 1].any()
    for index in range(len(x)):
        if not moved.count[index]:
            assert not moved.boxes[index].any()
            continue
        assert moved.classes[index, 0] == 3
        x1, y1, x2, y2 = moved.boxes[index, 0].tolist()
        assert 0 <= x1 < x2 <= SIDE
        assert 0 <= y1 < y2 <= height
        rows, columns = (new[index, 0] > 0.4).nonzero().T
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        actual = [float(each) for each in found]
        # The corner of a rotated rectangle may be less than a pixel.
        assert actual == pytest.approx([x1, y1, x2, y2], abs=1.6 if "rotate" in asked else 1.0)


def test_boxes_of_which_little_is_left_are_left_out() -> None:
    x, _, _ = rectangles(64)
    corner = torch.tensor([[0.0, 0.0, 3.0, 3.0], [10.0, 10.0, 22.0, 22.0]]).repeat(64, 1, 1)
    classes = torch.tensor([[1, 2]]).repeat(64, 1)
    torch.manual_seed(0)
    objects = Objects(corner, classes, torch.full((64,), 2))
    _, moved = augmenter({"crop": {"min_area": 0.3}}).with_boxes(x, objects)
    lost = moved.count == 1
    assert 10 < lost.sum() < 64
    # The one that remains comes first.
    assert (moved.classes[lost] == torch.tensor([2, 0])).all()
    assert (moved.classes[moved.count == 2] == torch.tensor([1, 2])).all()


def test_images_of_translation_move_alike() -> None:
    x, _, _ = rectangles(8)
    torch.manual_seed(0)
    asked: dict[str, Any] = {"flip": {}, "crop": {}, "noise": {"sd": 1, "probability": 1}}
    new, other = augmenter(asked).with_images(x, 2 * x)
    assert not torch.equal(other, 2 * x)
    assert (new - other / 2).std() == pytest.approx(1, abs=0.05)
    torch.manual_seed(0)
    plain, same = augmenter({"flip": {}, "crop": {}}).with_images(x, 2 * x)
    torch.testing.assert_close(plain, same / 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colours_stay_in_range_and_standardised(channels: int) -> None:
    x = torch.rand(64, channels, 8, 8)
    message = fill_message(ParseDict({"color": {"probability": 0.5}}, Augmentation()))
    scaler = StandardScaler(np.array(0.5), np.array(0.25))
    changing = Augmenter(message, (channels, 8, 8), scaler)
    torch.manual_seed(0)
    scaled = (x - 0.5) / 0.25
    new = changing.images(scaled)
    unit = new * 0.25 + 0.5
    assert unit.min() >= -1e-6
    assert unit.max() <= 1 + 1e-6
    as_they_were = (new == scaled).flatten(1).all(1)
    assert 16 < as_they_were.sum() < 48


def test_cutout_erases_as_much_as_is_asked_for() -> None:
    x = torch.ones(200, 3, SIDE, SIDE)
    torch.manual_seed(0)
    new = augmenter({"cutout": {"max_area": 0.2, "probability": 0.5}}, channels=3).images(x)
    erased = (new == 0).float().mean(dim=(1, 2, 3))
    assert 70 < (erased > 0).sum() < 130
    assert erased.max() < 0.23


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_targets_are_mixed_as_the_images_are(kind: str) -> None:
    # Each image has the value of its target in each pixel.
    target = torch.arange(50.0)
    x = target[:, None, None, None].expand(50, 1, SIDE, SIDE).clone()
    torch.manual_seed(0)
    mixed = augmenter({kind: {"alpha": 1, "probability": 1}}).mixed(x)
    torch.testing.assert_close(mixed.x.mean(dim=(1, 2, 3)), mixed.targets(target))
    assert not torch.equal(mixed.targets(target), target)
    if kind == "cutmix":
        assert set(mixed.x.flatten().tolist()) <= set(target.tolist())


def test_each_batch_takes_one_of_mixup_and_cutmix() -> None:
    x = torch.arange(8.0)[:, None, None, None].expand(8, 1, SIDE, SIDE)
    both = augmenter({"mixup": {"alpha": 5}, "cutmix": {"probability": 1}})
    torch.manual_seed(0)
    whole = [float(torch.frac(both.mixed(x).x).abs().max()) < 1e-3 for _ in range(40)]
    assert 8 < sum(whole) < 32


def test_what_is_drawn_follows_from_torch_s_state() -> None:
    asked: dict[str, Any] = {
        "flip": {}, "rotate": {}, "crop": {}, "color": {}, "noise": {}, "cutout": {},
    }  # fmt: skip
    x = torch.rand(8, 3, SIDE, SIDE)
    results = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        results.append(augmenter(asked, channels=3).images(x))
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


OF_CLASSES = (options_pb2.BINARY, options_pb2.MULTICLASS, options_pb2.MULTILABEL)
SOFT = sorted(
    name
    for name in {loss for task in OF_CLASSES for loss in losses_of(task)}
    if facts_of(name).soft_targets
)


def test_some_losses_take_soft_targets() -> None:
    assert {"cross_entropy", "bce_with_logits", "focal_binary"} <= set(SOFT)


@pytest.mark.parametrize("name", SOFT)
def test_losses_that_are_said_to_take_soft_targets_do(name: str) -> None:
    of_classes = options_pb2.MULTICLASS in facts_of(name).tasks
    pred = torch.randn(6, 3)
    target = torch.rand(6, 3).softmax(dim=1)
    inputs = {"pred": pred, ("target_prob" if of_classes else "target"): target}
    if name == "bce":
        # It takes probabilities.
        inputs["pred"] = pred.sigmoid()
    assert torch.isfinite(evaluate(name, inputs))
