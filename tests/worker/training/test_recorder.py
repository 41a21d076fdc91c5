"""What a point of training holds."""

from typing import Any

import pytest

from talweg.worker.training import RecordingReporter
from talweg.worker.training.guard.guard import Reading
from talweg.worker.training.monitors.recorder import Recorder

LOSSES = [0.1, 0.7, 0.2, 1e-3, 5.0, 0.3, 0.11]


def recorder(report: RecordingReporter) -> Recorder:
    return Recorder(report, every_steps=3, clips=False)


def take(of: Recorder, step: int) -> None:
    of.step(step, Reading(LOSSES[step - 1], 1.0), learning_rate=0.1, samples=2)


def means(report: RecordingReporter) -> list[tuple[int, float]]:
    return report.series("train/loss_mean")


def test_tells_the_mean_of_the_steps_since_the_last_point() -> None:
    report = RecordingReporter()
    of = recorder(report)
    for step in range(1, 7):
        take(of, step)
    of.flush()
    assert report.series("train/loss") == [(1, 0.1), (4, 1e-3), (6, 0.3)]
    assert means(report) == [
        (1, 0.1),
        (4, pytest.approx((0.7 + 0.2 + 1e-3) / 3)),
        (6, pytest.approx((5.0 + 0.3) / 2)),
    ]


@pytest.mark.parametrize("pause", range(1, 7))
def test_the_mean_is_the_same_after_an_interruption(pause: int) -> None:
    whole, parts = RecordingReporter(), RecordingReporter()
    undisturbed, before, after = recorder(whole), recorder(parts), recorder(parts)
    for step in range(1, 8):
        take(undisturbed, step)
        if step == pause + 1:
            after.restore({}, before.values())
        take(before if step <= pause else after, step)
    assert means(parts) == means(whole)


def test_goes_on_from_a_checkpoint_that_does_not_hold_it() -> None:
    report = RecordingReporter()
    before, after = recorder(report), recorder(report)
    for step in (1, 2):
        take(before, step)
    earlier: dict[str, Any] = dict(before.values())
    del earlier["losses"], earlier["num_losses"]
    after.restore({}, earlier)
    after.flush()
    assert means(report) == [(1, 0.1)]
    for step in (3, 4, 5):
        take(after, step)
    step, mean = means(report)[-1]
    assert step == 5
    assert mean == pytest.approx((0.2 + 1e-3 + 5.0) / 3)
