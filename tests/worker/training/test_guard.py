"""Nothing that is not finite reaches weights, buffers or optimizer; and the guard says why."""

import copy
import math
from typing import Any

import pytest
import torch
from tests.worker.training.guarded import BATCH_NORM, changed, poison, ready, same, steps
from tests.worker.training.jobs import flat, job, run
from torch import Tensor, nn

from talweg.v1.jobs_pb2 import Divergence, Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tasks import Batch


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize(
    "optimizer",
    ["adamw", {"sgd": {"momentum": 0.9}}, "rmsprop", "adagrad"],
    ids=["adamw", "sgd", "rmsprop", "adagrad"],
)
def test_a_poisoned_step_leaves_everything_as_before(optimizer: Any, value: float) -> None:
    def spec(last: int) -> JobSpec:
        return job(
            model=BATCH_NORM,
            optimizer=optimizer,
            loss={"mse": {}},
            training={"steps": last, "clip_norm": 1.0, "batch_size": 16},
        )

    poisoned, before = ready(spec(30)), ready(spec(12))
    divergence = steps(poisoned, poison(13, value))
    assert steps(before) is None
    assert divergence is not None
    assert divergence.step == 13
    assert same(poisoned.state.model.state_dict(), before.state.model.state_dict())
    ours, theirs = poisoned.state.optimizer.state_dict(), before.state.optimizer.state_dict()
    assert same(ours["state"], theirs["state"])
    assert not any(p.grad.any() for p in poisoned.state.model.parameters() if p.grad is not None)
    # The running statistics are there and have moved since the start.
    assert int(before.state.model.get_buffer("batch_norm1.num_batches_tracked")) == 12


def test_a_poisoned_batch_among_several_of_a_step() -> None:
    def spec(last: int) -> JobSpec:
        training = {"steps": last, "accumulation": 3, "batch_size": 16}
        return job(model=BATCH_NORM, training=training)

    poisoned, before = ready(spec(9)), ready(spec(4))
    divergence = steps(poisoned, poison(5, math.nan, batch=2))
    assert steps(before) is None
    assert divergence is not None
    assert (divergence.step, divergence.module) == (5, "linear1")
    assert same(poisoned.state.model.state_dict(), before.state.model.state_dict())
    assert int(before.state.model.get_buffer("batch_norm1.num_batches_tracked")) == 12


def test_evidence_of_an_input_that_is_not_finite() -> None:
    setup = ready(job(model={"mlp": {"hidden": [8]}}, training={"steps": 40, "batch_size": 16}))
    losses: list[float] = []
    norms: list[float] = []

    def noting(step: int, window: list[Batch]) -> list[Batch]:
        losses[:], norms[:] = setup.state.losses, setup.state.norms
        return poison(33, math.nan)(step, window)

    divergence = steps(setup, noting)
    assert divergence is not None
    assert (divergence.step, divergence.what, divergence.value) == (33, "loss", "nan")
    assert divergence.module == "linear1"
    assert list(divergence.parameters) == [
        "linear1.weight",
        "linear1.bias",
        "linear2.weight",
        "linear2.bias",
    ]
    assert len(divergence.losses) == len(divergence.gradient_norms) == 20
    assert list(divergence.losses) == losses
    assert list(divergence.gradient_norms) == norms
    assert divergence.learning_rate == 1e-3
    assert "inputs" in divergence.hint


def test_a_target_that_is_not_finite_is_named_as_such() -> None:
    setup = ready(job(training={"steps": 5}))

    def change(step: int, window: list[Batch]) -> list[Batch]:
        if step != 2:
            return window
        return [changed(b, target=b.target * math.inf) for b in window]

    divergence = steps(setup, change)
    assert divergence is not None
    # All outputs were fine; what the last module gets back is not.
    assert (divergence.what, divergence.module) == ("loss", "linear2")
    assert "targets" in divergence.hint


def test_a_bad_target_among_several_arrays_names_its_sample() -> None:
    setup = ready(job(training={"steps": 5, "batch_size": 8, "accumulation": 2}))

    def change(step: int, window: list[Batch]) -> list[Batch]:
        first, last = (changed(b, weights=torch.ones(len(b), 3)) for b in window)
        target = last.target.clone()
        target[2] = math.nan
        return [first, changed(last, target=target)]

    divergence = steps(setup, change)
    assert divergence is not None
    assert list(divergence.bad_samples) == [divergence.samples[8 + 2]]


def test_statistics_that_overflow_are_refused_though_all_else_is_finite() -> None:
    model = {"sequential": {"layers": ["batch_norm", "linear"]}}
    setup = ready(job(model=model, training={"steps": 5}))
    before = copy.deepcopy(setup.state.model.state_dict())
    # Batch normalisation makes small numbers of these, and an infinite running variance.
    divergence = steps(setup, poison(1, 1e30))
    assert divergence is not None
    assert (divergence.what, divergence.value) == ("statistics", "inf")
    assert divergence.module == "0_batch_norm"
    assert same(setup.state.model.state_dict(), before)


def test_the_module_that_overflows_is_named() -> None:
    setup = ready(job(model={"mlp": {"hidden": [8, 8]}}, training={"steps": 5}))
    with torch.no_grad():
        setup.state.model.get_parameter("linear2.weight").fill_(3e38)
    divergence = steps(setup)
    assert divergence is not None
    assert (divergence.step, divergence.module) == (1, "linear2")
    assert list(divergence.losses) == []


