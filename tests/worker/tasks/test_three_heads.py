"""Masks, depth and boxes by one network: each head is what it is by itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from talweg.client import read_jobs
from talweg.spec import fill, from_dict, heads, metrics_of, spec_of_head
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data, models, tasks
from talweg.worker.artifacts.predictor import Predictor, describe
from talweg.worker.models import saved
from talweg.worker.models.architectures.detector import Locations
from talweg.worker.tasks import Batch
from talweg.worker.tasks.detection.predictions import Boxes, find_boxes
from talweg.worker.tasks.multitask.task import Multitask
from talweg.worker.training import NeverStop, RecordingReporter, Result, run

STUDY = Path(__file__).parents[3] / "client/examples/study_task_weights.yaml"
NAMES = ("segmentation", "depth", "detection")
LOSSES = ["ce_dice", "mae", {"detection": {"box_loss": "diou"}}]


def of_scenes(loss: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "task": {"multitask": {"heads": list(NAMES)}},
        "dataset": {"digit_scenes": {"num_samples": 60, "min_scale": 2, "max_scale": 4}},
        "model": {"multi_head": {"trunk": {"unet": {"channels": [8], "patch": 4}}}},
        "loss": loss or {"uncertainty": {"losses": LOSSES}},
        "training": {"epochs": 2, "batch_size": 12, "log_every_steps": 1},
        **changes,
    }


def made(**changes: Any) -> tuple[Multitask, nn.Sequential, Batch]:
    filled = fill(from_dict(of_scenes(**changes)))
    bundle = data.load(filled)
    task = tasks.make(filled, bundle)
    assert isinstance(task, Multitask)
    shape = bundle.inputs.shape
    model = models.build(filled.model, shape, task.num_outputs, seed=0, heads=task.heads)
    return task, model, Batch(task.arrays(bundle.train))


def trained(spec: dict[str, Any]) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec), report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


@pytest.mark.parametrize(
    "loss",
    [
        {"uncertainty": {"losses": LOSSES}},
        {"uncertainty": {"losses": LOSSES, "variant": "simple"}},
        {"gradnorm": {"losses": LOSSES}},
        {"sum": {"terms": [{"loss": loss, "weight": 1 + i} for i, loss in enumerate(LOSSES)]}},
    ],
    ids=["uncertainty", "simple", "gradnorm", "sum"],
)
def test_all_three_are_weighed_and_judged(loss: Any) -> None:
    spec = of_scenes(loss)
    _, report = trained(spec)
    may_lack = {"test/detection/mean_iou"}
    expected = {f"test/{m.name}" for m in metrics_of(from_dict(spec)) if not m.by_class}
    assert expected - may_lack <= set(report.points[-1][1])
    assert "test/detection/map_50" in expected
    weights = {name: report.series(f"weights/{name}") for name in NAMES}
    assert {len(series) for series in weights.values()} == {report.total_steps}
    first = [report.series(f"train/{name}/loss")[0][1] for name in NAMES]
    if "sum" in loss:
        total = first[0] + 2 * first[1] + 3 * first[2]
        assert report.series("train/loss")[0][1] == pytest.approx(total, rel=1e-5)
    else:
        assert weights["detection"][0][1] != weights["detection"][-1][1]
    if "gradnorm" in loss:
        assert sum(series[-1][1] for series in weights.values()) == pytest.approx(3, rel=1e-4)


def test_a_head_of_boxes_learns_and_is_judged_as_a_detector_is() -> None:
    task, model, batch = made()
    filled = fill(from_dict(of_scenes()))
    alone = tasks.make(spec_of_head(filled, heads(filled)[2]), data.load(filled))
    bundle = data.load(filled)
    with torch.no_grad():
        outputs = model.eval()(batch.x)
    assert {name: tuple(outputs[name].shape[1:]) for name in NAMES} == {
        "segmentation": (11, 64, 64), "depth": (1, 64, 64), "detection": (15, 16, 16),
    }  # fmt: skip
    own = Batch(alone.arrays(bundle.train))
    loss = alone.criterion(alone.loss_inputs(outputs["detection"], own))
    assert float(task.each(outputs, batch)[2]) == pytest.approx(float(loss), rel=1e-6)
    together, by_itself = task.accumulator(model), alone.accumulator(nn.Identity())
    with torch.no_grad():
        together.add(batch)
        by_itself.take(outputs["detection"], own)  # type: ignore[attr-defined]
        found, wanted = together.result(), by_itself.result()
    for name, value in wanted.values.items():
        assert found.values[f"detection/{name}"] == pytest.approx(value, rel=1e-6)
    assert set(wanted.shown) == {"image", "boxes", "classes", "count", "found"}
    assert {f"detection/{name}" for name in wanted.shown} < set(found.shown)


def test_every_head_reaches_the_trunk_and_says_background_at_first() -> None:
    task, model, batch = made()
    few = Batch({name: array[:6] for name, array in batch.arrays.items()})
    outputs = model(few.x)
    for loss in task.each(outputs, few):
        model.zero_grad()
        loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        slopes = [p.grad for p in model.get_submodule("trunk").parameters()]
        assert any(slope is not None and bool(slope.any()) for slope in slopes)
    (locations,) = (part for part in model.modules() if isinstance(part, Locations))
    assert len(locations.classes) == len(locations.boxes) == 4
    says_background = outputs["detection"].detach()[:, :11].softmax(dim=1)[:, 0]
    assert float(says_background.mean()) > 0.95


def test_the_saved_model_gives_all_three_of_raw_images() -> None:
    filled = fill(from_dict(of_scenes()))
    bundle = data.load(filled)
    _, model, _ = made()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "detection.classes.3" in name:
                parameter.mul_(100 if parameter.dim() > 1 else 0)
    description = describe(filled, bundle)
    each = description["prediction"]["heads"]
    assert [head["name"] for head in each] == list(NAMES)
    kinds = [head["prediction"]["kind"] for head in each]
    assert kinds == ["pixel_probabilities", "numbers", "boxes"]
    scaler = bundle.inputs.scaler
    assert scaler is not None
    raw = torch.from_numpy(scaler.unscale(bundle.test.x.double().numpy())).float()
    with torch.no_grad():
        predictor = Predictor(saved.rebuild(description, model.eval().state_dict())).eval()
        found = predictor(raw)
        outputs = model((raw - predictor.input_mean) / predictor.input_sd)
    boxes = find_boxes(outputs["detection"], Boxes(0.05, 0.5, 100, (64, 64)))
    assert float(boxes[..., 4].max()) > 0.1
    masks = outputs["segmentation"].softmax(dim=1).flatten(1)
    wanted = torch.cat([masks, outputs["depth"].flatten(1), boxes.flatten(1)], dim=1)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_study_starts_where_it_says() -> None:
    few = ["training.epochs=1", "dataset.digit_scenes.num_samples=80", "optimizer.adamw={}"]
    specs = read_jobs(STUDY, overrides=few)
    starts = [list(spec.loss.uncertainty.initial_log_vars) for spec in specs]
    assert starts == [[0, 0, 0], [-2, 2, 2], [2, 2, -2]]
    report = RecordingReporter()
    result = run(specs[1], report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    first = [report.series(f"weights/{name}")[0][1] for name in NAMES]
    # A regression's loss counts half; the first of the steps is taken.
    assert first == pytest.approx([7.389, 0.0677, 0.1353], rel=0.01)
