"""One job in several processes: the same as in one, whatever happens to a process."""

import math
import os
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.stored_weights import kept_by_job

from talweg.spec import check
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import training
from talweg.worker.models import build
from talweg.worker.tasks import Batch
from talweg.worker.training import NeverStop, NullReporter
from talweg.worker.training.batching.batches import Batches, Plan
from talweg.worker.training.optim.lr_schedules import Length
from talweg.worker.training.setup import set_up

CORES = len(os.sched_getaffinity(0))
two_cores = pytest.mark.skipif(CORES < 2, reason="needs two cores")
# Measured: 3e-8 at the most, on weights of size 1.
TOLERANCE = 2e-6


def wine(processes: int, **fields: Any) -> JobSpec:
    """Class weights, a last batch that is smaller, gradients that are clipped."""
    spec = {
        "task": "multiclass",
        "dataset": "wine",
        "model": {"mlp": {"hidden": [16, 8]}},
        "loss": {"cross_entropy": {"weight": "balanced"}},
        "training": {
            "epochs": 3,
            "batch_size": 15,
            "accumulation": 2,
            "clip_norm": 0.5,
            "log_every_steps": 1,
        },
        "resources": {"processes": processes},
        **fields,
    }
    return job(**spec)


@two_cores
def test_two_processes_end_as_one_does() -> None:
    alone, report_of_one = run(wine(1))
    once, report = run(wine(2))
    assert once.state == Job.SUCCEEDED, once.message
    assert alone.model is not None
    assert once.model is not None
    # The same but for the order of sums.
    assert torch.allclose(flat(once.model), flat(alone.model), rtol=0, atol=TOLERANCE)
    assert not torch.distributed.is_initialized()
    for name in ("train/loss", "guard/grad_norm", "val/loss"):
        ours, theirs = report.series(name), report_of_one.series(name)
        assert [step for step, _ in ours] == [step for step, _ in theirs]
        assert [v for _, v in ours] == pytest.approx([v for _, v in theirs], rel=1e-4)


def test_parts_of_a_batch_make_up_a_sum_of_losses() -> None:
    terms: list[Any] = [
        {"cross_entropy": {"weight": "balanced"}},
        {"cross_entropy": {"ignore_index": 0}},
        {"poly1": {"reduction": "sum"}},
        {"sum": {"terms": [{"loss": {"focal": {"ignore_index": 1}}, "weight": 0.5}]}},
    ]
    spec = wine(2, loss={"sum": {"terms": [{"loss": term} for term in terms]}})
    assert check(spec)[0] == []
    spec.resources.processes = 1
    setup = set_up(spec, torch.device("cpu"), NullReporter())
    for batch in next(setup.batches.of_epoch(setup.state.order)):
        whole = setup.loss_of(batch)
        parts = [setup.loss_of(setup.batches.part(batch, number, 2)) for number in range(2)]
        torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


@two_cores
def test_frozen_layers_and_rates_are_those_of_one_process() -> None:
    fields: dict[str, Any] = {"freeze": ["linear1"], "learning_rates": {"linear3": 5}}
    start = kept_by_job(build(wine(1).model, (13,), 4, seed=9), "shared")
    alone, _ = run(wine(1, weights=start, **fields))
    together, report = run(wine(2, weights=start, **fields))
    assert together.state == Job.SUCCEEDED, together.message
    assert alone.model is not None
    assert together.model is not None
    assert torch.allclose(flat(together.model), flat(alone.model), rtol=0, atol=5 * TOLERANCE)
    mine, theirs = together.model.state_dict(), alone.model.state_dict()
    assert torch.equal(mine["linear1.weight"], theirs["linear1.weight"])
    # The last layer is of three classes, and the file's of four.
    assert report.taken is not None
    assert (report.taken.num_taken, report.taken.num_new) == (4, 2)


