"""The loss around a training's weights: the plane that was asked for, and no trace of it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests._few import a_few
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.killing import Disk, points_of
from tests.worker.training.poisoned import Run
from tests.worker.training.resumable import CASES, resumable
from torch import Tensor, nn

from talweg.spec import fill
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.diagnostics import landscape
from talweg.worker.training import NeverStop, RecordingReporter, Stop

SMALL = {"points": 5, "samples": 64}
ALL = 100_000
OF_ONE_LOSS = [name for name in CASES if "game" not in name]


def surrounded(asked: dict[str, Any] | None = None, **fields: Any) -> JobSpec:
    return job(diagnostics={"loss_landscape": asked or SMALL}, **fields)


def grid_of(report: RecordingReporter) -> dict[str, NDArray[np.float64]]:
    columns = report.tables["loss_landscape"].columns
    return {name: np.array([float(value) for value in columns[name]]) for name in columns}


def linear(model: nn.Module) -> nn.Linear:
    return next(part for part in model.modules() if isinstance(part, nn.Linear))


def test_the_bowl_of_a_linear_model_is_the_one_in_closed_form() -> None:
    asked = {"points": 7, "span": 2, "samples": ALL, "seed": 5}
    spec = surrounded(
        asked, model={"sequential": {"layers": ["linear"]}}, training={"batch_size": 50}
    )
    result, report = run(spec)
    assert result.model is not None
    assert report.bundle is not None
    layer, part = linear(result.model), report.bundle.train
    x, y = part.x.double(), part.y.double().reshape(-1, 1)
    w, b = layer.weight.detach().double(), layer.bias.detach().double()
    # Two directions of one filter, each as long as the weights.
    generator = torch.Generator().manual_seed(5)
    first, second = (
        drawn * w.norm() / drawn.norm()
        for drawn in (torch.randn(1, 10, generator=generator).double() for _ in range(2))
    )
    error, by_one, by_two = x @ w.T + b - y, x @ first.T, x @ second.T
    grid = grid_of(report)
    assert grid["one"] == pytest.approx(np.repeat(np.linspace(-2, 2, 7), 7))
    assert grid["two"] == pytest.approx(np.tile(np.linspace(-2, 2, 7), 7))
    expected = [
        float(((error + one * by_one + two * by_two) ** 2).mean())
        for one, two in zip(grid["one"], grid["two"], strict=True)
    ]
    assert grid["loss"] == pytest.approx(expected, rel=1e-5)
    facts = report.tables["loss_landscape"].facts
    assert facts == {"middle": grid["loss"][24], "samples": len(x)}
    assert any(f"is {grid['loss'][24]:.4g} in the centre" in line for line in report.lines)


def test_each_filter_is_as_long_as_the_weights_own() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 3, 3, 3), torch.randn(5, 7), torch.zeros(2, 2)]
    weights[0][2] *= 100
    one, other = (landscape.direction(weights, generator) for _ in range(2))
    for direction in (one, other):
        for drawn, weight in zip(direction, weights, strict=True):
            assert drawn.shape == weight.shape
            assert torch.allclose(drawn.flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1))
    assert not torch.allclose(one[0], other[0])


@pytest.mark.parametrize("name", a_few(OF_ONE_LOSS, of=4))
def test_the_job_is_the_same_with_it_and_without(name: str) -> None:
    spec = resumable(name)
    spec.diagnostics.trivial = False
    plain, before = run(spec)
    spec.diagnostics.loss_landscape.points = 5
    spec.diagnostics.loss_landscape.samples = 50
    spec.diagnostics.loss_landscape.span = 0.5
    after, report = run(spec)
    assert plain.state == after.state == Job.SUCCEEDED
    assert plain.model is not None
    assert after.model is not None
    assert torch.equal(flat(plain.model), flat(after.model))
    assert points_of(report) == points_of(before)
    losses = grid_of(report)["loss"]
    assert len(losses) == 25
    assert np.isfinite(losses).all()
    # Neighbours differ by what the weights do, and not by what the loss draws.
    assert losses[12] < losses.max()
    assert losses.std() > 0


def test_the_best_weights_are_in_the_middle() -> None:
    spec = surrounded(
        {"points": 5, "samples": ALL},
        training={"epochs": 30, "early_stopping": {"patience": 3}},
        optimizer={"adamw": {"learning_rate": 0.05}},
    )
    result, report = run(spec)
    assert any("are restored" in line for line in report.lines)
    assert result.model is not None
    assert report.bundle is not None
    part = report.bundle.train
    with torch.no_grad():
        loss = float(nn.functional.mse_loss(result.model(part.x).squeeze(), part.y.squeeze()))
    assert report.tables["loss_landscape"].facts["middle"] == pytest.approx(loss, rel=1e-5)


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {path: t.clone() for path, t in [*module.named_parameters(), *module.named_buffers()]}


@pytest.mark.parametrize(
    "name",
    ["multiclass, a loss that learns, early stopping", "multiclass, transformer, steps left out"],
)
def test_only_matrices_move_and_all_come_back(name: str) -> None:
    spec = resumable(name)
    spec.diagnostics.loss_landscape.points = 5
    spec = fill(spec)
    trained = Run(spec)
    trained.to_the_end()
    setup = trained.setup
    before, random = tensors(setup.state.model), torch.get_rng_state()
    asked = spec.diagnostics.loss_landscape
    walk = landscape.walk(setup, asked, landscape.samples(setup, asked))
    assert next(walk)[:2] == (-1, -1)
    assert not setup.state.model.training
    moved = tensors(setup.state.model)
    changed = {path for path, old in before.items() if not torch.equal(old, moved[path])}
    assert changed == {
        path
        for path, old in setup.state.model.named_parameters()
        if old.dim() > 1 and not path.startswith("loss.")
    }
    assert ("loss that learns" in name) == any(each.startswith("loss.") for each in before)
    # Given up half-way.
    walk.close()
    after = tensors(setup.state.model)
    assert all(torch.equal(old, after[path]) for path, old in before.items())
    assert torch.equal(torch.get_rng_state(), random)
    assert setup.state.model.training


def test_the_seed_decides_it() -> None:
    fields: dict[str, Any] = {
        "task": "self_supervised",
        "dataset": "wine",
        "model": {"embedder": {"trunk": {"mlp": {"hidden": [8]}}, "size": 4}},
        "loss": "nt_xent",
        "training": {"epochs": 2, "batch_size": 32},
    }
    first, again, other = (
        run(surrounded({**SMALL, "seed": seed}, **fields))[1].tables["loss_landscape"]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_what_is_not_finite_is_marked() -> None:
    deep = [{"linear": {"out_features": 16}}, "relu"] * 12 + ["linear"]
    spec = surrounded(
        {"points": 5, "span": 100}, model={"sequential": {"layers": deep}}, training={"epochs": 1}
    )
    result, report = run(spec)
    assert result.state == Job.SUCCEEDED
    assert result.model is not None
    assert torch.isfinite(flat(result.model)).all()
    losses = report.tables["loss_landscape"].columns["loss"]
    words = [loss for loss in losses if isinstance(loss, str)]
    assert 0 < len(words) < 25
    assert set(words) <= {"inf", "nan"}
    assert math.isfinite(float(losses[12]))
    assert any(f"at {len(words)} it is not finite" in line for line in report.lines)


class _AfterTraining:
    """Stops a run at one of the landscape's points."""

    def __init__(self, report: RecordingReporter, reason: Any, *, points: int = 3) -> None:
        self._report, self._reason, self._left = report, reason, points

    def check(self) -> Stop | None:
        if self._report.series("test/loss"):
            self._left -= 1
        return Stop(self._reason) if self._left <= 0 else None


