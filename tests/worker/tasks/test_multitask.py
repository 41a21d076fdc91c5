"""Several heads: each evaluated by its own metrics, weighed as its loss says."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.worker import data
from talweg.worker.artifacts.predictor import Predictor, describe
from talweg.worker.data import RawData
from talweg.worker.data.loaders import LOADERS
from talweg.worker.models import saved
from talweg.worker.training import NeverStop, RecordingReporter, Result, run

SCENES = {"digit_scenes": {"num_samples": 60, "min_scale": 2, "max_scale": 4, "noise": 0.1}}
UNET = {"multi_head": {"trunk": {"unet": {"channels": [4, 8], "patch": 2}}}}


def of_scenes(**changes: Any) -> dict[str, Any]:
    return {
        "task": {"multitask": {"heads": ["segmentation", "depth"]}},
        "dataset": SCENES,
        "model": UNET,
        "loss": {"uncertainty": {"losses": ["ce_dice", "mae"]}},
        "training": {"epochs": 2, "batch_size": 12, "log_every_steps": 1},
        **changes,
    }


def of_numbers(loss: Any, count: int = 2, **changes: Any) -> dict[str, Any]:
    heads = [{"number": {"column": i}, "name": f"y{i}"} for i in range(count)]
    return {
        "task": {"multitask": {"heads": heads}},
        "dataset": {"synthetic_regression": {"num_targets": count}},
        "model": {"multi_head": {"trunk": {"mlp": {"hidden": [32, 32]}}}},
        "loss": loss,
        **changes,
    }


def trained(spec: dict[str, Any]) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec), report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


@pytest.mark.parametrize("count", [1, 2])
def test_heads_of_numbers_need_no_validation_data(count: int) -> None:
    loss = {"sum": {"terms": [{"loss": "mse"}] * count}}
    split = {"train": 0.8, "validation": 0, "test": 0.2}
    _, report = trained(of_numbers(loss, count, split=split, training={"steps": 2}))
    assert math.isfinite(report.last(f"test/y{count - 1}/mae"))
    assert not any(name.startswith("val/") for _, values in report.points for name in values)


@pytest.mark.parametrize(
    "loss",
    [
        {"uncertainty": {"losses": ["ce_dice", "mae"]}},
        {"gradnorm": {"losses": ["dice", "huber"]}},
        {"sum": {"terms": [{"loss": "cross_entropy", "weight": 2}, {"loss": "mse"}]}},
    ],
)
def test_each_head_has_its_own_metrics_and_weight(loss: Any) -> None:
    spec = of_scenes(loss=loss)
    _, report = trained(spec)
    expected = {f"test/{m.name}" for m in metrics_of(from_dict(spec)) if not m.by_class}
    assert expected | {"test/loss", "test/segmentation/iou_7"} <= set(report.points[-1][1])
    assert len(report.series("weights/depth")) == report.total_steps
    own = [report.series(f"train/{head}/loss")[0][1] for head in ("segmentation", "depth")]
    assert all(map(math.isfinite, own))
    if "sum" in loss:
        assert report.series("train/loss")[0][1] == pytest.approx(2 * own[0] + own[1], rel=1e-5)


def test_uncertainty_starts_where_it_is_told_and_learns() -> None:
    start = {"losses": ["ce_dice", "mae"], "initial_log_vars": [2.0, -2.0]}
    _, report = trained(of_scenes(loss={"uncertainty": start}))
    weights = [report.series(f"weights/{head}") for head in ("segmentation", "depth")]
    # After one step of a rate of 1e-3; a regression's loss counts half.
    assert weights[0][0][1] == pytest.approx(math.exp(-2.0), rel=5e-3)
    assert weights[1][0][1] == pytest.approx(math.exp(2.0) / 2, rel=5e-3)
    losses = [report.series(f"train/{head}/loss")[0][1] for head in ("segmentation", "depth")]
    total = math.exp(-2) * losses[0] + 1 + math.exp(2) / 2 * losses[1] - 1
    assert report.series("train/loss")[0][1] == pytest.approx(total, rel=1e-4)
    assert abs(weights[0][-1][1] - weights[0][0][1]) > 1e-4


def test_a_numbers_metrics_are_in_its_own_units() -> None:
    spec = of_numbers({"sum": {"terms": [{"loss": "mse"}, {"loss": "mse"}]}})
    filled = fill(from_dict(spec))
    assert filled.preprocessing.standardise_targets
    result, report = trained(spec)
    bundle = data.load(filled)
    assert result.model is not None
    assert bundle.target_scaler is not None
    with torch.no_grad():
        outputs = result.model(bundle.test.x)
    for column in range(2):
        error = (outputs[f"y{column}"][:, 0] - bundle.test.y[:, column]).double().numpy()
        error *= bundle.target_scaler.sd[column]
        assert report.last(f"test/y{column}/mae") == pytest.approx(np.abs(error).mean(), rel=1e-5)
        rmse = np.sqrt(np.square(error).mean())
        assert report.last(f"test/y{column}/rmse") == pytest.approx(rmse, rel=1e-5)


def test_depth_is_judged_over_all_pixels_against_scikit_learn() -> None:
    spec = of_scenes()
    result, report = trained(spec)
    test = data.load(fill(from_dict(spec))).test
    assert result.model is not None
    with torch.no_grad():
        answers = result.model(test.x)["depth"].double().flatten().numpy()
    depth = test.arrays["depth"].double().flatten().numpy()
    expected = metrics.mean_absolute_error(depth, answers)
    assert report.last("test/depth/mae") == pytest.approx(expected, rel=1e-5)
    expected = metrics.root_mean_squared_error(depth, answers)
    assert report.last("test/depth/rmse") == pytest.approx(expected, rel=1e-5)


def test_a_model_of_several_heads_predicts_all_of_them_in_the_users_terms() -> None:
    for spec in (of_scenes(), of_numbers({"gradnorm": {"losses": ["mse", "mse"]}})):
        filled = fill(from_dict(spec))
        result, _ = trained(spec)
        bundle = data.load(filled)
        description = describe(filled, bundle)
        assert result.model is not None
        scaler = bundle.inputs.scaler
        assert scaler is not None
        raw = torch.from_numpy(scaler.unscale(bundle.test.x.double().numpy())).float()
        with torch.no_grad():
            found = Predictor(saved.rebuild(description, result.model.state_dict())).eval()(raw)
            outputs = result.model(bundle.test.x)
        if "y0" in outputs:
            assert bundle.target_scaler is not None
            both = torch.cat([outputs["y0"], outputs["y1"]], dim=1).double().numpy()
            wanted = torch.from_numpy(bundle.target_scaler.unscale(both)).float()
        else:
            classes = outputs["segmentation"].softmax(dim=1).flatten(1)
            wanted = torch.cat([classes, outputs["depth"].flatten(1)], dim=1)
        assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)


SCALES = (1.0, 10.0)


def toy(_: object) -> RawData:
    """Return GradNorm's toy problem, σ tanh((B + ε) x), of tasks with other scales σ."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1500, 50))
    shared = rng.normal(0, math.sqrt(10), (50, 20))
    own = rng.normal(0, math.sqrt(3.5), (len(SCALES), 50, 20))
    y = [s * np.tanh(x @ (shared + e) / 10).mean(axis=1) for s, e in zip(SCALES, own, strict=True)]
    names = tuple(f"x{i}" for i in range(50))
    targets = tuple(f"y{i}" for i in range(len(SCALES)))
    return RawData({"x": x, "y": np.stack(y, axis=1)}, names, target_names=targets)


