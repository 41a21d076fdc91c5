"""What of a run's news goes where."""

from pathlib import Path

import pytest
from tests.worker._jobs import tiny_spec

from talweg.v1.jobs_pb2 import Event, LogLine, MetricPoint, Warning
from talweg.v1.options_pb2 import Goal
from talweg.worker.clock import Clock
from talweg.worker.execution.reporter import JobReporter
from talweg.worker.execution.summaries import MetricSummaries
from talweg.worker.execution.thinning import Thinning
from talweg.worker.tracking.spool import LINES, SpoolWriter, read_lines


class StandingClock(Clock):
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now_ms(self) -> int:
        return self.ms


def test_summaries_know_first_last_best_and_count() -> None:
    summaries = MetricSummaries(tiny_spec())
    for step, values in enumerate([(3.0, 0.1), (1.0, 0.5), (2.0, 0.3)], start=1):
        summaries.add(step, {"val/mae": values[0], "val/r2": values[1], "lr": 0.01})
    lr, mae, r2 = summaries.take_changed()
    assert (mae.first, mae.first_step, mae.last, mae.last_step) == (3.0, 1, 2.0, 3)
    assert (mae.best, mae.best_step, mae.goal, mae.count) == (1.0, 2, Goal.MINIMIZE, 3)
    assert (r2.best, r2.best_step, r2.goal) == (0.5, 2, Goal.MAXIMIZE)
    assert not lr.HasField("best")
    assert summaries.take_changed() == []
    summaries.add(4, {"lr": 0.02})
    (lr,) = summaries.take_changed()
    assert (lr.first, lr.last, lr.count) == (0.01, 0.02, 4)


def test_thinning_keeps_two_points_a_second_of_each_kind_and_the_last() -> None:
    thinning = Thinning()
    taken = [
        step for step in range(100) if thinning.takes(step, 1000 + 10 * step, {"train/loss": 1.0})
    ]
    assert taken == [0, 50]
    assert thinning.takes(99, 1990, {"test/mae": 1.0})
    assert thinning.rest() == [(99, {"train/loss": 1.0})]
    assert thinning.rest() == []


def test_the_best_of_what_is_left_out_is_told_once_and_in_order() -> None:
    thinning = Thinning()

    def takes(step: int, *best: str, at_ms: int = 0) -> bool:
        values = {"train/loss": float(step), "train/loss_mean": 1.0}
        return thinning.takes(step, at_ms, values, best=best)

    def told() -> list[int]:
        return [step for step, _ in thinning.best()]

    loss, mean = "train/loss", "train/loss_mean"
    assert takes(0, loss, mean)
    assert not any((takes(1, loss), takes(2, loss), takes(3, mean), takes(4)))
    assert told() == [2, 3]
    assert told() == []
    # The last one, too: not twice.
    assert not takes(5, loss, mean)
    assert told() == [5]
    assert thinning.rest() == []
    # One that is sent anyway is the best by now.
    assert not takes(6, loss)
    assert takes(7, loss, at_ms=10_000)
    assert told() == []


def test_every_evaluation_and_the_best_step_go_to_the_server(
    tmp_path: Path, clock: StandingClock
) -> None:
    few = ("val/mae", "test/mae", "trivial/mae", "guard/skipped", "curriculum/share")
    with SpoolWriter(tmp_path, job_id="abc", attempt=1) as spool:
        reporter = JobReporter(tiny_spec(), spool, clock=clock)
        for step in range(1, 35):
            clock.ms += 10
            loss = 0.1 if step == 17 else 1.0 + step
            reporter.metrics(step, {"train/loss": loss, "lr": 0.1})
            for name in few:
                reporter.metrics(step, {name: float(step)})
        points = [event.metrics for event in reporter.take_news(last=True).events]
    for name in few:
        steps = [point.step for point in points if name in point.values]
        assert steps == list(range(1, 35)), name
    assert [p.step for p in points if "train/loss" in p.values] == [1, 17, 34]


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


def test_all_points_go_to_the_spool_and_some_to_the_server(
    tmp_path: Path, clock: StandingClock
) -> None:
    with SpoolWriter(tmp_path, job_id="abc", attempt=1) as spool:
        reporter = JobReporter(tiny_spec(), spool, clock=clock)
        assert not reporter.has_begun
        values = {"train/loss": 0.0}
        for step in range(1, 101):
            clock.ms += 10
            # The loop may use one dict again and again.
            values["train/loss"] = float(step)
            reporter.metrics(step, values)
            reporter.progress(step, 200, 1, 2)
        reporter.metrics(100, {"val/loss": float("inf"), "val/mae": 7.0})
        reporter.log(LogLine.INFO, "hello")
        reporter.warning(Warning(kind=Warning.REDUCTION_SUM, field="loss", message="hm"))
        news = reporter.take_news(last=True)
        assert reporter.has_begun
    steps = [event.metrics.step for event in news.events if event.HasField("metrics")]
    assert steps == [1, 51, 100, 100]
    assert [e.WhichOneof("kind") for e in news.events if not e.HasField("metrics")] == [
        "log",
        "warning",
    ]
    assert news.progress is not None
    assert (news.progress.step, news.progress.total_steps, news.progress.epoch) == (100, 200, 1)
    assert {s.name: (s.last, s.count) for s in news.summaries} == {
        "train/loss": (100.0, 100),
        "val/mae": (7.0, 1),
    }
    lines = list(read_lines(tmp_path / "abc" / "1" / LINES))
    points = [
        point for line in lines if line.kind == "metrics" for point in line.content["points"]
    ]
    assert points[:100] == [
        [step, 1_000_000 + 10 * step, {"train/loss": float(step)}] for step in range(1, 101)
    ]
    assert points[100:] == [[100, clock.ms, {"val/mae": 7.0}]]
    assert [line.content["field"] for line in lines if line.kind == "warning"] == ["loss"]


def test_news_are_told_once(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, job_id="abc", attempt=1) as spool:
        reporter = JobReporter(tiny_spec(), spool)
        reporter.metrics(1, {"train/loss": 1.0})
        point = MetricPoint(step=1, values={"train/loss": 1.0})
        assert reporter.take_news().events == [Event(metrics=point)]
        news = reporter.take_news(last=True)
        assert (news.events, news.summaries, news.progress) == ([], [], None)
