"""Detection: what is learnt and evaluated is what the boxes say."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.worker.tasks.test_boxes import plain_map
from torch import nn

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, models, tasks
from talweg.worker.artifacts.predictor import Predictor, describe
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import evaluate as loss_of
from talweg.worker.models import saved
from talweg.worker.models.architectures.detector import Locations
from talweg.worker.tasks import Batch
from talweg.worker.tasks.detection.predictions import find_boxes
from talweg.worker.tasks.detection.task import Detection
from talweg.worker.training import NeverStop, RecordingReporter, Result, run
from talweg.worker.training.batching.batches import Batches, Order, Plan
from talweg.worker.training.evaluation import HeldSplit, evaluate

SCENES = {"digit_scenes": {"num_samples": 60, "min_scale": 2, "max_scale": 4, "noise": 0.1}}
SMALL = {"detector": {"channels": [8, 16], "branch": 0}}


def spec(**changes: Any) -> dict[str, Any]:
    return {
        "task": "detection",
        "dataset": SCENES,
        "model": SMALL,
        "loss": "detection",
        "training": {"epochs": 1, "batch_size": 12},
        **changes,
    }


def made(**changes: Any) -> tuple[Detection, DataBundle]:
    filled = fill(from_dict(spec(**changes)))
    bundle = data.load(filled)
    task = tasks.make(filled, bundle)
    assert isinstance(task, Detection)
    return task, bundle


def trained(**changes: Any) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec(**changes)), report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


def network(**changes: Any) -> nn.Sequential:
    filled = fill(from_dict(spec(**changes)))
    return models.build(filled.model, (1, 64, 64), 15, seed=0)


def make_bold(model: nn.Sequential) -> None:
    """Let an untrained network find objects."""
    locations = model[-1]
    assert isinstance(locations, Locations)
    last = locations.classes[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    with torch.no_grad():
        last.bias.zero_()
        last.weight.mul_(100)


class Knowing(nn.Module):
    """Says what is true of each location, as far as it is told to."""

    def __init__(self, task: Detection, bundle: DataBundle, *, confident: float) -> None:
        super().__init__()
        targets = task.targets(bundle.train)
        logits = confident * nn.functional.one_hot(targets.classes, 11).movedim(-1, 1).float()
        self._outputs = torch.cat([logits, targets.boxes], dim=1)
        self._at = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._at += len(x)
        return self._outputs[self._at - len(x) : self._at]


def test_what_locations_learn_is_enough_to_find_every_object() -> None:
    task, bundle = made()
    held = HeldSplit.of(bundle.train, task, torch.device("cpu"))
    found = evaluate(Knowing(task, bundle, confident=20), task, held, batch_size=7)
    # But for digits that lie on one another, each has a location.
    assert found.values["map_50"] > 0.98
    assert found.values["mean_iou"] > 0.999
    assert found.values["loss"] == pytest.approx(0, abs=1e-4)
    assert found.shown["found"].shape == (6, 100, 6)
    assert np.array_equal(found.shown["boxes"], bundle.train.arrays["boxes"][:6].numpy())


def test_metrics_and_loss_do_not_depend_on_the_batches() -> None:
    task, bundle = made()
    held = HeldSplit.of(bundle.train, task, torch.device("cpu"))
    model = network()
    make_bold(model)
    one = evaluate(model, task, held, batch_size=7)
    all_at_once = evaluate(model, task, held, batch_size=100)
    assert one.values == pytest.approx(all_at_once.values, rel=1e-4)
    arrays = bundle.train.arrays
    true = [
        (boxes[:n].double().numpy(), classes[:n].numpy())
        for boxes, classes, n in zip(
            arrays["boxes"], arrays["classes"], arrays["count"], strict=True
        )
    ]
    with torch.no_grad():
        outputs = model.eval()(bundle.train.x)
        rows = find_boxes(outputs, task.postprocess).double().numpy()
    kept = [image[image[:, 5] > 0] for image in rows]
    found = [(image[:, :4], image[:, 5].astype(int), image[:, 4]) for image in kept]
    assert one.values["map_50"] == pytest.approx(plain_map(true, found), abs=1e-6)


@pytest.mark.parametrize("every", [1, 2])
def test_images_without_objects_count_no_more_alone_than_among_others(every: int) -> None:
    task, bundle = made()
    arrays = bundle.train.arrays
    count = arrays["count"].clone()
    count[::every] = 0
    held = HeldSplit.of(DataSplit({**arrays, "count": count}), task, torch.device("cpu"))
    alone, together = (
        evaluate(network(), task, held, batch_size=size).values["loss"] for size in (1, 100)
    )
    assert alone == pytest.approx(together, rel=1e-4)


def test_the_loss_is_the_catalogues_divided_by_the_locations_that_hold_an_object() -> None:
    parts = {"class_loss": {"focal": {"gamma": 1.5}}, "box_loss": "ciou", "box_weight": 2.5}
    task, bundle = made(loss={"detection": parts})
    model = network()
    batch = Batch(task.arrays(bundle.train))
    outputs = model(batch.x).detach()
    held = batch.target > 0
    assert 60 < int(held.sum()) < 0.3 * held.numel()
    boxes = {
        "boxes": outputs[:, 11:].movedim(1, -1)[held],
        "target_boxes": batch.arrays["target_boxes"].movedim(1, -1)[held],
    }
    classes = {"pred": outputs[:, :11], "target": batch.target}
    focal = loss_of({"focal": {"gamma": 1.5, "reduction": "sum"}}, classes)
    ciou = loss_of("ciou", {"pred": boxes["boxes"], "target": boxes["target_boxes"]})
    found = task.criterion(task.loss_inputs(outputs, batch))
    assert float(found) == pytest.approx(float(focal / held.sum() + 2.5 * ciou), rel=1e-5)


def test_a_batch_without_objects_teaches_the_background() -> None:
    task, bundle = made()
    inputs = {
        "pred": network()(bundle.train.x[:3]).detach().requires_grad_(),
        "target": torch.zeros(3, 16, 16, dtype=torch.long),
        "target_boxes": torch.zeros(3, 4, 16, 16),
    }
    loss = task.criterion(inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    assert 0 < float(loss.detach()) < 10
    slope = inputs["pred"].grad
    assert slope is not None
    assert bool((slope[:, 0] < 0).all())
    assert not slope[:, 11:].any()


def test_batches_of_a_step_are_one_batch() -> None:
    task, bundle = made()
    arrays = task.arrays(bundle.train)
    filled = fill(from_dict(spec(training={"batch_size": 16, "accumulation": 3, "steps": 1})))
    plan = Plan.of(filled.training, len(bundle.train), sums=False)
    batches = Batches(arrays, plan, divisor=task.divisor(arrays))
    window = next(iter(batches.of_epoch(Order(0))))
    model = network().eval()
    with torch.no_grad():
        parts = [task.criterion(task.loss_inputs(model(b.x), b)) * b.share for b in window]
        merged = {name: torch.cat([b.arrays[name] for b in window]) for name in arrays}
        whole = task.criterion(task.loss_inputs(model(merged["x"]), Batch(merged)))
    assert float(sum(parts)) == pytest.approx(float(whole), rel=1e-5)


def test_at_first_every_location_says_background() -> None:
    model = network()
    with torch.no_grad():
        outputs = model(torch.randn(4, 1, 64, 64))
    assert outputs.shape == (4, 15, 16, 16)
    classes = outputs[:, :11].softmax(dim=1)
    assert float(classes[:, 1:].sum(dim=1).mean()) == pytest.approx(0.01, rel=0.2)
    x1, y1, x2, y2 = outputs[:, 11:].unbind(1)
    assert float((x2 - x1).mean()) == pytest.approx(4 * math.log(2), rel=0.2)
    assert float(((x1 + x2) / 2)[:, 0, 5].mean()) == pytest.approx(22, abs=1)
    assert float(((y1 + y2) / 2)[:, 9, 0].mean()) == pytest.approx(38, abs=1)
    names = {type(module) for module in model.modules()}
    assert nn.GroupNorm in names
    assert nn.BatchNorm2d not in names


@pytest.mark.parametrize(
    "loss",
    [
        {"detection": {"class_loss": "cross_entropy", "box_loss": "iou"}},
        {"detection": {"class_loss": {"cross_entropy": {"weight": "balanced"}}}},
        {"detection": {"class_loss": {"focal": {"alpha": "balanced"}}, "box_loss": "diou"}},
        {"detection": {"box_loss": {"smooth_l1": {"beta": 2}}, "box_weight": 0.1}},
        {"detection": {"box_loss": "mae", "box_weight": 0.1}},
        {"sum": {"terms": [{"loss": "detection"}, {"loss": {"detection": {
            "box_loss": "ciou", "class_weight": 0}}}]}},
    ],
    ids=str,
)  # fmt: skip
def test_every_loss_of_objects_trains(loss: Any) -> None:
    result, report = trained(loss=loss)
    assert report.last("train/loss") != report.series("train/loss")[0][1]
    expected = {"loss", "map_50"}
    assert expected <= {name.removeprefix("test/") for name in report.points[-1][1]}
    assert {m.name for m in metrics_of(from_dict(spec()))} == {"map_50", "mean_iou"}
    assert result.model is not None
    with torch.no_grad():
        assert result.model(torch.zeros(3, 1, 64, 64)).shape == (3, 15, 16, 16)


def test_weights_are_counted_over_locations() -> None:
    _, report = trained(loss={"detection": {"class_loss": {"cross_entropy": {
        "weight": "balanced"}}}})  # fmt: skip
    task, bundle = made()
    counts = torch.bincount(task.targets(bundle.train).classes.flatten(), minlength=11)
    assert report.parameters["train.class_counts"] == str(counts.tolist())
    name = "loss.detection.class_loss.cross_entropy.weight.values"
    weights = [float(w) for w in report.parameters[name].strip("[]").split(",")]
    assert weights[0] == pytest.approx(float(counts.sum() / (11 * counts[0])), rel=1e-4)
    assert weights[0] < min(weights[1:])


def test_a_detector_learns_where_the_digits_are() -> None:
    changes = {
        "dataset": {"digit_scenes": {"num_samples": 60, "min_scale": 2, "max_scale": 3,
                                     "max_digits": 2, "noise": 0, "overlap": 0}},
        "model": {"detector": {"channels": [32]}},
        "optimizer": {"adamw": {"learning_rate": 0.01}},
        "training": {"epochs": 25, "batch_size": 6},
    }  # fmt: skip
    _, report = trained(**changes)
    assert report.last("test/map_50") > 0.3
    assert report.last("test/mean_iou") > 0.65


def test_the_saved_model_gives_the_boxes_of_raw_images() -> None:
    task, bundle = made()
    filled = fill(from_dict(spec()))
    model = network()
    make_bold(model)
    description = describe(filled, bundle)
    assert description["prediction"]["kind"] == "boxes"
    scaler = bundle.inputs.scaler
    assert scaler is not None
    raw = torch.from_numpy(scaler.unscale(bundle.test.x.double().numpy())).float()
    with torch.no_grad():
        predictor = Predictor(saved.rebuild(description, model.eval().state_dict())).eval()
        found = predictor(raw)
        outputs = model((raw - predictor.input_mean) / predictor.input_sd)
    assert torch.allclose(outputs, model(bundle.test.x), atol=1e-2)
    wanted = find_boxes(outputs, task.postprocess)
    assert found.shape == (len(bundle.test), 100, 6)
    assert found[..., 4].max() > found[..., 4].min() > 0
    assert torch.allclose(found, wanted)


def parts(**changes: torch.Tensor) -> DataSplit:
    arrays = {
        "x": torch.zeros(4, 1, 64, 64),
        "boxes": torch.tensor([2.0, 3, 10, 12]).repeat(4, 2, 1),
        "classes": torch.ones(4, 2, dtype=torch.long),
        "count": torch.tensor([2, 1, 0, 2]),
    }
    return DataSplit({**arrays, **changes})


def edges(*box: float, at: tuple[int, int] = (3, 1)) -> torch.Tensor:
    boxes = parts().arrays["boxes"].clone()
    boxes[at] = torch.tensor(box)
    return boxes


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"count": torch.tensor([3, 0, 0, 0])}, "count .* must be from 0 to 2, but got 3"),
        ({"count": torch.tensor([0, 0, -1, 0])}, "but got -1 of sample 2"),
        ({"classes": torch.full((4, 2), 11)}, "classes of the train data must be from 1 to 10"),
        ({"classes": torch.zeros(4, 2, dtype=torch.long)}, "but got 0 of sample 0"),
        ({"boxes": edges(4, 4, 4, 9)}, r"x1 < x2 and y1 < y2, .* got \[4.0, 4.0, 4.0, 9.0\]"),
        ({"boxes": edges(9, 4, 4, 9)}, "of sample 3"),
        ({"boxes": edges(9, 4, 65, 9)}, "within 0 to 64 and 0 to 64 pixels"),
        ({"boxes": edges(math.nan, 4, 9, 9)}, "got .nan, 4.0"),
        ({"boxes": torch.zeros(4, 2, 5)}, r"boxes of the train data must be .* \(N, K, 4\)"),
        ({"boxes": torch.zeros(4, 3, 4)}, "K = 3|K = 2"),
        ({"classes": torch.ones(4, 2)}, "must be whole numbers"),
    ],
)
def test_objects_that_cannot_be_are_refused(changes: dict[str, torch.Tensor], found: str) -> None:
    filled = fill(from_dict(spec()))
    bundle = data.load(filled)
    tasks.make(filled, replace(bundle, train=parts()))
    with pytest.raises(UserSpecError, match=found):
        tasks.make(filled, replace(bundle, train=parts(**changes)))


def test_what_is_beyond_the_count_may_be_anything() -> None:
    filled = fill(from_dict(spec()))
    boxes = edges(9, 9, 1, 1, at=(1, 1))
    tasks.make(filled, replace(data.load(filled), train=parts(boxes=boxes)))