def test_one_gradient_that_is_infinite_names_its_module_and_parameter() -> None:
    setup = ready(job(model={"mlp": {"hidden": [8, 8]}}, training={"steps": 5}))
    weight = setup.state.model.get_parameter("linear2.weight")

    def overflow(gradient: Tensor) -> Tensor:
        changed = gradient.clone()
        changed[0, 0] = math.inf
        return changed

    weight.register_hook(overflow)  # type: ignore[no-untyped-call]
    before = flat(setup.state.model)
    divergence = steps(setup)
    assert divergence is not None
    assert (divergence.what, divergence.value) == ("gradient", "inf")
    assert divergence.module == "linear2"
    assert list(divergence.parameters) == ["linear2.weight"]
    assert torch.equal(flat(setup.state.model), before)
    assert "learning rate" in divergence.hint


class BadBackward(nn.Module):
    """Gives what it gets, and on the way back NaN."""

    def forward(self, x: Tensor) -> Tensor:
        # Its value is x and its slope 1 + 0·inf.
        return x + (x - x.detach()).abs().sqrt() * 0


def test_a_module_whose_backward_pass_goes_wrong_is_named() -> None:
    model = {"sequential": {"layers": [{"linear": {"out_features": 8}}, "tanh", "linear"]}}
    setup = ready(job(model=model, training={"steps": 5}))
    network = setup.state.model
    network.add_module("1_tanh", BadBackward())
    divergence = steps(setup)
    assert divergence is not None
    assert (divergence.what, divergence.value) == ("gradient", "nan")
    # Not 0_linear, which the gradient met afterwards, and not 2_linear, whose own is fine.
    assert divergence.module == "1_tanh"
    assert list(divergence.parameters) == ["0_linear.weight", "0_linear.bias"]


def test_a_loss_whose_gradient_alone_is_bad() -> None:
    setup = ready(job(training={"steps": 5}))

    def loss_of(batch: Batch) -> Tensor:
        outputs = setup.state.model(batch.x)
        assert isinstance(outputs, Tensor)
        return (outputs - outputs.detach()).square().sqrt().sum()

    divergence = steps(setup, loss_of=loss_of)
    assert divergence is not None
    assert (divergence.what, divergence.value, divergence.module) == ("gradient", "nan", "linear2")


def test_a_norm_beyond_1e18_counts_as_not_finite() -> None:
    def scaled(factor: float) -> tuple[Divergence | None, list[float]]:
        setup = ready(job(model="linear", training={"steps": 1}))
        divergence = steps(setup, loss_of=lambda batch: setup.loss_of(batch) * factor)
        return divergence, list(setup.state.norms)

    _, (norm,) = scaled(1)
    divergence, norms = scaled(0.9e18 / norm)
    assert divergence is None
    assert norms == pytest.approx([0.9e18])
    # Beyond 1.8e19 float32's own sum of squares is inf: the true norm is told nevertheless.
    for large in (1.1e18, 1e19, 1e21):
        divergence, norms = scaled(large / norm)
        assert divergence is not None
        assert (divergence.what, divergence.module) == ("gradient", "linear1")
        assert float(divergence.value) == pytest.approx(large, rel=1e-3)
        assert norms == []


def test_replay_is_the_step_itself_and_leaves_no_trace() -> None:
    setup = ready(job(model=BATCH_NORM, training={"steps": 3, "batch_size": 16}))
    model, guard = setup.state.model, setup.step.guard
    window = next(setup.batches.of_epoch(setup.state.order))
    torch.manual_seed(4)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    guard.remember()
    first = setup.loss_of(window[0])
    after = torch.get_rng_state()
    with guard.replaying():
        # The same dropout: another draw would give another loss.
        assert torch.equal(setup.loss_of(window[0]), first)
        assert not torch.equal(setup.loss_of(window[0]), first)
    assert torch.equal(torch.get_rng_state(), after)
    assert same(dict(model.named_buffers()), buffers)


def test_a_dropout_layer_does_not_hide_the_bad_module() -> None:
    # The overflow happens only where dropout leaves the unit in: the replay must draw the same.
    layers = [
        {"linear": {"out_features": 1}},
        {"dropout": {"p": 0.5}},
        {"linear": {"out_features": 8}},
        "linear",
    ]
    for seed in range(6):
        training = {"steps": 30, "batch_size": 2, "seed": seed}
        setup = ready(job(model={"sequential": {"layers": layers}}, training=training))
        with torch.no_grad():
            setup.state.model.get_parameter("2_linear.weight").fill_(3e38)
            setup.state.model.get_parameter("0_linear.weight").mul_(1e3)
        divergence = steps(setup)
        assert divergence is not None
        assert divergence.module == "2_linear"


def test_a_huge_learning_rate_ends_as_diverged() -> None:
    result, report = run(job(optimizer={"sgd": {"learning_rate": 1000}}))
    assert (result.state, result.cause) == (Job.DIVERGED, Outcome.NOT_FINITE)
    assert result.model is None
    assert result.predictions is None
    divergence = result.divergence
    assert divergence is not None
    assert divergence.learning_rate == 1000
    assert result.steps == divergence.step - 1 == report.steps
    assert len(divergence.losses) == min(result.steps, 20)
    assert f"step {divergence.step}" in result.message
    assert "1000" in result.message
    assert all(math.isfinite(value) for _, values in report.points for value in values.values())
