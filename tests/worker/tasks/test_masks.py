"""Segmentation: what is learnt and evaluated is what the masks say."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score
from torch import nn

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, tasks
from talweg.worker.data import DataBundle
from talweg.worker.tasks.segmentation.task import NUM_SHOWN, Segmentation, overlaps
from talweg.worker.training import NeverStop, RecordingReporter, Result, run
from talweg.worker.training.evaluation import HeldSplit, evaluate

FOREGROUND = {"segmentation": {"target": "foreground"}}
SCENES = {"digit_scenes": {"num_samples": 60, "min_scale": 2, "max_scale": 4, "noise": 0.1}}


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "task": "segmentation",
        "dataset": SCENES,
        "model": {"unet": {"channels": [4, 8], "patch": 2}},
        "loss": "ce_dice",
        "training": {"epochs": 1, "batch_size": 12},
        **changes,
    }


def made(**changes: Any) -> tuple[Segmentation, DataBundle]:
    filled = fill(from_dict(spec(**changes)))
    bundle = data.load(filled)
    task = tasks.make(filled, bundle)
    assert isinstance(task, Segmentation)
    return task, bundle


def trained(**changes: Any) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec(**changes)), report=report, control=NeverStop(), device="cpu")
    return result, report


class Noise(nn.Module):
    """Says of each pixel what its own seed says, whatever the batches are."""

    def __init__(self, task: Segmentation, x: torch.Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        size = (len(x), task.num_outputs, *x.shape[2:])
        self._outputs = torch.randn(size, generator=generator)
        self._at = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._at += len(x)
        return self._outputs[self._at - len(x) : self._at]


@pytest.mark.parametrize("task_spec", ["segmentation", FOREGROUND])
def test_metrics_are_scikit_learns_over_all_pixels(task_spec: Any) -> None:
    loss = "ce_dice" if task_spec == "segmentation" else "bce_with_logits"
    task, bundle = made(task=task_spec, loss=loss)
    held = HeldSplit.of(bundle.train, task, torch.device("cpu"))
    model = Noise(task, bundle.train.x)
    found = evaluate(model, task, held, batch_size=7)
    mask = bundle.train.arrays["mask"].flatten().numpy()
    answers = task.postprocess.classes(model._outputs, task.threshold).flatten().numpy()
    if task_spec != "segmentation":
        mask = (mask > 0).astype(int)
    classes = range(1, len(task.class_names))
    options: Any = {"labels": list(classes), "average": None}
    iou = jaccard_score(mask, answers, **options)
    assert found.values["mean_iou"] == pytest.approx(iou.mean())
    assert found.values["dice"] == pytest.approx(f1_score(mask, answers, **options).mean())
    precision = precision_score(mask, answers, **options).mean()
    recall = recall_score(mask, answers, **options).mean()
    assert found.values["precision"] == pytest.approx(precision)
    assert found.values["recall"] == pytest.approx(recall)
    assert abs(precision - recall) > 0.01
    if task_spec == "segmentation":
        by_class = [found.values[f"iou_{name}"] for name in task.class_names[1:]]
        assert by_class == pytest.approx(iou)
    target = task.arrays(bundle.train)["target"]
    whole = float(task.criterion({"pred": model._outputs, "target": target}))
    assert found.values["loss"] == pytest.approx(whole, rel=1e-4)
    assert found.shown["image"].shape == (NUM_SHOWN, 1, 64, 64)
    assert np.array_equal(found.shown["mask"], mask.reshape(-1, 64, 64)[:NUM_SHOWN])
    assert found.predictions is None


def test_a_class_that_nobody_saw_or_named_counts_for_nothing() -> None:
    pairs = np.zeros((4, 4), np.int64)
    pairs[0, 0], pairs[1, 1], pairs[1, 2] = 90, 6, 4
    values = overlaps(pairs, ("background", "a", "b", "c"))
    assert values["iou_a"] == 0.6
    assert values["iou_b"] == 0
    assert "iou_c" not in values
    assert values["mean_iou"] == pytest.approx(0.3)
    assert values["precision"] == pytest.approx((1 + 0) / 2)
    assert values["recall"] == pytest.approx((0.6 + 0) / 2)
    assert overlaps(np.array([[9, 0], [0, 0]]), ("no", "yes")) == {}


def test_foreground_that_is_never_answered_has_no_precision_and_no_recall() -> None:
    values = overlaps(np.array([[9, 0], [3, 0]]), ("no", "yes"))
    assert values == {"mean_iou": 0, "dice": 0, "precision": 0, "recall": 0}


@pytest.mark.parametrize(
    "loss",
    [
        "cross_entropy", {"cross_entropy": {"weight": "balanced"}}, "focal", "lovasz_softmax",
        "dice", "jaccard", "tversky", "focal_tversky",
        {"sum": {"terms": [{"loss": "cross_entropy"}, {"loss": "dice"}]}},
    ],
)  # fmt: skip
def test_every_loss_of_classes_trains(loss: Any) -> None:
    result, report = trained(loss=loss)
    assert result.state == Job.SUCCEEDED, result.message
    first = report.series("train/loss")[0][1]
    assert report.last("train/loss") != first
    expected = {m.name for m in metrics_of(from_dict(spec())) if not m.by_class}
    assert expected <= {name.removeprefix("test/") for name in report.points[-1][1]}


@pytest.mark.parametrize(
    "loss",
    [
        "bce", "focal_binary", "lovasz_hinge", "dice", "jaccard", "tversky", "focal_tversky",
        {"bce_with_logits": {"pos_weight": "balanced"}},
    ],
)  # fmt: skip
def test_every_loss_of_foreground_trains(loss: Any) -> None:
    result, report = trained(loss=loss, task=FOREGROUND)
    assert result.state == Job.SUCCEEDED, result.message
    assert 0 <= report.last("test/mean_iou") <= 1
    assert not report.series("test/iou_background")


def test_weights_are_counted_over_pixels() -> None:
    _, report = trained(loss={"cross_entropy": {"weight": "balanced"}})
    bundle = data.load(fill(from_dict(spec())))
    counts = torch.bincount(bundle.train.arrays["mask"].flatten(), minlength=11)
    assert report.parameters["train.class_counts"] == str(counts.tolist())
    _, report = trained(loss={"bce_with_logits": {"pos_weight": "balanced"}}, task=FOREGROUND)
    weight = float(report.parameters["loss.bce_with_logits.pos_weight.values"].strip("[]"))
    assert weight == pytest.approx(float(counts[0] / counts[1:].sum()))


def test_a_unet_learns_where_the_digits_are() -> None:
    result, report = trained(
        task=FOREGROUND, loss="bce_with_logits", training={"epochs": 12, "batch_size": 6},
        optimizer={"adamw": {"learning_rate": 0.01}},
    )  # fmt: skip
    assert result.state == Job.SUCCEEDED
    assert report.last("test/mean_iou") > 0.6
    assert result.model is not None
    x = data.load(fill(from_dict(spec()))).test.x
    with torch.no_grad():
        assert result.model(x).shape == (len(x), 1, 64, 64)
