"""What a submission says of a continued job's learning rates is what the schedules give."""

import pytest

from talweg.spec import fill, from_dict
from talweg.spec.checks.continuation import remaining_share
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.worker.training.optim.lr_schedules import Length, build


@pytest.mark.parametrize(
    "schedule",
    [
        "cosine",
        {"cosine": {"final_share": 0.2, "warmup_steps": 7}},
        "one_cycle",
        {"one_cycle": {"rising_share": 0.6, "warmup_steps": 4}},
    ],
)
@pytest.mark.parametrize(("done", "steps"), [(90, 91), (90, 95), (90, 200), (99, 100)])
def test_the_largest_remaining_rate(schedule: object, done: int, steps: int) -> None:
    spec = fill(
        from_dict(
            {
                "task": "regression",
                "dataset": "diabetes",
                "model": {"mlp": {"hidden": [8]}},
                "loss": "mse",
                "schedule": schedule,
                "training": {"steps": steps},
            }
        )
    )
    curve = build(
        spec.schedule, learning_rate=1.0, length=Length(steps=steps, steps_an_epoch=9)
    ).learning_rate
    largest = max(curve(step, 0) for step in range(done + 1, steps + 1))
    share = remaining_share(spec, Checkpoint(step=done, epoch=10))
    assert share is not None
    # While it still rises, the largest lies at the top, between two steps perhaps.
    assert share == pytest.approx(largest, rel=0.02, abs=1e-9)
