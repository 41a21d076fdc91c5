"""A whole run: its result, its metrics, its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.benchmarks import diabetes_outliers
from tests.worker.training.jobs import STEPS_AN_EPOCH, flat, job, run, trained
from torch import nn

from talweg.client import read_jobs
from talweg.spec import label, metrics_of
from talweg.v1.jobs_pb2 import Job, Outcome, Warning
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import TaskKind, loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, tasks, training
from talweg.worker.execution.control import JobControl
from talweg.worker.training import NeverStop, RecordingReporter, Stop, checks
from talweg.worker.training.evaluation import HeldPart, evaluate

EXAMPLE = Path(__file__).parents[3] / "client/examples/diabetes_losses.yaml"
EVERYTHING_RANDOM = {"mlp": {"hidden": [16], "dropout": 0.3, "batch_norm": True}}
DATASETS = {
    "regression": "diabetes",
    "binary": "breast_cancer",
    "multiclass": "wine",
    "ordinal": "diabetes",
    "multilabel": {"synthetic_multilabel": {"num_samples": 300}},
}


def example_jobs(seed: int) -> dict[str, JobSpec]:
    specs = [spec for spec in read_jobs(EXAMPLE) if spec.training.seed == seed]
    return {label(spec.loss).split()[0]: spec for spec in specs}


@pytest.mark.parametrize("name", diabetes_outliers.LOSSES)
def test_it_agrees_with_the_plain_script(name: str) -> None:
    _, report = run(example_jobs(seed=0)[name])
    assert report.last("test/mae") == pytest.approx(diabetes_outliers.run(name, 0), abs=1e-4)


def test_the_example_is_every_loss_and_seed_of_the_script() -> None:
    for seed in diabetes_outliers.SEEDS:
        assert sorted(example_jobs(seed)) == sorted(diabetes_outliers.LOSSES)
        for spec in example_jobs(seed).values():
            assert spec.split.seed == spec.preprocessing.target_outliers.seed == seed
            assert list(spec.model.mlp.hidden) == [diabetes_outliers.HIDDEN]
            assert spec.training.epochs == diabetes_outliers.EPOCHS


def points_of(report: RecordingReporter) -> list[tuple[int, dict[str, float]]]:
    """All but what the clock decides."""
    return [
        (step, {name: v for name, v in values.items() if not name.startswith("throughput/")})
        for step, values in report.points
    ]


def test_the_same_spec_gives_the_same_result_bit_for_bit() -> None:
    spec = job(model=EVERYTHING_RANDOM, training={"epochs": 4, "log_every_steps": 1})
    one, first = run(spec)
    # Neither the random state nor the threads around a run matter to it, and it leaves both alone.
    torch.manual_seed(99)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        other, second = run(spec)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)
    assert one.model is not None
    assert other.model is not None
    assert torch.equal(flat(one.model), flat(other.model))
    assert points_of(first) == points_of(second)
    assert len(first.points) > 4 * STEPS_AN_EPOCH


def test_seeds_decide_weights_order_and_dropout() -> None:
    def weights(seed: int, **model: Any) -> torch.Tensor:
        spec = job(model={"mlp": {"hidden": [16], **model}}, training={"steps": 5, "seed": seed})
        return flat(trained(spec))

    assert not torch.equal(weights(0), weights(1))
    assert not torch.equal(weights(0), weights(0, dropout=0.01))


def test_it_is_the_loop_that_one_would_write() -> None:
    """With dropout, batch normalisation, clipping, a schedule and SGD, bit for bit."""
    spec = job(
        model=EVERYTHING_RANDOM,
        loss={"huber": {"delta": 0.5}},
        optimizer={"sgd": {"learning_rate": 0.05, "momentum": 0.9}},
        schedule={"step": {"every_epochs": 2, "gamma": 0.5}},
        training={"epochs": 4, "seed": 7, "clip_value": 0.05, "evaluate_every_epochs": 4},
    )
    model = trained(spec)

    bundle = data.load(spec)
    x, y = bundle.train.x, bundle.train.y[:, None]
    torch.set_num_threads(1)
    torch.manual_seed(7)
    written = nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1)
    )
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(8)
    optimizer = torch.optim.SGD(written.parameters(), lr=0.05, momentum=0.9, fused=True)
    for epoch in range(4):
        optimizer.param_groups[0]["lr"] = 0.05 * 0.5 ** (epoch // 2)
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), 32):
            rows = order[start : start + 32]
            optimizer.zero_grad()
            error = nn.functional.huber_loss(written(x[rows]), y[rows], delta=0.5)
            torch.autograd.backward(error)
            torch.nn.utils.clip_grad_value_(written.parameters(), 0.05)
            optimizer.step()
    assert torch.equal(flat(model), flat(written))


@pytest.mark.parametrize("epochs", [1, 3])
def test_accumulation_is_a_bigger_batch(epochs: int) -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        training = {"epochs": epochs, "batch_size": batch_size, "accumulation": accumulation}
        spec = job(training=training, optimizer={"sgd": {"learning_rate": 0.1}})
        result, report = run(spec)
        assert result.model is not None
        # 266 samples: windows of 96, 96 and 74, the last of batches of 32, 32 and 10.
        assert result.steps == report.total_steps == 3 * epochs
        return flat(result.model)

    assert torch.allclose(weights(32, 3), weights(96, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("multiclass", {"cross_entropy": {"weight": [1, 20]}}),
        ("multiclass", {"cross_entropy": {"ignore_index": 0}}),
        ("multiclass", {"focal": {"ignore_index": 0}}),
        ("multiclass", {"ldam": {"weight": [1, 20]}}),
        ("binary", {"focal_binary": {"normalizer": "positives"}}),
        ("binary", {"bce_with_logits": {"pos_weight": [9]}}),
    ],
)
def test_accumulation_is_a_bigger_batch_where_samples_weigh_differently(
    task: str, loss: Any
) -> None:
    def weights(batch_size: int, accumulation: int) -> torch.Tensor:
        spec = rare(loss, 0.2, task)
        spec.optimizer.sgd.learning_rate = 0.05
        spec.training.steps, spec.training.batch_size = 12, batch_size
        spec.training.accumulation = accumulation
        return flat(trained(spec))

    # Batches of 7 samples hold very different numbers of the rare class, or none.
    assert torch.allclose(weights(7, 3), weights(21, 1), rtol=0, atol=2e-6)


def test_accumulation_averages_the_batches_of_a_sum() -> None:
    def weights(batch_size: int, accumulation: int, rate: float) -> torch.Tensor:
        training = {"steps": 1, "batch_size": batch_size, "accumulation": accumulation}
        return flat(
            trained(
                job(
                    training=training,
                    loss={"mse": {"reduction": "sum"}},
                    optimizer={"sgd": {"learning_rate": rate, "momentum": 0}},
                )
            )
        )

    # Half of what the batch of both, of 200 and of 66 samples, would move it by.
    assert torch.allclose(weights(200, 2, 1e-3), weights(266, 1, 5e-4), rtol=0, atol=1e-6)


def test_length_in_steps_may_end_within_an_epoch() -> None:
    result, report = run(job(training={"steps": STEPS_AN_EPOCH + 4}))
    assert result.steps == report.steps == report.total_steps == STEPS_AN_EPOCH + 4
    assert report.epochs == (2, 2)
    # Evaluated after the whole epoch, and at the end.
    assert [step for step, _ in report.series("val/loss")] == [STEPS_AN_EPOCH, STEPS_AN_EPOCH + 4]
    assert [step for step, _ in report.series("test/mae")] == [STEPS_AN_EPOCH + 4]


def test_evaluation_comes_every_so_many_epochs_and_at_the_end() -> None:
    _, report = run(job(training={"epochs": 7, "evaluate_every_epochs": 3}))
    epochs = [step / STEPS_AN_EPOCH for step, _ in report.series("val/mae")]
    assert epochs == [3, 6, 7]


@pytest.mark.parametrize("task", DATASETS)
def test_all_metrics_are_told_under_their_names(task: str) -> None:
    names = {"regression": "mse", "multiclass": "cross_entropy", "ordinal": "coral"}
    spec = job(
        task=task,
        dataset=DATASETS[task],
        loss=names.get(task, "bce_with_logits"),
        training={"epochs": 2, "clip_norm": 1.0},
    )
    result, report = run(spec)
    assert result.state == Job.SUCCEEDED, result.message
    told = {name for _, values in report.points for name in values}
    metrics = ["loss", *(metric.name for metric in metrics_of(spec))]
    assert told == {
        "train/loss",
        "guard/grad_norm",
        "guard/clipped",
        "lr",
        "throughput/samples_per_second",
        *(f"{part}/{name}" for part in ("val", "test") for name in metrics),
    }
    assert report.bundle is data.load(spec)


def test_metrics_are_thinned_by_steps() -> None:
    def steps(**training: Any) -> list[int]:
        _, report = run(job(training={"steps": 20, **training}))
        return [step for step, _ in report.series("train/loss")]

    assert steps(log_every_steps=1) == list(range(1, 21))
    assert steps(log_every_steps=7) == [1, 8, 15, 20]
    assert steps(log_every_steps=50) == [1, 20]


def test_metrics_are_thinned_by_time_where_steps_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.01
        return now

    monkeypatch.setattr("talweg.worker.training.recorder.time.perf_counter", clock)
    _, report = run(job(training={"steps": 100}))
    steps = [step for step, _ in report.series("train/loss")]
    assert (steps[0], steps[-1]) == (1, 100)
    # The clock is asked from the tenth step on, and then moves 0.01 s a step.
    apart = [after - before for before, after in zip(steps[:-2], steps[1:-1], strict=True)]
    assert all(18 <= gap <= 22 for gap in apart)


def test_share_of_clipped_steps_and_the_norm_before_clipping() -> None:
    _, report = run(job(training={"steps": 20, "clip_norm": 1e-3, "log_every_steps": 10}))
    assert [value for _, value in report.series("guard/clipped")] == [1, 1, 1]
    assert all(norm > 1e-3 for _, norm in report.series("guard/grad_norm"))
    _, report = run(job(training={"steps": 20, "clip_norm": 1e3}))
    assert report.last("guard/clipped") == 0


def test_the_share_of_clipped_steps_does_not_hang_on_when_points_are_made() -> None:
    def shares(every: int) -> dict[int, float]:
        training = {"steps": 40, "clip_norm": 1.0, "log_every_steps": every}
        _, report = run(job(training=training))
        return dict(report.series("guard/clipped"))

    often, seldom = shares(1), shares(13)
    assert 0 < often[40] < 1
    assert seldom == {step: often[step] for step in (1, 14, 27, 40)}


def test_the_learning_rate_follows_the_schedule() -> None:
    spec = job(
        schedule={"cosine": {"warmup_steps": 3}},
        optimizer={"adamw": {"learning_rate": 0.01}},
        training={"steps": 13, "log_every_steps": 1},
    )
    _, report = run(spec)
    rates = dict(report.series("lr"))
    assert [rates[1], rates[3], rates[8], rates[13]] == pytest.approx([0.01 / 3, 0.01, 0.005, 0])


def test_plateau_lowers_the_rate_after_evaluations_without_improvement() -> None:
    # Nothing is learnt at this rate, so no evaluation is better than the first by a hair.
    spec = job(
        schedule={"plateau": {"metric": "val/r2", "patience": 1, "factor": 0.5}},
        optimizer={"sgd": {"learning_rate": 1e-30, "momentum": 0}},
        training={"epochs": 6, "log_every_steps": 1},
    )
    _, report = run(spec)
    rates = dict(report.series("lr"))
    by_epoch = [rates[STEPS_AN_EPOCH * epoch + 1] / 1e-30 for epoch in range(6)]
    # The second and third are no better; so the fourth epoch has half the rate.
    assert by_epoch == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25])


@pytest.mark.parametrize(("metric", "best"), [("val/loss", min), ("val/r2", max)])
def test_early_stopping_takes_the_best_weights(
    metric: str, best: Callable[[list[float]], float]
) -> None:
    spec = job(
        model={"mlp": {"hidden": [64], "batch_norm": True}},
        optimizer={"adamw": {"learning_rate": 0.01}},
        training={"epochs": 200, "early_stopping": {"metric": metric, "patience": 3}},
    )
    result, report = run(spec)
    seen = [value for _, value in report.series(metric)]
    assert result.state == Job.SUCCEEDED
    assert result.steps == STEPS_AN_EPOCH * len(seen) < 200 * STEPS_AN_EPOCH
    assert seen.index(best(seen)) == len(seen) - 4
    assert result.model is not None
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    held = HeldPart.of(bundle.validation, task, torch.device("cpu"))
    again = evaluate(result.model, task, held, batch_size=32)
    assert again.values[metric.removeprefix("val/")] == pytest.approx(best(seen))
    assert "Stopped early" in report.lines[0]
    assert f"step {STEPS_AN_EPOCH * (len(seen) - 3)} " in report.lines[1]
    assert [step for step, _ in report.series("test/mae")] == [result.steps]


def test_min_delta_decides_what_an_improvement_is() -> None:
    early = {"metric": "val/mae", "patience": 2, "min_delta": 1000}
    result, _ = run(job(training={"epochs": 50, "early_stopping": early}))
    assert result.steps == 3 * STEPS_AN_EPOCH


def test_evaluation_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job(model=EVERYTHING_RANDOM, loss={"mse": {"reduction": "sum"}})
    model = trained(spec)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    held = HeldPart.of(bundle.test, task, torch.device("cpu"))
    whole = evaluate(model, task, held, batch_size=88)
    monkeypatch.setattr("talweg.worker.tasks._one_target._NUMBERS_IN_A_BATCH", 1)
    in_sevens = evaluate(model, task, held, batch_size=7)
    assert in_sevens.values == pytest.approx(whole.values, rel=1e-5)
    assert in_sevens.predictions is not None
    assert whole.predictions is not None
    assert in_sevens.predictions.y_pred == pytest.approx(whole.predictions.y_pred, rel=1e-5)
    # Training goes on as before: with dropout, and statistics that move.
    assert model.training
    with torch.no_grad():
        outputs = model.eval()(bundle.test.x)
    squares = float((outputs[:, 0] - bundle.test.y).square().sum())
    assert whole.values["loss"] == pytest.approx(squares, rel=1e-5)


def test_the_result_holds_what_later_steps_need() -> None:
    spec = job()
    result, report = run(spec)
    bundle = data.load(spec)
    assert result.model is not None
    assert result.example is not None
    assert result.predictions is not None
    assert not result.model.training
    assert all(p.grad is None for p in result.model.parameters())
    assert torch.equal(result.example, bundle.train.x[:5])
    with torch.no_grad():
        outputs = result.model(bundle.test.x)[:, 0].double().numpy()
    assert bundle.target_scaler is not None
    answers = bundle.target_scaler.unscale(outputs)
    assert result.predictions.y_pred == pytest.approx(answers, rel=1e-5)
    error = abs(result.predictions.y_pred - result.predictions.y_true).mean()
    assert report.last("test/mae") == pytest.approx(float(error))


def test_without_validation_and_test_data() -> None:
    result, report = run(job(split={"train": 1, "validation": 0, "test": 0}))
    assert result.state == Job.SUCCEEDED
    assert result.predictions is None
    told = {name.partition("/")[0] for _, values in report.points for name in values}
    assert told == {"train", "guard", "lr", "throughput"}


class StopAt:
    """Asks for an end at a step."""

    def __init__(self, step: int, stop: Stop) -> None:
        self._left = step
        self._stop = stop

    def check(self) -> Stop | None:
        self._left -= 1
        return self._stop if self._left == 0 else None


@pytest.mark.parametrize(
    ("reason", "state", "cause"),
    [
        ("cancel", Job.CANCELLED, Outcome.CANCEL_REQUEST),
        ("time_limit", Job.FAILED, Outcome.TIME_LIMIT),
        ("shutdown", Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
        ("lost", Job.QUEUED, Outcome.CAUSE_UNSPECIFIED),
    ],
)
def test_it_stops_at_the_step_at_which_it_is_asked_to(reason: Any, state: int, cause: int) -> None:
    stop = Stop(reason, "because")
    result, report = run(job(resources={"time_limit_seconds": 600}), StopAt(5, stop))
    assert (result.state, result.cause, result.steps) == (state, cause, 5)
    assert report.steps == 5
    assert "step 5: because" in result.message
    assert result.model is None
    # The last step has a point, though it came before its time; unless the run goes on elsewhere.
    goes_on = reason in ("shutdown", "lost")
    assert report.series("train/loss")[-1][0] == (1 if goes_on else 5)


def test_the_time_limit_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(1000))
    clock = SimpleNamespace(monotonic=lambda: next(times))
    # The control's clock alone: it is the control that keeps the limit.
    monkeypatch.setattr("talweg.worker.execution.control.time", clock)
    control = JobControl(lease_end=math.inf, time_limit=7)
    result, _ = run(job(resources={"time_limit_seconds": 7}), control)
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.TIME_LIMIT, 7)
    assert "resources.time_limit_seconds 7" in result.message


class Allocates:
    """Asks the machine for more memory than there is."""

    def check(self) -> Stop | None:
        torch.empty(2**60)
        return None


def test_memory_that_does_not_suffice_is_a_result_with_a_hint() -> None:
    result, _ = run(job(), Allocates())
    assert (result.state, result.cause) == (Job.FAILED, Outcome.OUT_OF_MEMORY)
    assert "training.batch_size, 32 now" in result.message


class Fails:
    """Has a defect."""

    def check(self) -> Stop | None:
        raise RuntimeError("a defect")


def test_defects_are_raised_and_leave_the_process_as_it_was() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with pytest.raises(RuntimeError, match="a defect"):
        run(job(), Fails())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"loss": {"huber": {"delta": -1.0}}}, "loss.huber.delta"),
        ({"loss": {"poisson_nll": {"log_input": False}}}, "pred must be at least 0"),
        ({"loss": {"expression": "abs(prd)"}}, "loss.expression.formula: found 'prd' at column 5"),
        (
            {"loss": {"expression": "log(pred - target)"}},
            "loss.expression.formula: tried on the first batch, the value of the loss is nan",
        ),
        (
            {"loss": {"expression": "mean(pred, 0)"}},
            "for pred of shape (32, 1) it has shape (1, 1)",
        ),
        (
            {
                "loss": {
                    "sum": {
                        "terms": [
                            {"loss": "mse"},
                            {"loss": {"expression": "sqrt(abs(pred - target))"}},
                        ]
                    }
                }
            },
            "loss.sum.terms[1].loss.expression.formula: tried on the first batch, the gradient",
        ),
        ({"loss": {"expression": "pred / 0**1 + pred * (1 / 0)"}}, "'/' at column 25 gives inf"),
        (
            {
                "task": "multiclass",
                "dataset": {"synthetic_classification": {"num_features": 2, "num_informative": 2}},
                "loss": "cross_entropy",
                "model": {"sequential": {"layers": ["relu"]}},
            },
            "no weights",
        ),
    ],
)
def test_what_the_spec_is_to_blame_for_is_said_so(fields: dict[str, Any], says: str) -> None:
    result, report = run(job(**fields))
    assert (result.state, result.cause, result.steps) == (Job.FAILED, Outcome.USER_SPEC, 0)
    assert says in result.message
    assert report.steps == 0


@pytest.mark.parametrize(
    ("fields", "formula", "params"),
    [
        ({"loss": "mse"}, "(pred - target)**2", {}),
        (
            {"loss": "asymmetric_mse"},
            "where(pred > target, k * (pred - target)**2, (pred - target)**2)",
            {"k": 2.0},
        ),
        (
            {"task": "binary", "dataset": "breast_cancer", "loss": "bce_with_logits"},
            "softplus(pred) - pred * target",
            {},
        ),
        (
            {"task": "multilabel", "dataset": "synthetic_multilabel", "loss": "bce_with_logits"},
            "mean(softplus(pred) - pred * target)",
            {},
        ),
    ],
)
def test_a_formula_trains_as_the_loss_that_it_spells_out(
    fields: dict[str, Any], formula: str, params: dict[str, float]
) -> None:
    own = {"expression": {"formula": formula, "params": params}}
    expected, actual = trained(job(**fields)), trained(job(**{**fields, "loss": own}))
    torch.testing.assert_close(flat(actual), flat(expected), rtol=1e-3, atol=1e-4)


def test_cuda_on_a_machine_without_it_is_not_the_jobs_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="needs a CUDA device"):
        training.run(job(), report=RecordingReporter(), control=NeverStop(), device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_about_the_same_and_itself_again() -> None:
    spec = job(model=EVERYTHING_RANDOM | {}, training={"epochs": 3, "clip_norm": 1.0})
    results = []
    for device in ("cuda", "cuda"):
        result = training.run(spec, report=RecordingReporter(), control=NeverStop(), device=device)
        assert result.model is not None
        results.append(flat(result.model))
    assert torch.equal(results[0], results[1])


def warnings_of(**fields: Any) -> list[tuple[str, str]]:
    _, report = run(job(training={"steps": 1}, **fields))
    return [(warning.Kind.Name(warning.kind), warning.field) for warning in report.warnings]


def test_terms_of_a_sum_far_apart_bring_a_warning() -> None:
    def sum_of(weight: float) -> dict[str, Any]:
        return {"sum": {"terms": [{"loss": "mse"}, {"loss": "mae", "weight": weight}]}}

    apart = [("SUM_TERMS_APART", "loss.sum.terms[1].weight")]
    assert warnings_of(loss=sum_of(1e-4)) == apart
    assert warnings_of(loss=sum_of(1e4)) == [("SUM_TERMS_APART", "loss.sum.terms[0].weight")]
    assert warnings_of(loss=sum_of(1)) == []
    # A weight of 0 is meant.
    assert warnings_of(loss=sum_of(0)) == []


def rare(loss: Any, share: float, task: str = "binary") -> JobSpec:
    shares = {"class_shares": [1 - share, share], "label_noise": 0, "num_samples": 2000}
    dataset = {"synthetic_classification": shares}
    return job(task=task, dataset=dataset, loss=loss, training={"steps": 1})


@pytest.mark.parametrize(
    ("task", "loss", "weighted"),
    [
        ("binary", "bce_with_logits", {"bce_with_logits": {"pos_weight": [9]}}),
        ("binary", "focal_binary", {"focal_binary": {"alpha": 0.9}}),
        ("multiclass", "cross_entropy", {"cross_entropy": {"weight": [1, 9]}}),
        ("multiclass", "focal", {"focal": {"alpha": [0.1, 0.9]}}),
    ],
)
def test_imbalance_without_weights_brings_a_warning(task: str, loss: str, weighted: Any) -> None:
    def found(spec: JobSpec) -> list[Warning]:
        return list(checks.imbalance_warnings(spec, data.load(spec)))

    (warning,) = found(rare(loss, 0.05, task))
    assert warning.kind == Warning.IMBALANCE_WITHOUT_WEIGHTS
    assert warning.field.startswith(f"loss.{loss}.")
    assert "'class 1'" in warning.message
    assert found(rare(loss, 0.2, task)) == []
    assert found(rare(weighted, 0.05, task)) == []


def test_the_weights_of_a_losss_parts_are_no_class_weights() -> None:
    spec = rare("symmetric_ce", 0.05, "multiclass")
    (warning,) = checks.imbalance_warnings(spec, data.load(spec))
    assert warning.field == "loss.symmetric_ce"


@pytest.mark.parametrize(
    "loss",
    [
        {"cross_entropy": {"weight": "balanced"}},
        {"focal": {"alpha": {"effective_number": {"beta": 0.9}}}},
        "logit_adjusted",
        "ldam",
    ],
)
def test_losses_that_count_the_classes_bring_no_warning(loss: Any) -> None:
    spec = rare(loss, 0.05, "multiclass")
    assert list(checks.imbalance_warnings(spec, data.load(spec))) == []


def test_what_submission_has_warned_of_is_not_said_again() -> None:
    _, report = run(rare("bce_with_logits", 0.05))
    assert report.warnings == []


def pairs() -> list[tuple[str, str]]:
    found = []
    for field in Loss.DESCRIPTOR.oneofs_by_name["kind"].fields:
        assert field.message_type is not None
        if field.name == "plugin":
            continue  # What a plug-in trains is its own affair.
        facts = field.message_type.GetOptions().Extensions[loss]
        if not facts.only_evaluated:
            names = [TaskKind.Name(task).lower() for task in facts.tasks]
            found += [(name, field.name) for name in names if name in DATASETS]
    return found


@pytest.mark.parametrize(("task", "name"), pairs())
def test_every_loss_trains_every_task_that_it_fits(task: str, name: str) -> None:
    term = {"regression": "mae", "multiclass": "poly1", "ordinal": "corn"}.get(task, "bce")
    parameters: dict[str, Any] = {}
    if name == "multi_quantile":
        parameters = {"quantiles": [0.1, 0.5, 0.9]}
    elif name == "expression":
        number = "(pred - target)**2"
        parameters = {
            "formula": number if task == "regression" else "softplus(pred) - pred * target"
        }
    elif name == "sum":
        parameters = {"terms": [{"loss": term, "weight": 0.5}, {"loss": term}]}

    def test_loss(rate: float) -> float:
        spec = job(
            task=task,
            dataset=DATASETS[task],
            loss={name: parameters},
            optimizer={"adamw": {"learning_rate": rate}},
            training={"epochs": 8, "evaluate_every_epochs": 8},
        )
        result, report = run(spec)
        assert result.state == Job.SUCCEEDED, result.message
        return report.last("test/loss")

    untrained, after = test_loss(1e-12), test_loss(0.01)
    # A gain, whatever the loss's scale and sign. Counts begin at their mean, in which most of
    # their loss lies.
    least = 0.01 if name == "poisson_nll" else 0.1
    assert after < untrained - least * abs(untrained)