@two_cores
def test_all_processes_refuse_what_one_of_them_sees() -> None:
    # One target of 266, whose squared error overflows: in one part of one batch an epoch.
    outlier = {"share": 0.004, "low_sd": 1e20, "high_sd": 1e21}

    def spec(processes: int) -> JobSpec:
        return job(
            preprocessing={"standardise_targets": False, "target_outliers": outlier},
            optimizer={"adamw": {"learning_rate": 0.01}},
            training={"epochs": 2, "guard": {"skip": {"max_share": 0.5}}},
            resources={"processes": processes},
        )

    alone, report_of_one = run(spec(1))
    together, report = run(spec(2))
    assert together.state == alone.state == Job.SUCCEEDED, together.message
    assert len(report.decisions) == 2
    steps = [decision.seen.step for decision in report.decisions]
    assert steps == [decision.seen.step for decision in report_of_one.decisions]
    assert [list(d.seen.bad_samples) for d in report.decisions] == [
        list(d.seen.bad_samples) for d in report_of_one.decisions
    ]
    assert together.model is not None
    assert alone.model is not None
    assert torch.allclose(flat(together.model), flat(alone.model), rtol=0, atol=TOLERANCE)


@two_cores
def test_all_processes_tell_the_same_spikes() -> None:
    # The same target, far off and finite.
    outlier = {"share": 0.004, "low_sd": 500, "high_sd": 500}

    def spec(processes: int) -> JobSpec:
        return job(
            loss="mse",
            preprocessing={"standardise_targets": False, "target_outliers": outlier},
            training={"epochs": 5, "batch_size": 16, "spikes": {"skip": {"max_share": 0.5}}},
            resources={"processes": processes},
        )

    alone, report_of_one = run(spec(1))
    together, report = run(spec(2))
    assert together.state == alone.state == Job.SUCCEEDED, together.message
    spikes = [(one.seen.step, list(one.seen.spike.samples)) for one in report.decisions]
    assert len(spikes) >= 3
    assert len({sample for _, (sample,) in spikes}) == 1
    assert spikes == [
        (one.seen.step, list(one.seen.spike.samples)) for one in report_of_one.decisions
    ]
    assert together.model is not None
    assert alone.model is not None
    assert torch.allclose(flat(together.model), flat(alone.model), rtol=0, atol=TOLERANCE)


def test_more_processes_than_cores_are_refused() -> None:
    result, _ = run(wine(64, training={"batch_size": 64}))
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert f"resources.processes must be <= {CORES}, the cores of this worker" in result.message


@pytest.mark.parametrize("sums", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_parts_of_a_batch_have_its_loss_as_mean(size: int, sums: bool) -> None:
    length = Length(steps=1, steps_an_epoch=1)
    plan = Plan(num_samples=7, batch_size=7, accumulation=1, sums=sums, length=length)
    x = torch.arange(1.0, size + 1)
    batches = Batches({"x": x}, plan)
    whole = Batch({"x": x}, 0.5)
    losses = []
    for number in range(3):
        part = batches.part(whole, number, 3)
        loss = part.x.sum() if sums else part.x.mean()
        losses.append(float(part.share * loss))
    expected = 0.5 * float(x.sum() if sums else x.mean())
    assert math.fsum(losses) / 3 == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"loss": {"expression": "(pred - target) ** 2"}}, "2 with expression"),
        ({"model": {"mlp": {"hidden": [4], "batch_norm": True}}}, "2 with batch normalisation"),
        (
            {"task": "multiclass", "dataset": "digits", "loss": "cross_entropy",
             "model": "convnet"},
            "2 with batch normalisation",
        ),
        (
            {"task": "multiclass", "dataset": "digits", "loss": "cross_entropy",
             "model": "resnet"},
            "2 with batch normalisation",
        ),
        (
            {"model": {"sequential": {"layers": ["linear", "batch_norm", {"linear": {}}]}}},
            "2 with batch normalisation",
        ),
        (
            {"task": "metric_learning", "dataset": "digits", "loss": "supcon",
             "model": {"embedder": {"trunk": "mlp"}}},
            "2 with task metric_learning",
        ),
        ({"training": {"batch_size": 1}}, "2 with training.batch_size 1"),
    ],
)  # fmt: skip
def test_what_does_not_divide_is_refused(fields: dict[str, Any], found: str) -> None:
    def refused(processes: int) -> list[str]:
        violations, _ = check(job(**fields, resources={"processes": processes}))
        return [v.found for v in violations if v.field == "resources.processes"]

    assert found in refused(2)
    assert refused(1) == []


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_end_as_one_process_does() -> None:
    def ends(processes: int) -> torch.Tensor:
        spec = wine(processes)
        control, report = NeverStop(), NullReporter()
        result = training.run(spec, report=report, control=control, device="cuda")
        assert result.model is not None
        return flat(result.model)

    assert torch.allclose(ends(1), ends(2), rtol=0, atol=1e-4)
