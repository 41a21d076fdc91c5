"""Gradient flow: each layer's gradients and updates over a training, as they are."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.poisoned import Run
from tests.worker.training.test_continuation import continued, longer
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import RecordingReporter, Stop
from talweg.worker.training.monitors.layers import ForwardOrder, Layers

RATE = 0.1


def followed(points: int = 100, **fields: Any) -> JobSpec:
    return job(diagnostics={"gradient_flow": {"points": points}}, **fields)


def steps_of(report: RecordingReporter) -> list[Any]:
    return list(dict.fromkeys(report.tables["gradient_flow"].columns["step"]))


def rows_of(report: RecordingReporter) -> dict[tuple[Any, Any], tuple[Any, Any]]:
    columns = report.tables["gradient_flow"].columns
    return {(step, layer): (norm, ratio) for step, layer, norm, ratio in zip(*columns.values())}  # noqa: B905


@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_linear_models_gradients_are_those_worked_out_by_hand(clip: float | None) -> None:
    more = {} if clip is None else {"clip_norm": clip}
    started = Run(
        followed(
            model={"sequential": {"layers": ["linear"]}},
            optimizer={"sgd": {"learning_rate": RATE, "momentum": 0}},
            training={"steps": 3, "batch_size": 1000, **more},
        )
    )
    part = started.setup.splits.bundle.train
    x, y = part.x.double(), part.y.double().reshape(-1, 1)
    layer = next(m for m in started.setup.state.model.modules() if isinstance(m, nn.Linear))
    w, b = layer.weight.detach().double().clone(), layer.bias.detach().double().clone()
    started.to_the_end()
    assert started.setup.step.health.flow is not None
    table = started.setup.step.health.flow.table()
    assert table is not None
    assert table.columns["step"] == [1, 2, 3]
    assert table.columns["layer"] == ["0_linear"] * 3
    for norm, ratio in zip(
        table.columns["gradient_norm"], table.columns["update_ratio"], strict=True
    ):
        error = x @ w.T + b - y
        by_w, by_b = 2 * (error * x).mean(0, keepdim=True), 2 * error.mean(0)
        full = math.hypot(float(by_w.norm()), float(by_b.norm()))
        factor = 1 if clip is None else clip / full
        assert norm == pytest.approx(full * factor, rel=1e-4)
        size = math.hypot(float(w.norm()), float(b.norm()))
        assert ratio == pytest.approx(RATE * full * factor / size, rel=1e-4)
        w, b = w - RATE * factor * by_w, b - RATE * factor * by_b


@pytest.mark.parametrize(
    ("points", "expected"),
    [(4, [1, 8, 15, 22]), (27, list(range(1, 28))), (100, list(range(1, 28))), (2, [1, 15])],
)
def test_the_steps_stand_evenly_over_the_training(points: int, expected: list[int]) -> None:
    _, report = run(followed(points))
    assert steps_of(report) == expected
    assert set(report.tables["gradient_flow"].columns["layer"]) == {"linear1", "linear2"}


@pytest.mark.parametrize("hidden", [16, 500], ids=["in arenas", "the plain way"])
def test_the_training_is_the_same_bit_for_bit(hidden: int) -> None:
    fields: dict[str, Any] = {
        "model": {"mlp": {"hidden": [hidden, hidden]}},
        "training": {"epochs": 3, "log_every_steps": 1},
    }
    plain, before = run(job(**fields))
    watched, report = run(followed(**fields))
    assert plain.model is not None
    assert watched.model is not None
    assert torch.equal(flat(plain.model), flat(watched.model))
    assert before.series("train/loss") == report.series("train/loss")
    assert before.tables == {}
    for norm, ratio in rows_of(report).values():
        assert 0 < norm < 100
        assert 0 < ratio < 1


def test_steps_that_are_read_later_tell_the_same() -> None:
    each, later = (
        run(followed(5, training={"epochs": 3, "read_every_steps": every}))[1] for every in (1, 4)
    )
    assert steps_of(each) == [1, 7, 13, 19, 25]
    assert later.tables == each.tables


def test_both_players_of_a_game_are_met() -> None:
    spec = followed(
        10,
        task={"gan": {"critic_steps": 1, "gradient_penalty": 1}},
        dataset={"gaussian_ring": {"num_samples": 400}},
        model={"adversarial": {"generator": [8], "critic": [8]}},
        loss={"gan": {"form": "wgan"}},
        training={"steps": 40},
    )
    _, report = run(spec)
    # Every fourth step would be the critic's.
    assert steps_of(report) == [1, 6, 11, 16, 21, 26, 31, 36]
    moves = Counter(
        str(layer).split(".")[1]
        for (_, layer), (norm, ratio) in rows_of(report).items()
        if norm > 0 and ratio > 0
    )
    still = [both for both in rows_of(report).values() if both[0] == 0]
    assert moves == {"generator": 8, "critic": 8}
    assert still == [(0, 0)] * 16


class _OutOfOrder(nn.Module):
    """Names the last layer first; one layer is never called, its weight is used directly."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(3, 1)
        self.attention = nn.ModuleDict({"inner": nn.Linear(3, 3)})
        self.first = nn.Linear(2, 3)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.attention["inner"]
        assert isinstance(inner, nn.Linear)
        hidden: Tensor = self.first(x) * self.scale
        outputs: Tensor = self.last(nn.functional.linear(hidden, inner.weight))
        return outputs


