"""Training in bfloat16 and float16: what is computed in which, and what overflows leave behind."""

import math
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.poisoned import BATCH_NORM, WAYS, Run, same
from torch import Tensor, nn

from talweg.spec import check
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.spec_pb2 import JobSpec, Training
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule
from talweg.worker.training import NeverStop, NullReporter
from talweg.worker.training import run as run_anywhere
from talweg.worker.training.precision import (
    FIRST_SCALE,
    LARGEST_SCALE,
    RAISED_AFTER,
    GradScaler,
    Precision,
)
from talweg.worker.training.step import backward

CPU = torch.device("cpu")
HALVES = ("bf16", "fp16")
MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"dataset": "wine", "model": BATCH_NORM},
    "convnet": {"dataset": "digits", "model": {"convnet": {"channels": [4, 8]}}},
    "transformer": {"dataset": "digits", "model": "transformer"},
}


def spec(precision: str, steps: int = 20, **fields: Any) -> JobSpec:
    training = {"steps": steps, "batch_size": 16, "precision": precision, "log_every_steps": 1}
    training |= fields.pop("training", {})
    return job(**{"model": BATCH_NORM, **fields, "training": training})


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("model", MODELS)
def test_fewer_bits_learn_about_the_same(model: str, precision: str) -> None:
    def ends(precision: str) -> tuple[nn.Module, float]:
        asked = spec(precision, task="multiclass", loss="cross_entropy", **MODELS[model])
        result, report = run(asked)
        assert result.state == Job.SUCCEEDED, result.message
        assert result.model is not None
        assert all(p.dtype is torch.float32 for p in result.model.parameters())
        return result.model, report.last("test/loss")

    (whole, loss), (half, loss_of_half) = ends("fp32"), ends(precision)
    assert not torch.equal(flat(whole), flat(half))
    assert loss_of_half == pytest.approx(loss, rel=0.05)


@pytest.mark.parametrize(
    ("model", "precision", "is_slow"),
    [
        ({"convnet": {"channels": [4]}}, "fp16", True),
        ({"convnet": {"channels": [4]}}, "bf16", False),
        ({"mlp": {"hidden": [8]}}, "fp16", False),
    ],
)
def test_convolutions_in_float16_on_a_cpu_are_warned_of(
    model: dict[str, Any], precision: str, is_slow: bool
) -> None:
    asked = spec(
        precision, 2, task="multiclass", dataset="digits", loss="cross_entropy", model=model
    )
    _, report = run(asked, may_be_unwell=True)
    warnings = [each for each in report.warnings if each.kind == Warning.PRECISION_SLOW]
    assert [each.field for each in warnings] == ["training.precision"] * is_slow
    assert all("use bf16 or fp32" in each.message for each in warnings)


@pytest.mark.parametrize("precision", HALVES)
def test_the_network_has_fewer_bits_and_loss_and_gradients_have_not(precision: str) -> None:
    setup = Run(spec(precision)).setup
    seen: dict[str, torch.dtype] = {}

    def see(name: str) -> Any:
        def hook(module: nn.Module, given: Any, made: Tensor) -> None:
            seen[name] = made.dtype

        return hook

    setup.state.model.get_submodule("linear1").register_forward_hook(see("linear"))
    setup.learner.task.criterion.register_forward_hook(see("loss"))
    batch = next(iter(setup.batches.of_epoch(setup.state.order)))[0]
    backward(setup.loss_of(batch))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    assert seen == {"linear": dtype, "loss": torch.float32}
    assert {p.grad.dtype for p in setup.state.model.parameters() if p.grad is not None} == {
        torch.float32
    }


def test_a_loss_multiplies_no_matrices_in_fewer_bits() -> None:
    class Product(LossModule):
        def forward(self, inputs: Any) -> Tensor:
            product: Tensor = inputs["pred"] @ inputs["target"]
            return product

    loss = Product("mean")
    forward = Precision(Training.bf16, CPU, loss).forward
    torch.manual_seed(0)
    one, other = torch.randn(4, 4), torch.randn(4, 4)
    with forward():
        product = loss({"pred": one, "target": other})
    assert torch.equal(product, one @ other)


# The first step and the last, two in a row, and step 17, the last of an epoch of batches of 16.
BAD = dict(zip((1, 5, 6, 11, 17, 20), WAYS, strict=True))


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "adamw", "training": {"clip_norm": 0.5}},
        {"optimizer": {"sgd": {"momentum": 0.9}}, "training": {"accumulation": 3}},
    ],
    ids=["adamw, clipped", "sgd, accumulated"],
)
def test_skipped_steps_never_were(precision: str, fields: dict[str, Any]) -> None:
    training = {"guard": {"skip": {"max_share": 0.5}}, **fields["training"]}
    asked = spec(precision, **{**fields, "training": training})
    poisoned = Run(asked, BAD)
    assert poisoned.to_the_end() is None
    after_poison = poisoned.learnt()
    reference = Run(asked)
    assert reference.to_the_end(without=BAD) is None
    assert same(after_poison, reference.learnt())
    assert poisoned.setup.state.refusals.skipped == len(BAD)
    assert bool(torch.isfinite(flat(poisoned.setup.state.model)).all())
    ours, theirs = (
        poisoned.setup.learner.precision.scaler,
        reference.setup.learner.precision.scaler,
    )
    assert (ours is None) == (precision == "bf16")
    assert ours is None or theirs is None or ours.values() == theirs.values()


