"""Thinning: about two points a second of each metric, the last one always."""

import pytest
from tests.server.samples import point

from talweg.server.services.attempts.thinning import slots, thin
from talweg.v1.jobs_pb2 import Event, LogLine


@pytest.mark.parametrize(
    ("seconds", "num"), [(0, 1), (0.1, 1), (0.98, 2), (1.0, 2), (1.3, 3), (5, 10), (600, 20)]
)
def test_slots_follow_the_time(seconds: float, num: int) -> None:
    assert slots(int(seconds * 1_000_000)) == num


@pytest.mark.parametrize(
    ("num_slots", "steps"), [(1, [9]), (2, [4, 9]), (3, [3, 6, 9]), (9, list(range(1, 10)))]
)
def test_keeps_points_spread_evenly_up_to_the_last(num_slots: int, steps: list[int]) -> None:
    events = [point(step, train_loss=1.0) for step in range(1, 10)]
    assert [event.metrics.step for event in thin(events, num_slots)] == steps


def test_other_events_and_their_order_stay() -> None:
    log = Event(log=LogLine(text="x"))
    events = [point(1, train_loss=1.0), log, point(2, train_loss=1.0), log]
    assert thin(events, 1) == [log, point(2, train_loss=1.0), log]


def test_evaluations_all_stay() -> None:
    evaluations = [point(step, val_mae=1.0) for step in range(1, 100)]
    steps = [point(step, train_loss=1.0) for step in range(1, 100)]
    assert thin([*evaluations, *steps], 1) == [*evaluations, steps[-1]]


def test_steps_to_keep_stay() -> None:
    events = [point(step, train_loss=1.0) for step in range(1, 10)]
    assert [event.metrics.step for event in thin(events, 1, {1, 4, 77})] == [1, 4, 9]
