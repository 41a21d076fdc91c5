"""One batch learnt by heart, and taken back."""

from typing import Any

import pytest
import torch
from tests._few import a_few
from tests.worker.training.jobs import flat, job, run
from tests.worker.training.resumable import CASES, resumable, undisturbed

from talweg.v1.jobs_pb2 import Job

ADAMW = {"adamw": {"learning_rate": 0.02}}


def learnt(steps: int, **fields: Any) -> tuple[dict[str, float], list[str]]:
    diagnostics = {"trivial": False, "one_batch_steps": steps}
    _, report = run(job(diagnostics=diagnostics, training={"steps": 2}, **fields))
    values = {
        name: value
        for step, of_step in report.points
        for name, value in of_step.items()
        if name.startswith("one_batch/")
        if step == 0
    }
    return values, report.lines


def test_a_model_that_can_and_one_that_cannot() -> None:
    values, lines = learnt(200, model={"mlp": {"hidden": [64]}}, optimizer=ADAMW)
    assert values["one_batch/last_loss"] < 0.05 * values["one_batch/first_loss"]
    assert any("on only the first batch its loss fell" in line for line in lines)
    slow = {"adamw": {"learning_rate": 1e-6}}
    values, lines = learnt(200, model="linear", optimizer=slow)
    assert values["one_batch/last_loss"] > 0.9 * values["one_batch/first_loss"]
    assert any("cannot overfit one batch" in line for line in lines)


def test_what_is_not_finite_ends_it_and_nothing_else() -> None:
    values, _ = learnt(500, optimizer={"sgd": {"learning_rate": 3.0}})
    assert all(torch.isfinite(torch.tensor(value)) for value in values.values())


@pytest.mark.parametrize("name", a_few(CASES, of=4))
def test_the_training_after_it_is_the_same(name: str) -> None:
    spec = resumable(name)
    plain, before = undisturbed(name)
    spec.diagnostics.trivial = False
    spec.diagnostics.one_batch_steps = 7
    after, report = run(spec)
    assert plain.state == after.state == Job.SUCCEEDED
    assert plain.model is not None
    assert after.model is not None
    assert torch.equal(flat(plain.model), flat(after.model))
    assert report.series("train/loss") == before.series("train/loss")
    assert report.last("one_batch/first_loss") == pytest.approx(before.series("train/loss")[0][1])
