"""The detector's example ends above simple baselines, computed on the same split."""

import numpy as np
import pytest
import torch
from tests.integration.examples import run_example
from tests.integration.stack import Stack

from talweg.spec import fill
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, models, tasks
from talweg.worker.tasks.detection.metrics import box_metrics
from talweg.worker.training.evaluation import HeldSplit, evaluate


def of_right_boxes_with_every_class(spec: JobSpec) -> float:
    """mAP@.5 of a predictor that knows where everything is, and not what: it says every digit."""
    test = data.load(spec).test
    rng = np.random.default_rng(0)
    digits = np.arange(1, 11)
    true, found = [], []
    for boxes, classes, count in zip(
        *(test.arrays[name].numpy() for name in ("boxes", "classes", "count")), strict=True
    ):
        true.append((boxes[:count].astype(np.float64), classes[:count]))
        places = true[-1][0].repeat(10, axis=0)
        found.append((places, np.tile(digits, count), rng.random(len(places))))
    return box_metrics(true, found)["map_50"]


def of_an_untrained_network(spec: JobSpec) -> float:
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    model = models.build(spec.model, bundle.inputs.shape, task.num_outputs, seed=0)
    held = HeldSplit.of(bundle.test, task, torch.device("cpu"))
    return evaluate(model, task, held, batch_size=8).values["map_50"]


@pytest.mark.faults
@pytest.mark.timeout(2400)
def test_found_boxes_are_above_right_boxes_without_classes(stack: Stack) -> None:
    # Five of its eight epochs are enough for that.
    ran = run_example(stack, "detection_scenes", "training.epochs=5")
    assert fill(ran.spec) == ran.spec
    baseline = of_right_boxes_with_every_class(ran.spec)
    assert of_an_untrained_network(ran.spec) < 0.01 < 0.08 < baseline < 0.15
    assert ran.metrics["test/map_50"] > 0.1 + baseline
    assert ran.metrics["test/mean_iou"] > 0.6
    assert ran.plots == {"loss_curve", "boxes"}
    # x1, y1, x2, y2, score and class of a hundred boxes.
    assert ran.predicts()[1:] == (100, 6)
