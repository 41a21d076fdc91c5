"""The state of the whole, results of lists and filters by metrics, from either database."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from tests.server.samples import Rules, held, point, spec, summary

from talweg.server.errors import DatabaseUnavailable, InvalidRequest
from talweg.server.queueing.presence import WorkerAnswer
from talweg.server.services import status as status_module
from talweg.server.services.attempts.reports import Report
from talweg.server.services.status import Component, Status, StatusService
from talweg.v1.jobs_pb2 import Event, Job, LogLine, TrackingRun


class Workers:
    def __init__(self, answers: Mapping[str, WorkerAnswer] | None) -> None:
        self.answers = answers

    async def workers(self) -> Mapping[str, WorkerAnswer] | None:
        return self.answers


async def status(rules: Rules, answers: Mapping[str, WorkerAnswer] | None) -> Status:
    return await StatusService(rules.database, Workers(answers), rules.tracking).status()


def part(found: Status, name: str) -> Component:
    return next(component for component in found.components if component.name == name)


async def test_all_is_well(rules: Rules) -> None:
    running = await rules.running()
    await rules.submit()
    paused = await rules.submit()
    await rules.pausing.pause(paused.name, reason="")
    found = await status(rules, {running.worker: WorkerAnswer(["cuda", "default"], "")})
    assert not any(component.problem for component in found.components)
    (worker,) = found.workers
    assert (worker.name, list(worker.jobs)) == (running.worker, [running.name])
    assert found.jobs == {Job.RUNNING: 1, Job.QUEUED: 1, Job.PAUSED: 1}
    assert found.backlog.num_jobs == 0


async def test_a_worker_in_trouble_is_named_with_its_reason(rules: Rules) -> None:
    why = "/spool has 12 MiB of free space, and must have >= 64 MiB"
    answers = {"w1@a": WorkerAnswer(["default"], why), "w2@b": WorkerAnswer(["default"], "")}
    found = part(await status(rules, answers), "workers")
    assert found.problem == f"w1@a takes no jobs: {why}"
    assert "Free space" in found.remedy


async def test_a_busy_worker_may_be_slow_to_answer(rules: Rules) -> None:
    assert part(await status(rules, {}), "workers").problem == "no worker answers"
    await rules.running()
    assert not part(await status(rules, {}), "workers").problem


async def test_a_record_that_does_not_answer_is_said(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable("away") from OSError("disk I/O error")

    await rules.running()
    monkeypatch.setattr(rules.database, "check", fail)
    whole = await status(rules, {})
    found = part(whole, "database")
    assert found.problem.startswith("the record cannot be read or written")
    assert "free space" in found.remedy
    # It can be read as long as only its disk is full.
    assert whole.jobs == {Job.RUNNING: 1}


async def test_only_ended_jobs_of_the_last_day_wait_for_delivery(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "_PATIENCE_S", 0.0)
    delivered, waiting, old = [await rules.finished() for _ in range(3)]
    await rules.running()
    rules.alter(old, end_time=1)
    run = TrackingRun(run_id="r1", experiment_id="1", complete=True)
    found = await status(rules, {})
    assert found.backlog.num_jobs == 2
    assert "the results of 2 ended jobs" in part(found, "delivery").problem
    await rules.tracking.set_run(delivered.name, expected="", run=run)
    found = await status(rules, {})
    assert found.backlog.num_jobs == 1
    assert found.delivered_per_second > 0
    # Something arrives, so there is no trouble.
    assert not part(found, "delivery").problem
    run = TrackingRun(run_id="r2", experiment_id="1", complete=True)
    await rules.tracking.set_run(waiting.name, expected="", run=run)
    assert (await status(rules, {})).backlog.num_jobs == 0


async def test_the_rate_is_that_of_the_last_batch(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("talweg.server.services.attempts.tracking.time", clock)

    async def deliver(number: int) -> None:
        for _ in range(number):
            row = await rules.finished()
            run = TrackingRun(run_id=row.id, experiment_id="1", complete=True)
            await rules.tracking.set_run(row.name, expected="", run=run)

    assert rules.tracking.per_second == 0
    await deliver(2)
    now += 40
    await deliver(4)
    now += 2
    assert rules.tracking.per_second == 2
    now += 18
    assert rules.tracking.per_second == pytest.approx(4 / 20)
    now += 60
    assert rules.tracking.per_second == 0


async def result(rules: Rules, name: str) -> Any:
    return (await rules.jobs.get(name)).result


async def test_the_result_is_that_of_the_test_data_once_there(rules: Rules) -> None:
    row = await rules.running()
    assert await result(rules, row.name) is None
    summaries = [summary("train/loss", 1.0)]
    await rules.leases.report(held(row), Report(1, [point(5, train_loss=1.0)], summaries))
    found = await result(rules, row.name)
    assert (found.metric, found.value) == ("train/loss", 1.0)
    await rules.leases.report(
        held(row), Report(2, [point(6, val_mae=3.0)], [summary("val/mae", 3.0, step=6)])
    )
    found = await result(rules, row.name)
    assert (found.metric, found.value, found.step) == ("val/mae", 3.0, 6)
    ended = await rules.finished(test_mae=2.0, val_mae=3.0)
    other = await rules.finished(spec(task="multiclass", dataset="digits", loss="focal"))
    page = await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    listed = {view.row.id: view.result for view in page.jobs}
    ended_result = listed[ended.id]
    assert ended_result is not None
    assert (ended_result.metric, ended_result.value) == ("test/mae", 2.0)
    assert listed[other.id] is None


async def test_filters_by_a_metric(rules: Rules) -> None:
    good, bad = await rules.finished(test_mae=0.5), await rules.finished(test_mae=2.0)
    await rules.submit()

    async def ids(filter: str) -> list[str]:
        page = await rules.jobs.list_page(filter=filter, order_by="", page_size=0, page_token="")
        return [view.row.id for view in page.jobs]

    assert await ids("metrics.test/mae < 1") == [good.id]
    assert await ids("metrics.test/mae >= 0.5") == [bad.id, good.id]
    assert await ids("(metrics.test/mae < 0.6 OR metrics.test/mae > 1)") == [bad.id, good.id]
    assert await ids("metrics.val/mae > 0") == []


async def test_logs_hold_all_but_progress_and_metrics(rules: Rules) -> None:
    row = await rules.running()
    new = [
        Event(log=LogLine(level=LogLine.INFO, text="a")),
        point(1, train_loss=1.0),
        Event(log=LogLine(level=LogLine.ERROR, text="b")),
    ]
    await rules.leases.report(held(row), Report(1, new, []))
    logs = await rules.jobs.logs(row.name, after=0, page_size=0)
    kinds = [event.WhichOneof("kind") for event in logs.events]
    assert kinds == ["state", "state", "log", "log"]
    assert logs.next_cursor == 0
    first = await rules.jobs.logs(row.name, after=0, page_size=3)
    rest = await rules.jobs.logs(row.name, after=first.next_cursor, page_size=3)
    assert [*first.events, *rest.events] == list(logs.events)
    with pytest.raises(InvalidRequest, match="after_cursor"):
        await rules.jobs.logs(row.name, after=-1, page_size=0)
