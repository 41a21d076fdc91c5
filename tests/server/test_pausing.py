"""Jobs that are to wait: how they stop, and how they go on."""

import pytest
from tests.server.samples import SUCCEEDED, Rules, held

from talweg.server.errors import JobEnded, JobNotFound, StaleLease
from talweg.server.services.attempts.leases import CancelOrder, PauseOrder
from talweg.server.services.attempts.reaper import reap
from talweg.server.services.attempts.reports import Report
from talweg.v1.jobs_pb2 import Job, Outcome

PAUSED = Outcome(state=Job.PAUSED, message="Paused at step 7")


def reason(rules: Rules, row) -> str:  # type: ignore[no-untyped-def]
    return str(rules.events(row)[-1].state.reason)


async def test_a_waiting_job_is_kept_from_workers(rules: Rules) -> None:
    row = await rules.submit()
    answer = await rules.pausing.pause(row.name, reason="lunch")
    assert answer.state == Job.PAUSED
    assert reason(rules, row) == "paused: lunch"
    assert await rules.claim() == []
    # Again it changes nothing.
    assert await rules.pausing.pause(row.name, reason="tea") == answer
    rules.changes.clear()
    assert (await rules.pausing.resume(row.name)).state == Job.QUEUED
    assert rules.changes[-1].queues == {"default"}
    assert [claimed.id for claimed in await rules.claim()] == [row.id]
    assert rules.kinds(row) == ["QUEUED", "PAUSED", "QUEUED", "RUNNING"]


async def test_a_running_job_gives_its_worker_back(rules: Rules) -> None:
    row = await rules.running()
    assert await rules.leases.report(held(row), Report(0)) is None
    answer = await rules.pausing.pause(row.name, reason="a more urgent job")
    assert (answer.state, answer.pause_requested) == (Job.RUNNING, True)
    order = await rules.leases.report(held(row), Report(0))
    assert order == PauseOrder("a more urgent job")
    await rules.leases.finish(held(row), PAUSED, None)
    stored = rules.get(row)
    assert (stored.state, stored.pause_requested) == (Job.PAUSED, False)
    assert "Paused at step 7" in reason(rules, row)
    with pytest.raises(StaleLease):
        await rules.leases.report(held(row), Report(1))
    # Sent again alike it changes nothing.
    await rules.leases.finish(held(row), PAUSED, None)
    assert await rules.claim() == []
    await rules.pausing.resume(row.name)
    (again,) = await rules.claim()
    assert (again.id, again.attempt) == (row.id, 2)
    assert await rules.leases.report(held(again), Report(0)) is None


async def test_resumed_before_its_worker_stopped_it_waits_for_another(rules: Rules) -> None:
    row = await rules.running()
    await rules.pausing.pause(row.name, reason="")
    assert (await rules.pausing.resume(row.name)).state == Job.RUNNING
    assert await rules.leases.report(held(row), Report(0)) is None
    await rules.leases.finish(held(row), PAUSED, None)
    assert rules.get(row).state == Job.QUEUED


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "shut down"])
async def test_a_worker_that_goes_leaves_it_paused(rules: Rules, lost: bool) -> None:
    row = await rules.running()
    await rules.pausing.pause(row.name, reason="")
    if lost:
        rules.lose_worker(row)
        with rules.database.write() as tx:
            reap(tx, 5)
    else:
        await rules.leases.finish(held(row), Outcome(state=Job.QUEUED), None)
    assert rules.get(row).state == Job.PAUSED
    assert await rules.claim() == []


async def test_a_job_may_end_before_it_pauses(rules: Rules) -> None:
    row = await rules.running()
    await rules.pausing.pause(row.name, reason="")
    await rules.leases.finish(held(row), SUCCEEDED, None)
    stored = rules.get(row)
    assert (stored.state, stored.pause_requested) == (Job.SUCCEEDED, False)
    for call in (rules.pausing.pause(row.name, reason=""), rules.pausing.resume(row.name)):
        with pytest.raises(JobEnded, match="SUCCEEDED"):
            await call
    with pytest.raises(JobNotFound):
        await rules.pausing.resume("jobs/none")


async def test_a_paused_job_can_be_cancelled(rules: Rules) -> None:
    row = await rules.running()
    await rules.pausing.pause(row.name, reason="")
    await rules.leases.finish(held(row), PAUSED, None)
    answer = await rules.cancellation.cancel(row.name, force=False, reason="")
    assert answer.state == Job.CANCELLED
    assert rules.kinds(row)[-1] == "finished"


async def test_a_cancellation_comes_before_a_pause(rules: Rules) -> None:
    row = await rules.running()
    await rules.pausing.pause(row.name, reason="")
    await rules.cancellation.cancel(row.name, force=False, reason="")
    assert isinstance(await rules.leases.report(held(row), Report(0)), CancelOrder)
    await rules.leases.finish(held(row), PAUSED, None)
    assert rules.get(row).state == Job.CANCELLED
