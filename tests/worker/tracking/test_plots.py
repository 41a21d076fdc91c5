"""The pictures of a run: there, readable in size, and not empty, whatever the data looks like."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from talweg.spec import fill, from_dict, to_dict
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks.common.plots.loss_curve import thinned
from talweg.worker.tracking import spool
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.plots.task import draw_all
from talweg.worker.tracking.spool import Point, SpoolWriter

RANDOM = np.random.default_rng(0)
REGRESSION = {"task": "regression", "dataset": "diabetes", "model": "linear", "loss": "mse"}
CLASSES = {
    "task": "multiclass",
    "dataset": {"synthetic_classification": {"num_classes": 300}},
    "model": "linear",
    "loss": "cross_entropy",
}
LABELS = {
    "task": "multilabel",
    "dataset": "synthetic_multilabel",
    "model": "linear",
    "loss": "bce_with_logits",
}
LONG = "a name that is much longer than there is room for"


def drawn(
    folder: Path,
    spec: dict[str, Any],
    points: list[Point],
    y_true: np.ndarray[Any, Any] | None,
    y_pred: np.ndarray[Any, Any] | None,
    **data: Any,
) -> dict[str, np.ndarray[Any, Any]]:
    shown = {} if y_true is None or y_pred is None else {"y_true": y_true, "y_pred": y_pred}
    return drawn_from(folder, spec, points, shown, **data)


def drawn_from(
    folder: Path, spec: dict[str, Any], points: list[Point], shown: dict[str, Any], **data: Any
) -> dict[str, np.ndarray[Any, Any]]:
    folder.mkdir(exist_ok=True)
    filled: JobSpec = fill(from_dict(spec))
    with SpoolWriter(folder, job_id="abc", attempt=1) as writer:
        writer.begin(worker="w", spec=to_dict(filled))
        writer.data(name="x", digest="d", **data)
        writer.points(points)
        if shown:
            tensors = {name: torch.as_tensor(array) for name, array in shown.items()}
            writer.tensors(spool.PREDICTIONS, tensors)
    attempt = SpooledAttempt(folder / "abc", 1)
    list(attempt.unsent(0))
    (folder / "plots").mkdir()
    draw_all(attempt, filled, folder / "plots")
    return {path.stem: imread(path) for path in (folder / "plots").iterdir()}


def curve(count: int) -> list[Point]:
    return [(step, step, {"train/loss": 9.0 / step, "val/loss": 1.0}) for step in range(1, count)]


NUMBERS = RANDOM.normal(size=(500, 7))
MANY = RANDOM.integers(0, 300, size=4000)
MARKS = RANDOM.integers(0, 2, size=(50, 40))


@pytest.mark.parametrize(
    ("spec", "points", "y_true", "y_pred", "data"),
    [
        (REGRESSION, curve(5), NUMBERS[:, 0], NUMBERS[:, 1], {"target_names": ["y"]}),
        (REGRESSION, curve(9000), NUMBERS, NUMBERS + 1, {"target_names": [LONG] * 7}),
        (REGRESSION, [(1, 1, {"train/loss": -2.0})], NUMBERS[:1, 0], NUMBERS[:1, 0], {}),
        (CLASSES, curve(5), MANY, MANY[::-1].copy(), {"class_names": [LONG] * 300}),
        (CLASSES, curve(5), MANY % 3, MANY % 2, {"class_names": ["a", "b", LONG]}),
        (LABELS, curve(5), MARKS, MARKS[::-1].copy(), {"class_names": [LONG] * 40}),
    ],
)
def test_every_picture_is_wide_and_shows_something(
    spec: dict[str, Any],
    points: list[Point],
    y_true: np.ndarray[Any, Any],
    y_pred: np.ndarray[Any, Any],
    data: dict[str, Any],
    tmp_path: Path,
) -> None:
    pictures = drawn(tmp_path, spec, points, y_true, y_pred, **data)
    second = "residuals" if spec is REGRESSION else "confusion_matrix"
    assert set(pictures) == {"loss_curve", second}
    for picture in pictures.values():
        height, width, _ = picture.shape
        assert width == 800
        assert 400 <= height <= 1200
        colours = (picture[..., :3] * 255).astype(int) @ [65536, 256, 1]
        assert len(np.unique(colours)) > 20


def test_the_curve_is_of_mean_losses_and_not_of_single_batches(tmp_path: Path) -> None:
    def picture(name: str, loss: float, mean: float) -> np.ndarray[Any, Any]:
        points: list[Point] = [
            (step, step, {"train/loss": loss * step, "train/loss_mean": mean * step})
            for step in range(1, 9)
        ]
        return drawn(tmp_path / name, REGRESSION, points, None, None)["loss_curve"]

    one = picture("one", 1.0, 1.0)
    assert np.array_equal(one, picture("other batches", 9.0, 1.0))
    assert not np.array_equal(one, picture("other means", 1.0, 9.0))


def test_without_points_or_predictions_nothing_is_drawn(tmp_path: Path) -> None:
    assert drawn(tmp_path, REGRESSION, [], None, None) == {}


def test_a_long_curve_keeps_its_ends_and_loses_every_second_point() -> None:
    points = [(step, float(step)) for step in range(10_001)]
    kept = thinned(points, most=1000)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert 400 < len(kept) <= 1001
    gaps = {later[0] - earlier[0] for earlier, later in zip(kept, kept[1:], strict=False)}
    assert len(gaps) <= 2
    assert thinned(points[:7], most=1000) == points[:7]
    assert thinned([], most=10) == []


def test_masks_beside_what_is_true(tmp_path: Path) -> None:
    spec = {"task": "segmentation", "dataset": "digit_scenes", "model": "unet", "loss": "ce_dice"}
    names = ["background", *map(str, range(10))]
    for folder, names_shown in (("classes", names), ("foreground", names[:2])):
        classes = len(names_shown)
        shown = {
            "image": RANDOM.normal(size=(4, 1, 64, 64)).astype(np.float32),
            "mask": RANDOM.integers(0, classes, (4, 64, 64), dtype=np.uint8),
            "answer": RANDOM.integers(0, classes, (4, 64, 64), dtype=np.uint8),
            "confusion": RANDOM.integers(0, 1000, (classes, classes)),
        }
        pictures = drawn_from(tmp_path / folder, spec, curve(3), shown, class_names=names)
        assert set(pictures) == {"loss_curve", "masks", "iou_by_class"}
        for picture in pictures.values():
            assert picture.shape[1] == 800
            colours = (picture[..., :3] * 255).astype(int) @ [65536, 256, 1]
            assert len(np.unique(colours)) > 20


def test_boxes_beside_true_ones(tmp_path: Path) -> None:
    spec = {
        "task": "detection", "dataset": "digit_scenes", "model": "detector", "loss": "detection",
    }  # fmt: skip
    names = ["background", *map(str, range(10))]
    for count in (1, 5):
        corner = RANDOM.uniform(0, 30, (count, 7, 2))
        boxes = np.concatenate([corner, corner + 20], axis=2).astype(np.float32)
        score = RANDOM.uniform(0.4, 1, (count, 7, 1))
        classes = RANDOM.integers(1, 11, (count, 7))
        found = np.concatenate([boxes, score, classes[..., None]], axis=2).astype(np.float32)
        shown = {
            "image": RANDOM.normal(size=(count, 1, 64, 64)).astype(np.float32),
            "boxes": boxes,
            "classes": classes,
            "count": np.arange(count) % 4,
            "found": found,
        }
        pictures = drawn_from(tmp_path / f"{count}", spec, curve(3), shown, class_names=names)
        assert set(pictures) == {"loss_curve", "boxes"}
        assert pictures["boxes"].shape[1] == 800
        # Of a low score none is drawn.
        shown["found"] = found * np.array([1, 1, 1, 1, 0.1, 1], np.float32)
        folder = tmp_path / f"{count} low"
        without = drawn_from(folder, spec, curve(3), shown, class_names=names)["boxes"]
        assert (without != pictures["boxes"]).any(axis=2).mean() > 0.001


def test_images_beside_what_should_come_of_them(tmp_path: Path) -> None:
    spec = {
        "task": "image_translation", "dataset": "digit_scenes", "model": "unet", "loss": "mae",
    }  # fmt: skip
    for channels in (1, 3):
        shape = (4, channels, 64, 64)
        shown = {
            name: RANDOM.normal(size=shape).astype(np.float32)
            for name in ("image", "target", "answer")
        }
        pictures = drawn_from(tmp_path / str(channels), spec, curve(3), shown)
        assert set(pictures) == {"loss_curve", "images"}
        assert pictures["images"].shape[1] == 800
        colours = (pictures["images"][..., :3] * 255).astype(int) @ [65536, 256, 1]
        assert len(np.unique(colours)) > 20


def test_each_heads_pictures_and_the_weights_over_time(tmp_path: Path) -> None:
    spec = {
        "task": {"multitask": {"heads": ["segmentation", "depth", "number", "detection"]}},
        "dataset": "digit_scenes",
        "model": "multi_head",
        "loss": {"uncertainty": {"losses": ["ce_dice", "mae", "mse", "detection"]}},
    }
    shown = {
        "segmentation/image": RANDOM.normal(size=(2, 3, 16, 16)).astype(np.float32),
        "segmentation/mask": RANDOM.integers(0, 11, (2, 16, 16), dtype=np.uint8),
        "segmentation/answer": RANDOM.integers(0, 11, (2, 16, 16), dtype=np.uint8),
        "segmentation/confusion": RANDOM.integers(0, 1000, (11, 11)),
        "depth/image": RANDOM.normal(size=(2, 1, 16, 16)).astype(np.float32),
        "depth/depth": RANDOM.normal(size=(2, 16, 16)).astype(np.float32),
        "depth/answer": RANDOM.normal(size=(2, 16, 16)).astype(np.float32),
        "detection/image": RANDOM.normal(size=(2, 1, 16, 16)).astype(np.float32),
        "detection/boxes": np.array([[[1, 2, 5, 8]], [[0, 0, 16, 9]]], np.float32),
        "detection/classes": np.array([[1], [10]]),
        "detection/count": np.array([1, 0]),
        "detection/found": np.array([[[1, 2, 5, 8, 0.9, 1]], [[0] * 6]], np.float32),
    }
    points: list[Point] = [
        (step, step, {"weights/segmentation": 1.0, "weights/depth": 2 / step, "train/loss": 1.0})
        for step in range(1, 9)
    ]
    names = ["background", *map(str, range(10))]
    pictures = drawn_from(tmp_path / "job", spec, points, shown, class_names=names)
    assert set(pictures) == {
        "loss_curve", "task_weights", "segmentation_masks", "segmentation_iou_by_class",
        "depth_map", "detection_boxes",
    }  # fmt: skip
    assert all(picture.shape[1] == 800 for picture in pictures.values())
