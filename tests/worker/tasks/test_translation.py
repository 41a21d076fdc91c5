"""Image translation: what is learnt and evaluated is what the images say."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, tasks
from talweg.worker.data import DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks.image_translation.task import psnr, ssim
from talweg.worker.tasks.segmentation.task import NUM_SHOWN
from talweg.worker.training import NeverStop, RecordingReporter, Result, run
from talweg.worker.training.evaluation import HeldSplit, evaluate


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "task": "image_translation",
        "dataset": {"digit_scenes": {"num_samples": 60}},
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": "mae",
        "training": {"epochs": 1, "batch_size": 12},
        **changes,
    }


def trained(**changes: Any) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec(**changes)), report=report, control=NeverStop(), device="cpu")
    return result, report


def likeness(answer: np.ndarray[Any, Any], target: np.ndarray[Any, Any]) -> float:
    """SSIM of two images (H, W) by its definition: weighed moments of windows of 11×11 pixels."""
    weights = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        blurred = correlate1d(correlate1d(values, weights, axis=0), weights, axis=1)
        return np.asarray(blurred[5:-5, 5:-5])

    a, b = mean(answer), mean(target)
    aa, bb = mean(answer**2) - a**2, mean(target**2) - b**2
    ab = mean(answer * target) - a * b
    shares = (2 * a * b + 0.01**2) * (2 * ab + 0.03**2)
    return float((shares / ((a**2 + b**2 + 0.01**2) * (aa + bb + 0.03**2))).mean())


def test_metrics_are_means_over_images_by_their_definitions() -> None:
    filled = fill(from_dict(spec()))
    bundle = data.load(filled)
    task = tasks.make(filled, bundle)
    held = HeldSplit.of(bundle.train, task, torch.device("cpu"))
    found = evaluate(torch.nn.Identity(), task, held, batch_size=7)
    answers = bundle.train.x.double().numpy()
    target = bundle.train.arrays["image"].double().numpy()
    of_images = 10 * np.log10(1 / ((answers - target) ** 2).mean(axis=(1, 2, 3)))
    assert found.values["psnr"] == pytest.approx(of_images.mean(), rel=1e-9)
    alike = [likeness(a[0], b[0]) for a, b in zip(answers, target, strict=True)]
    assert found.values["ssim"] == pytest.approx(np.mean(alike), abs=1e-5)
    assert found.values["loss"] == pytest.approx(np.abs(answers - target).mean(), rel=1e-5)
    assert found.shown["target"].shape == (NUM_SHOWN, 1, 64, 64)
    assert np.array_equal(found.shown["answer"], bundle.train.x[:NUM_SHOWN].numpy())
    assert found.predictions is None


def test_what_agrees_has_a_finite_value() -> None:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert psnr(image, image).tolist() == [100, 100]
    assert ssim(image, image).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert psnr(image + 0.1, image).tolist() == pytest.approx([20, 20], abs=1e-4)


@pytest.mark.parametrize(
    "loss",
    [
        "mse", "charbonnier", "ssim", {"ssim": {"window_size": 7}},
        {"sum": {"terms": [{"loss": "mae"}, {"loss": "total_variation", "weight": 0.01}]}},
    ],
    ids=str,
)  # fmt: skip
def test_every_loss_of_images_trains(loss: Any) -> None:
    result, report = trained(loss=loss)
    assert result.state == Job.SUCCEEDED, result.message
    assert report.last("train/loss") != report.series("train/loss")[0][1]
    expected = {"loss", *(metric.name for metric in metrics_of(from_dict(spec())))}
    assert expected <= {name.removeprefix("test/") for name in report.points[-1][1]}
    assert result.model is not None
    with torch.no_grad():
        assert result.model(torch.zeros(3, 1, 64, 64)).shape == (3, 1, 64, 64)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (torch.full((4, 1, 64, 64), 1.5), r"train data must be in \[0, 1\], but got 1.5 to 1.5"),
        (torch.full((4, 1, 64, 64), float("nan")), "but got nan to nan"),
        (torch.zeros(4, 1, 64, 32), "image of the train data must be .* H = 64, W = 64"),
        (torch.zeros(4, 64, 64), "image of the train data must be .* of shape"),
        (torch.zeros(4, 1, 64, 64, dtype=torch.long), "must be floating point numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused(image: torch.Tensor, found: str) -> None:
    filled = fill(from_dict(spec()))
    part = DataSplit({"x": torch.zeros(4, 1, 64, 64), "image": image})
    with pytest.raises(UserSpecError, match=found):
        tasks.make(filled, replace(data.load(filled), train=part))


def test_images_smaller_than_the_window_are_refused() -> None:
    filled = fill(from_dict(spec()))
    part = DataSplit({"x": torch.zeros(4, 1, 10, 64), "image": torch.zeros(4, 1, 10, 64)})
    with pytest.raises(UserSpecError, match="at least 11 pixels, but got 10×64"):
        tasks.make(filled, replace(data.load(filled), train=part))