def test_gradnorm_lets_tasks_of_other_scales_learn_at_one_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LOADERS, "synthetic_regression", toy)

    def paces(loss: Any) -> tuple[list[float], RecordingReporter]:
        spec = of_numbers(
            loss,
            len(SCALES),
            preprocessing={"standardise_targets": False},
            split={"seed": 7},
            optimizer={"adam": {"learning_rate": 0.01}},
            training={"epochs": 40, "batch_size": 50, "log_every_steps": 1},
        )
        _, report = trained(spec)
        names = [f"y{i}" for i in range(len(SCALES))]
        ends = [np.mean([v for _, v in report.series(f"train/{n}/loss")[-18:]]) for n in names]
        starts = [report.series(f"train/{n}/loss")[0][1] for n in names]
        return [float(e / s) for e, s in zip(ends, starts, strict=True)], report

    equal, _ = paces({"sum": {"terms": [{"loss": "mse"}, {"loss": "mse"}]}})
    balanced, report = paces({"gradnorm": {"alpha": 1.5, "losses": ["mse", "mse"]}})
    # With equal weights the task of the large scale is learnt first, and the other left behind.
    assert equal[0] > 5 * equal[1]
    assert max(balanced) < 2.5 * min(balanced)
    assert balanced[0] < equal[0] / 2
    weights = [report.last("weights/y0"), report.last("weights/y1")]
    assert sum(weights) == pytest.approx(2, rel=1e-4)
    assert weights[0] > 2 * weights[1]


def below_zero(kind: str, **training: Any) -> dict[str, Any]:
    """Return a job of which the second head's loss falls below 0 once it has learnt a little."""
    losses = ["mse", {"expression": {"formula": "mean((pred - target)**2) - 0.5"}}]
    loss = {kind: {"losses": losses}}
    if kind == "sum":
        loss = {"sum": {"terms": [{"loss": own} for own in losses]}}
    return of_numbers(loss, training={"steps": 200, **training})


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("kind", ["uncertainty", "gradnorm"])
def test_weights_do_not_go_by_a_loss_below_zero(kind: str, every: int) -> None:
    spec = from_dict(below_zero(kind, read_every_steps=every, accumulation=2))
    result = run(spec, report=RecordingReporter(), control=NeverStop(), device="cpu")
    assert result.state == Job.DIVERGED
    assert result.divergence is not None
    assert result.divergence.what == "loss"
    assert -0.5 < float(result.divergence.value) < 0
    assert result.divergence.step > 1
    assert f"The loss of the head y1, loss.{kind}.losses[1], " in result.message, result.message
    assert "fell below 0" in result.message
    assert "loss: sum" in result.message


def test_fixed_weights_take_a_loss_below_zero() -> None:
    _, report = trained(below_zero("sum"))
    assert report.last("train/y1/loss") < 0


def test_a_skipped_step_leaves_the_weights_of_the_heads() -> None:
    guard = {"skip": {"max_share": 1, "max_in_a_row": 1000}}
    _, report = trained(below_zero("uncertainty", guard=guard))
    assert report.last("guard/skipped") > 10
    assert max(value for _, value in report.series("weights/y1")) < 3
