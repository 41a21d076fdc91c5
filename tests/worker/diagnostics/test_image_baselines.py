"""Baselines of masks, images and boxes: what scikit-learn reaches, by the task's own metrics."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.worker.training.jobs import job, run

from talweg.worker import data
from talweg.worker.data import DataSplit
from talweg.worker.diagnostics.baselines import objects, pixels
from talweg.worker.tasks.detection.predictions import overlaps_of
from talweg.worker.tasks.segmentation.task import Segmentation

SCENES: dict[str, Any] = {"digit_scenes": {"num_samples": 60, "noise": 0.1}}


def told(baseline: Any, **fields: Any) -> tuple[dict[str, float], Any, Any]:
    """Return all metrics of a job of one step, its spec and its report."""
    spec = job(dataset=SCENES, training={"steps": 1}, diagnostics={"baseline": baseline}, **fields)
    _, report = run(spec, may_be_unwell=True)
    values = {name: value for _, some in report.points for name, value in some.items()}
    return values, spec, report


def test_masks_are_those_of_a_model_of_pixels() -> None:
    values, spec, report = told(
        {"gradient_boosting": False},
        task={"segmentation": {"target": "foreground"}},
        model={"unet": {"channels": [4]}},
        loss="bce_with_logits",
    )
    bundle = data.load(spec)

    def parts(part: DataSplit) -> tuple[Any, Any]:
        x = np.concatenate([pixels.features(image) for image in part.x.numpy()])
        return x, (part.arrays["mask"].numpy() > 0).reshape(-1)

    (x, y), (x_test, y_test) = parts(bundle.train), parts(bundle.test)
    # All pixels, where the baseline draws some.
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    own = jaccard_score(y_test, model.predict(x_test))
    assert own > 0.6
    assert values["linear/mean_iou"] == pytest.approx(own, abs=0.02)
    assert not [name for name in values if name.startswith("gradient_boosting")]
    assert any("linear (scikit-learn) reaches mean_iou" in line for line in report.lines)


def test_pixels_without_a_class_are_not_learnt() -> None:
    mask = torch.zeros(2, 8, 8, dtype=torch.int64)
    mask[:, :4], mask[:, 4] = 255, 1
    part = DataSplit({"x": torch.rand(2, 1, 8, 8), "mask": mask})
    x, y = pixels._learnt(part, mask[:, None], 2, seed=0)
    assert len(x) == len(y) == 2 * 32
    assert set(y[:, 0]) == {0, 1}


def test_too_many_pixels_are_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job(task="segmentation", dataset=SCENES, model="unet", loss="cross_entropy",
               diagnostics={"baseline": {}})  # fmt: skip
    bundle = data.load(spec)
    task = Segmentation(spec, bundle)
    asked, reason = pixels.asked_of(task, spec, bundle)
    assert (asked.gradient_boosting, asked.linear, reason) == (True, True, "")
    count = bundle.test.x.numel()
    monkeypatch.setattr(pixels, "_MOST_TREES", count * 11 - 1)
    asked, reason = pixels.asked_of(task, spec, bundle)
    assert (asked.gradient_boosting, asked.linear) == (False, True)
    assert f"{count:,} test pixels for each of 11 classes" in reason
    # Of two classes there is one tree in each round, however many the data tell apart.
    spec.task.segmentation.target = spec.task.segmentation.foreground
    asked, reason = pixels.asked_of(Segmentation(spec, bundle), spec, bundle)
    assert (asked.gradient_boosting, reason) == (True, "")
    monkeypatch.setattr(pixels, "_MOST_NUMBERS", count - 1)
    asked, reason = pixels.asked_of(task, spec, bundle)
    assert (asked.gradient_boosting, asked.linear) == (False, False)
    assert f"{len(bundle.test)} test images of 4,096 numbers" in reason


def test_images_come_nearer_to_their_targets_than_the_inputs_are() -> None:
    values, spec, _ = told({}, task="image_translation", model={"unet": {"channels": [4]}},
                           loss="mse", preprocessing={"standardise_inputs": False})  # fmt: skip
    bundle = data.load(spec)
    error = (bundle.test.x - bundle.test.arrays["image"]).square().flatten(1).mean(dim=1)
    as_they_are = float((-10 * error.log10()).mean())
    assert values["linear/psnr"] > as_they_are + 1
    assert values["gradient_boosting/psnr"] > as_they_are + 1
    assert 0 < values["linear/ssim"] < values["gradient_boosting/ssim"] <= 1


def test_candidates_are_the_boxes_of_what_stands_out() -> None:
    image = np.full((3, 64, 64), 0.4, np.float32)
    image[:, 10:20, 5:25] = 0.9
    image[0, 40:56, 30:44] = 0.0
    boxes = torch.from_numpy(objects.candidates(image))
    true = torch.tensor([[5.0, 10, 25, 20], [30, 40, 44, 56]])
    assert (overlaps_of(true, boxes).amax(dim=1) > 0.8).all()
    assert len(boxes) < 40
    flat = objects.candidates(np.zeros((1, 8, 6), np.float32))
    assert flat.tolist() == [[0, 0, 6, 8]]


def test_boxes_find_objects_that_stand_out() -> None:
    values, spec, _ = told({"gradient_boosting": False}, task={"detection": {"radius": 1}},
                           model={"detector": {"channels": [4]}}, loss="detection")  # fmt: skip
    assert {"linear/map_50", "linear/mean_iou"} <= values.keys()
    assert values["linear/mean_iou"] > 0.6
    # The boxes are right where classes are not asked for: half of the digits have one.
    bundle = data.load(spec)
    found = 0
    for index in range(len(bundle.test)):
        true, _ = objects._objects(bundle.test, index)
        boxes = torch.from_numpy(objects.candidates(bundle.test.x[index].numpy())).double()
        found += bool((overlaps_of(torch.from_numpy(true), boxes).amax(dim=1) > 0.5).any())
    assert found > len(bundle.test) / 2