def test_layers_stand_in_the_order_in_which_they_run() -> None:
    model = _OutOfOrder()
    names = list(Layers(model).parameters)
    assert names == ["", "last", "attention.inner", "first"]
    with ForwardOrder.of(model) as order:
        model(torch.ones(1, 2))
    assert order.of_layers(names) == ["", "attention.inner", "first", "last"]
    model(torch.ones(1, 2))
    assert not model.first._forward_pre_hooks


def test_norms_are_read_once_where_health_looks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    plain = Layers.gradients

    def counted(self: Layers) -> Any:
        nonlocal reads
        reads += 1
        return plain(self)

    monkeypatch.setattr(Layers, "gradients", counted)
    # Health looks at step 16.
    _, report = run(followed(20, training={"steps": 20}))
    assert reads == len(steps_of(report)) == 20
    reads = 0
    run(job(training={"steps": 20}))
    assert reads == 1


def test_a_diverged_job_tells_what_it_saw() -> None:
    spec = followed(optimizer={"sgd": {"learning_rate": 100}}, training={"epochs": 3})
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.DIVERGED
    steps = steps_of(report)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= result.steps
    columns = report.tables["gradient_flow"].columns
    assert all(math.isfinite(float(norm)) for norm in columns["gradient_norm"])
    assert max(map(float, columns["gradient_norm"])) > 1e3


class _StopsAt:
    def __init__(self, step: int, reason: Any) -> None:
        self._left, self._reason = step, reason

    def check(self) -> Stop | None:
        self._left -= 1
        return Stop(self._reason) if self._left <= 0 else None


def test_a_cancelled_job_tells_and_one_that_goes_on_elsewhere_does_not() -> None:
    result, report = run(followed(), _StopsAt(5, "cancel"))
    assert result.cause == Outcome.CANCEL_REQUEST
    assert steps_of(report) == [1, 2, 3, 4, 5]
    result, report = run(followed(), _StopsAt(5, "shutdown"))
    assert result.state == Job.QUEUED
    assert report.tables == {}


def test_weights_of_zero_have_no_ratio() -> None:
    started = Run(followed(model={"sequential": {"layers": ["linear"]}}, training={"steps": 1}))
    with torch.no_grad():
        for parameter in started.setup.state.model.parameters():
            parameter.zero_()
    started.to_the_end()
    assert started.setup.step.health.flow is not None
    table = started.setup.step.health.flow.table()
    assert table is not None
    assert table.columns["update_ratio"] == [""]


@pytest.mark.parametrize("was", [True, False], ids=["from one that told", "from one that did not"])
def test_a_job_that_goes_on_tells_from_its_own_first_step(was: bool, tmp_path: Path) -> None:
    asked = {"gradient_flow": {"points": 9}}
    before = longer(2, diagnostics={"gradient_flow": {}}) if was else longer(2)
    result, report = continued(before, longer(9, diagnostics=asked), tmp_path)
    assert result.state == Job.SUCCEEDED
    assert steps_of(report) == [11, 16, 21, 26, 31, 36, 41]
    # And the other way.
    result, report = continued(longer(2, diagnostics=asked), longer(3), tmp_path / "other")
    assert result.state == Job.SUCCEEDED
    assert report.tables == {}