def test_a_loss_that_is_not_finite_is_no_overflow() -> None:
    poisoned = Run(spec("fp16"), {3: "nan input"})
    divergence = poisoned.to_the_end()
    assert divergence is not None
    assert poisoned.setup.learner.precision.scaler is not None
    assert poisoned.setup.learner.precision.scaler.downs == 0
    assert poisoned.setup.state.applied == 2


def overflowing(asked: JobSpec, *, beyond: float, first: float) -> Run:
    """Return a run whose gradients overflow above a scale."""
    made = Run(asked)
    scaler = made.setup.learner.precision.scaler
    assert scaler is not None
    scaler.scale = first
    weight = made.setup.state.model.get_parameter("linear2.weight")

    def overflow(gradient: Tensor) -> Tensor:
        assert scaler is not None
        return gradient if scaler.scale <= beyond else torch.full_like(gradient, math.inf)

    weight.register_hook(overflow)  # type: ignore[no-untyped-call]
    return made


@pytest.mark.parametrize("training", [{}, {"clip_norm": 0.5}, {"clip_value": 0.01}])
def test_an_overflow_costs_a_pass_and_changes_nothing(training: dict[str, float]) -> None:
    asked = spec("fp16", training=training)
    tried = overflowing(asked, beyond=2.0**12, first=FIRST_SCALE)
    assert tried.to_the_end() is None
    learnt = tried.learnt()
    never = overflowing(asked, beyond=2.0**12, first=2.0**12)
    assert never.to_the_end() is None
    assert same(learnt, never.learnt())
    assert tried.report.decisions == []
    assert tried.report.series("guard/scale_downs")[0] == (1, 4.0)
    assert tried.report.series("guard/loss_scale")[0] == (1, 2.0**12)
    assert never.report.last("guard/scale_downs") == 0


def test_the_losss_own_gradient_overflows_and_is_not_cut() -> None:
    # 65,536 times a slope of some hundreds is more than float16 holds.
    raw = {"standardise_targets": False}
    asked = spec("fp16", steps=5, preprocessing=raw, loss={"mse": {"reduction": "sum"}})
    result, report = run(asked)
    assert result.state == Job.SUCCEEDED, result.message
    assert report.last("guard/scale_downs") > 0
    _, whole = run(spec("fp32", steps=5, preprocessing=raw, loss={"mse": {"reduction": "sum"}}))
    norms, expected = report.series("guard/grad_norm"), whole.series("guard/grad_norm")
    assert norms[0][1] == pytest.approx(expected[0][1], rel=0.02)


def test_the_scale_doubles_after_many_good_steps_and_falls_to_1_at_the_least() -> None:
    scaler = GradScaler(LARGEST_SCALE / 2)
    for _ in range(RAISED_AFTER - 1):
        scaler.passed()
    assert scaler.scale == LARGEST_SCALE / 2
    kept = scaler.values()
    scaler.passed()
    assert scaler.scale == LARGEST_SCALE
    for _ in range(RAISED_AFTER):
        scaler.passed()
    assert scaler.scale == LARGEST_SCALE
    again = GradScaler()
    again.restore({}, kept)
    again.passed()
    assert again.values() == {"scale": LARGEST_SCALE, "downs": 0, "passed": 0}
    low = GradScaler(2.0)
    assert low.lower()
    assert (low.scale, low.downs) == (1.0, 1)
    # Not the scale was at fault: it is what it was before the step.
    assert not low.lower()
    assert (low.scale, low.downs) == (2.0, 0)


def test_what_a_device_cannot_do_is_the_specs_fault() -> None:
    precision = Precision(Training.fp16, CPU, LossModule("mean"))
    half = torch.eye(2, dtype=torch.float16)
    with pytest.raises(UserSpecError, match="training.precision is fp16.*use fp32"):
        precision.dry_run(lambda: torch.cdist(half, half))
    with pytest.raises(RuntimeError, match="another"):
        precision.dry_run(lambda: (_ for _ in ()).throw(RuntimeError("another")))


@pytest.mark.parametrize("task", ["gan", "multitask"])
def test_tasks_of_several_losses_are_refused(task: str) -> None:
    def found(precision: str) -> list[str]:
        asked = job(task={task: {}}, training={"precision": precision})
        violations, _ = check(asked)
        return [v.found for v in violations if v.field == "training.precision"]

    assert found("bf16") == [f"bf16 with task {task}"]
    assert found("fp32") == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("model", MODELS)
def test_fewer_bits_on_cuda(model: str, precision: str) -> None:
    asked = spec(precision, task="multiclass", loss="cross_entropy", **MODELS[model])
    ends = [
        run_anywhere(asked, report=NullReporter(), control=NeverStop(), device=device)
        for device in ("cuda", "cuda", "cpu")
    ]
    once, again, on_cpu = [flat(end.model) for end in ends if end.model is not None]
    assert torch.equal(once, again)
    assert torch.allclose(once, on_cpu, rtol=0.1, atol=0.05)
