"""A whole run: its result, its metrics, its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests._few import a_few
from tests.benchmarks import diabetes_outliers
from tests.worker.training.jobs import DATASETS, STEPS_AN_EPOCH, flat, job, run, trained
from torch import nn

from talweg.client import read_jobs
from talweg.spec import label, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, tasks, training
from talweg.worker.execution.outcomes import of_result
from talweg.worker.training import NeverStop, RecordingReporter
from talweg.worker.training.evaluation import HeldSplit, evaluate

EXAMPLE = Path(__file__).parents[3] / "client/examples/diabetes_losses.yaml"
EVERYTHING_RANDOM = {"mlp": {"hidden": [16], "dropout": 0.3, "batch_norm": True}}


def example_jobs(seed: int) -> dict[str, JobSpec]:
    specs = [spec for spec in read_jobs(EXAMPLE) if spec.training.seed == seed]
    return {label(spec.loss).split()[0]: spec for spec in specs}


@pytest.mark.parametrize("name", a_few(diabetes_outliers.LOSSES, of=2))
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
    """Return all but what the clock decides."""
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
        "train/loss_mean",
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

    monkeypatch.setattr("talweg.worker.training.monitors.recorder.time.perf_counter", clock)
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
    # The second evaluation is no better, so the third epoch has half the rate, and so on.
    assert by_epoch == pytest.approx([1, 1, 0.5, 0.25, 0.125, 0.0625])


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_plateau_and_early_stopping_have_the_same_patience(patience: int) -> None:
    still = {"sgd": {"learning_rate": 1e-30, "momentum": 0}}
    watch = {"metric": "val/r2", "patience": patience}
    training = {"epochs": 9, "log_every_steps": 1}
    _, report = run(
        job(schedule={"plateau": {**watch, "factor": 0.5}}, optimizer=still, training=training)
    )
    fallen = next(step for step, rate in report.series("lr") if rate < 0.75e-30)
    stopped, _ = run(job(optimizer=still, training={**training, "early_stopping": watch}))
    assert stopped.steps == fallen - 1


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
    held = HeldSplit.of(bundle.validation, task, torch.device("cpu"))
    again = evaluate(result.model, task, held, batch_size=32)
    assert again.values[metric.removeprefix("val/")] == pytest.approx(best(seen))
    assert "Stopped early" in report.lines[0]
    assert f"step {STEPS_AN_EPOCH * (len(seen) - 3)} " in report.lines[1]
    assert [step for step, _ in report.series("test/mae")] == [result.steps]
    assert result.weights_step == STEPS_AN_EPOCH * (len(seen) - 3)
    assert of_result(result).weights_step == result.weights_step


def test_min_delta_decides_what_an_improvement_is() -> None:
    early = {"metric": "val/mae", "patience": 2, "min_delta": 1000}
    result, report = run(job(training={"epochs": 50, "early_stopping": early}))
    assert result.steps == 3 * STEPS_AN_EPOCH
    # The weights are those of the best value all the same.
    best = min(report.series("val/mae"), key=lambda point: point[1])
    assert result.weights_step == best[0] > STEPS_AN_EPOCH
    assert f"val/mae was {best[1]:.6g}, the best value." in report.lines[1]


def test_evaluation_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = job(model=EVERYTHING_RANDOM, loss={"mse": {"reduction": "sum"}})
    model = trained(spec)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    held = HeldSplit.of(bundle.test, task, torch.device("cpu"))
    whole = evaluate(model, task, held, batch_size=88)
    monkeypatch.setattr("talweg.worker.tasks.common.single_target._NUMBERS_IN_A_BATCH", 1)
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