def test_cancelled_in_the_middle_of_it() -> None:
    report = RecordingReporter()
    result = diagnostics.run(
        surrounded(), report=report, control=_AfterTraining(report, "cancel"), device="cpu"
    )
    assert (result.state, result.cause) == (Job.CANCELLED, Outcome.CANCEL_REQUEST)
    assert report.tables == {}


def test_a_time_limit_leaves_it_out_and_keeps_the_rest() -> None:
    plain, _ = run(job())
    report = RecordingReporter()
    result = diagnostics.run(
        surrounded(), report=report, control=_AfterTraining(report, "time_limit"), device="cpu"
    )
    assert result.state == Job.SUCCEEDED
    assert report.tables == {}
    assert any("time limit was reached" in line for line in report.lines)
    assert result.model is not None
    assert plain.model is not None
    assert torch.equal(flat(result.model), flat(plain.model))


def test_a_loss_that_refuses_so_few_samples_leaves_it_out() -> None:
    spec = surrounded(
        {"points": 5, "samples": 1},
        task="self_supervised",
        dataset="wine",
        model={"embedder": {"trunk": {"mlp": {"hidden": [8]}}, "size": 4}},
        loss="barlow_twins",
    )
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert "loss_landscape" not in report.tables
    (line,) = (line for line in report.lines if "loss landscape is skipped" in line)
    assert "at least 2 samples" in line
    assert "batches of 1 samples" in line


@pytest.mark.parametrize("checkpoint", [True, False])
@pytest.mark.parametrize(("reason", "state"), [("shutdown", Job.QUEUED), ("pause", Job.PAUSED)])
def test_it_is_made_elsewhere_without_training_again(
    reason: str, state: int, checkpoint: bool, tmp_path: Path
) -> None:
    spec = surrounded(training={"epochs": 30, "early_stopping": {"patience": 3}})
    spec.outputs.checkpoint = checkpoint
    whole, undisturbed = run(spec)
    report = RecordingReporter()
    disk = Disk(tmp_path, report)
    control = _AfterTraining(report, reason)
    result = diagnostics.run(spec, report=report, control=control, device="cpu", store=disk)
    assert result.state == state
    assert report.tables == {}
    report.steps = 0
    result = diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    assert report.steps == 0
    assert result.model is not None
    assert whole.model is not None
    assert torch.equal(flat(result.model), flat(whole.model))
    assert report.tables == undisturbed.tables
