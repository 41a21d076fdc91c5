"""Examples on scenes of digits end above simple baselines, computed on the same split.

Masks and two heads take minutes to learn, which `make faults` waits for; `make test` trains them
for 40 steps, and looks at what they leave.
"""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import jaccard_score
from tests.integration.examples import EXAMPLES, Ran, assert_unwarned, run_example
from tests.integration.stack import Stack

from talweg.client import Client
from talweg.client.sweeps._files import read_sweep
from talweg.spec.sweeps import Plan, fill_sweep
from talweg.worker import data
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.tasks.image_translation.task import psnr, ssim

_REACH = 3
SHORTENED = (
    "dataset.digit_scenes.num_samples=200",
    "training.epochs=2",
    "training.evaluate_every_epochs=1",
)


def patches(part: DataSplit) -> NDArray[np.float32]:
    """Return the 7×7 pixels around each pixel (N, 64, 64, 49)."""
    images = np.pad(part.x[:, 0].numpy(), ((0, 0), (_REACH, _REACH), (_REACH, _REACH)))
    side = 2 * _REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))
    return windows.reshape(*windows.shape[:3], -1)


def iou_of_logistic_regression(bundle: DataBundle) -> float:
    """Mean IoU over the digits of a linear classifier of each pixel by its surroundings."""
    mask = bundle.train.arrays["mask"].numpy()
    rng = np.random.default_rng(0)
    # All pixels of digits would be slow, and of the background too many.
    chosen = rng.random(mask.shape) < np.where(mask > 0, 0.1, 0.01)
    linear = LogisticRegression(C=0.1, max_iter=50, tol=1e-2)
    linear.fit(patches(bundle.train)[chosen], mask[chosen])
    truth = bundle.test.arrays["mask"].numpy().flatten()
    around = patches(bundle.test).reshape(len(truth), -1)
    answers = (around @ linear.coef_.T + linear.intercept_).argmax(axis=1)
    return float(jaccard_score(truth, answers, labels=range(1, 11), average="macro"))


def simple_answers(bundle: DataBundle) -> dict[str, NDArray[np.float32]]:
    """Clean scenes (N, 1, 64, 64) of the test data, as simple means give them."""
    scaler = bundle.inputs.scaler
    assert scaler is not None
    noisy = scaler.unscale(bundle.test.x.double().numpy()).astype(np.float32)
    chosen = np.random.default_rng(0).random(bundle.train.arrays["image"][:, 0].shape) < 0.02
    linear = LinearRegression()
    linear.fit(patches(bundle.train)[chosen], bundle.train.arrays["image"][:, 0].numpy()[chosen])
    by_surroundings = patches(bundle.test) @ linear.coef_ + linear.intercept_
    return {
        "the noisy scene": noisy,
        "a Gaussian filter": gaussian_filter(noisy, 1, axes=(2, 3)),
        "a median filter": median_filter(noisy, (1, 1, 5, 5)),
        "black": np.zeros_like(noisy),
        "least squares by the surroundings": by_surroundings[:, None].astype(np.float32),
    }


@pytest.fixture(scope="module")
def masks_alone(stack: Stack) -> Ran:
    return run_example(stack, "segmentation_scenes")


def test_a_shortened_segmentation_is_above_chance_and_arrives_whole(stack: Stack) -> None:
    ran = run_example(stack, "segmentation_scenes", *SHORTENED)
    # Nearly every pixel is background, which 40 steps find out.
    assert ran.metrics["test/loss"] < 0.5 * math.log(11)
    assert ran.plots == {"loss_curve", "masks", "iou_by_class"}
    assert ran.predicts()[1:] == (11, 64, 64)


@pytest.mark.faults
def test_two_shortened_heads_balance_their_weights_and_arrive_whole(stack: Stack) -> None:
    ran = run_example(stack, "multitask_scenes", *SHORTENED)
    assert ran.metrics["test/segmentation/loss"] < 0.5 * math.log(11)
    assert_two_heads_are_whole(ran)


def assert_two_heads_are_whole(ran: Ran) -> None:
    weights = [ran.metrics[f"weights/{head}"] for head in ("segmentation", "depth")]
    assert sum(weights) == pytest.approx(2, rel=1e-4)
    assert weights[0] != weights[1]
    assert ran.plots == {
        "loss_curve", "task_weights", "segmentation_masks", "segmentation_iou_by_class",
        "depth_map",
    }  # fmt: skip
    # Both heads' answers, flattened, one after another.
    assert ran.predicts()[1:] == (12 * 64 * 64,)


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_segmentation_is_above_a_linear_classifier_of_pixels(masks_alone: Ran) -> None:
    ran = masks_alone
    baseline = iou_of_logistic_regression(ran.bundle)
    assert 0.005 < baseline < 0.1
    assert ran.metrics["test/mean_iou"] > 0.05 + baseline


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_two_heads_are_above_one_and_above_the_mean(stack: Stack, masks_alone: Ran) -> None:
    ran = run_example(stack, "multitask_scenes")
    assert ran.spec.split == masks_alone.spec.split
    assert ran.spec.training == masks_alone.spec.training
    # The same masks, steps and trunk, with the depth to be learnt beside them.
    assert ran.metrics["test/segmentation/mean_iou"] > masks_alone.metrics["test/mean_iou"]
    train, test = (part.arrays["depth"] for part in (ran.bundle.train, ran.bundle.test))
    of_mean = float((test - train.mean()).square().mean().sqrt())
    assert ran.metrics["test/depth/rmse"] < 0.95 * of_mean
    assert abs(ran.metrics["weights/segmentation"] - ran.metrics["weights/depth"]) > 0.1
    assert_two_heads_are_whole(ran)


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_scenes_without_noise_are_above_filters_and_least_squares(stack: Stack) -> None:
    # A third of its training is enough for that.
    ran = run_example(stack, "image_translation_scenes", "training.epochs=1")
    target = ran.bundle.test.arrays["image"]
    answers = simple_answers(ran.bundle)
    found = {name: torch.from_numpy(answer) for name, answer in answers.items()}
    baselines = {name: float(psnr(answer, target).mean()) for name, answer in found.items()}
    # The noise is so strong that no filter helps much, and that black is nearer.
    assert 9 < baselines["the noisy scene"] < baselines["a median filter"] < 11
    assert ran.metrics["test/psnr"] > 3 + max(baselines.values())
    assert ran.metrics["test/ssim"] > max(float(ssim(a, target).mean()) for a in found.values())
    assert ran.plots == {"loss_curve", "images"}
    assert ran.predicts()[1:] == (1, 64, 64)


def test_the_first_job_of_the_rare_foreground_study_runs(stack: Stack) -> None:
    plan = Plan(fill_sweep(read_sweep(EXAMPLES / "sweeps/study_rare_foreground.yaml")))
    assert (plan.num_trials, plan.num_jobs) == (3, 15)
    first = plan.job(plan.trial(1).setting, 0)
    # Shortened: 24 training scenes instead of 300, and one epoch.
    first.dataset.digit_scenes.num_samples = 40
    first.training.epochs = 1
    with Client(stack.address) as client:
        job = client.submit(first)
        metrics = job.wait(720).result().metrics
        assert_unwarned(job)
    share = (data.load(job.spec).train.arrays["mask"] > 0).float().mean()
    assert 0.002 < share < 0.006
    assert {f"test/{name}" for name in ("precision", "recall", "mean_iou")} <= set(metrics)
