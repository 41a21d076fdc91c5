"""The learning-rate range test: a rate that helps, and no trace of it."""

import math

import numpy as np
import pytest
import torch
from tests._few import a_few
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.resumable import CASES, resumable, undisturbed

from talweg.v1.jobs_pb2 import Job
from talweg.worker.diagnostics.rate_range import smoothed, suggestion

SGD = {"sgd": {"learning_rate": 1e-4}}


def test_the_middle_of_the_fall_is_suggested_through_noise() -> None:
    rates = np.geomspace(1e-6, 10, 200)
    fall = 1 / (1 + np.exp(3 * np.log(rates / 0.01)))
    noise = np.random.default_rng(0).normal(0, 0.02, len(rates))
    for wiggle in (0 * noise, noise):
        found = suggestion(rates.tolist(), (5 + fall + wiggle).tolist())
        assert found is not None
        assert 0.006 < found < 0.017


def test_losses_that_only_jump_or_rise_suggest_nothing() -> None:
    rates = np.geomspace(1e-6, 10, 100).tolist()
    jumps = np.random.default_rng(1).normal(1, 0.1, 100)
    assert suggestion(rates, [1.0] * 100) is None
    assert suggestion(rates, jumps.tolist()) is None
    assert suggestion(rates, np.linspace(1, 3, 100).tolist()) is None
    assert suggestion(rates[:4], [4.0, 3.0, 2.0, 1.0]) is None


def test_a_straight_line_is_smooth_to_its_ends() -> None:
    line = [float(value) for value in range(50)]
    assert smoothed(line) == pytest.approx(line)


def test_a_bad_rate_is_seen_and_the_suggested_one_is_better() -> None:
    spec = job(optimizer=SGD, diagnostics={"rate_range": {}}, training={"epochs": 3, "seed": 1})
    slow, report = run(spec)
    assert slow.state == Job.SUCCEEDED
    suggested = report.last("rate_range/suggested")
    assert 1e-3 < suggested < 1
    assert any(f"decreased fastest at {suggested:.3g}" in line for line in report.lines)
    table = report.tables["rate_range"]
    rates, losses = table.columns["rate"], table.columns["loss"]
    assert table.facts == {"rate": pytest.approx(1e-4), "suggested": suggested}
    # It blew up well before the highest rate, and is told of only as far as it was finite.
    assert 20 < len(rates) == len(losses) < 100
    assert all(math.isfinite(float(loss)) for loss in losses)
    spec.optimizer.sgd.learning_rate = suggested
    assert run(spec)[1].last("test/loss") < 0.9 * report.last("test/loss")


@pytest.mark.parametrize("name", a_few(CASES, of=4))
def test_the_training_after_it_is_the_same(name: str) -> None:
    spec = resumable(name)
    plain, before = undisturbed(name)
    spec.diagnostics.rate_range.steps = 20
    spec.diagnostics.rate_range.lowest = 1e-4
    spec.diagnostics.rate_range.highest = 0.5
    after, report = run(spec)
    assert plain.state == after.state == Job.SUCCEEDED
    assert plain.model is not None
    assert after.model is not None
    assert torch.equal(flat(plain.model), flat(after.model))
    assert report.series("train/loss") == before.series("train/loss")
    assert len(report.tables["rate_range"].columns["loss"]) > 1
