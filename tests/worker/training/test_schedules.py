from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from talweg.spec import fill_message, from_dict
from talweg.v1 import optimizers_pb2 as messages
from talweg.worker.training.optim import lr_schedules
from talweg.worker.training.optim.lr_schedules import Length, Schedule

RATE = 0.5


def build(schedule: Any, steps: int, steps_an_epoch: int = 10) -> Schedule:
    message = fill_message(from_dict(schedule, messages.Schedule))
    return lr_schedules.build(message, learning_rate=RATE, length=Length(steps, steps_an_epoch))


def rates(schedule: Any, steps: int, steps_an_epoch: int = 10) -> list[float]:
    built = build(schedule, steps, steps_an_epoch)
    return [built.learning_rate(step, 0) for step in range(1, steps + 1)]


def of_torch(make: Any, steps: int, rate: float = RATE) -> list[float]:
    """Return the rates that torch's scheduler, stepped after each step, would give."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=rate)
    scheduler = make(optimizer)
    result = []
    for step in range(steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return result


def test_every_schedule_has_a_curve() -> None:
    members = [f.name for f in messages.Schedule.DESCRIPTOR.oneofs_by_name["kind"].fields]
    assert sorted(lr_schedules.SCHEDULES) == sorted(members)


def test_constant_is_constant() -> None:
    assert rates("constant", 5) == [RATE] * 5


def test_step_against_torch() -> None:
    ours = rates({"step": {"every_epochs": 2, "gamma": 0.3}}, 95)
    assert ours == pytest.approx(
        of_torch(lambda optimizer: lr_scheduler.StepLR(optimizer, 20, 0.3), 95)
    )


def test_cosine_against_torch() -> None:
    ours = rates({"cosine": {"final_share": 0.1}}, 50)
    theirs = of_torch(
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 49, 0.1 * RATE), 50
    )
    assert ours == pytest.approx(theirs)
    assert [ours[0], ours[-1]] == pytest.approx([RATE, 0.05])


@pytest.mark.parametrize("steps", [20, 100])
def test_one_cycle_against_torch(steps: int) -> None:
    ours = rates({"one_cycle": {"rising_share": 0.4}}, steps)
    theirs = of_torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer, RATE, total_steps=steps, pct_start=0.4, cycle_momentum=False
        ),
        steps,
    )
    assert ours == pytest.approx(theirs)
    assert max(ours) == pytest.approx(RATE)
    assert [ours[0], ours[-1]] == pytest.approx([RATE / 25, RATE / 250_000])


def test_warm_up_rises_linearly_to_the_schedules_own_rate() -> None:
    warmed = rates({"constant": {"warmup_steps": 4}}, 6)
    assert warmed == pytest.approx([RATE / 4, RATE / 2, 3 * RATE / 4, RATE, RATE, RATE])
    # After it the cosine still has its whole length, from the full rate to the last step.
    cosine = rates({"cosine": {"warmup_steps": 5}}, 25)
    assert cosine[:5] == pytest.approx([RATE * step / 5 for step in range(1, 6)])
    assert cosine[14] == pytest.approx(RATE / 2)
    assert cosine[-1] == pytest.approx(0, abs=1e-12)
    cycle = rates({"one_cycle": {"warmup_steps": 5}}, 105)
    assert cycle[:5] == pytest.approx([RATE / 25 * step / 5 for step in range(1, 6)])
    assert cycle[4:] == pytest.approx(rates("one_cycle", 101))
    # Falls that come during the warm-up are not undone by it.
    steps = rates({"step": {"every_epochs": 1, "gamma": 0.5, "warmup_steps": 4}}, 6, 2)
    assert steps == pytest.approx([RATE / 8, RATE / 4, 3 * RATE / 8, RATE / 2, RATE / 4, RATE / 4])


def test_plateau_falls_with_the_watched_metric() -> None:
    built = build({"plateau": {"factor": 0.1, "min_rate": 0.004, "metric": "val/mae"}}, 10)
    assert [built.learning_rate(7, falls) for falls in range(4)] == pytest.approx(
        [0.5, 0.05, 0.005, 0.004]
    )
    assert built.plateau is not None
    assert (built.plateau.metric, built.plateau.patience) == ("val/mae", 10)
    # A lowest rate above the optimizer's own does not raise it.
    high = build({"plateau": {"min_rate": 3}}, 10)
    assert high.learning_rate(1, 2) == RATE


@pytest.mark.parametrize("name", list(lr_schedules.SCHEDULES))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs_have_finite_rates(name: str, steps: int) -> None:
    for rate in rates({name: {}}, steps, 1):
        assert 0 <= rate <= RATE
