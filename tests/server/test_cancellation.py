"""Cancelling: at once, in order, by force, and when time runs out."""

from datetime import timedelta

import pytest
from tests.server.samples import SUCCEEDED, Rules, held

from talweg.server.errors import InvalidRequest, JobEnded, JobNotFound, StaleLease
from talweg.server.services.attempts.leases import CancelOrder
from talweg.server.services.attempts.reaper import reap
from talweg.server.services.attempts.reports import Report
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Job, Outcome


def outcome(rules: Rules, row: JobRow) -> Outcome:
    return Outcome.FromString(rules.get(row).outcome or b"")


async def test_a_waiting_job_ends_at_once(rules: Rules) -> None:
    row = await rules.submit()
    answer = await rules.cancellation.cancel(row.name, force=False, reason="a typo")
    assert answer == rules.get(row)
    assert answer.state == Job.CANCELLED
    assert outcome(rules, row).cause == Outcome.CANCEL_REQUEST
    assert "a typo" in outcome(rules, row).message
    assert rules.kinds(row) == ["QUEUED", "finished"]
    assert await rules.claim() == []


async def test_a_running_job_is_asked_to_end(rules: Rules) -> None:
    row = await rules.running()
    answer = await rules.cancellation.cancel(row.name, force=False, reason="enough")
    assert answer.state == Job.RUNNING
    assert answer.cancel_requested
    order = await rules.leases.report(held(row), Report(0))
    assert isinstance(order, CancelOrder)
    assert timedelta(seconds=25) < order.grace <= timedelta(seconds=30)
    assert order.reason == "enough"
    await rules.leases.finish(held(row), Outcome(state=Job.CANCELLED), None)
    assert rules.get(row).state == Job.CANCELLED
    assert outcome(rules, row).cause == Outcome.CANCEL_REQUEST
    assert "enough" in outcome(rules, row).message


async def test_a_job_may_succeed_before_it_learns_of_its_end(rules: Rules) -> None:
    row = await rules.running()
    await rules.cancellation.cancel(row.name, force=False, reason="")
    await rules.leases.finish(held(row), SUCCEEDED, None)
    assert rules.get(row).state == Job.SUCCEEDED


async def test_of_several_requests_the_earliest_end_holds(rules: Rules) -> None:
    row = await rules.running()
    cancel = rules.cancellation.cancel
    await cancel(row.name, grace=timedelta(seconds=5), force=False, reason="first")
    await cancel(row.name, grace=timedelta(seconds=60), force=False, reason="")
    order = await rules.leases.report(held(row), Report(0))
    assert isinstance(order, CancelOrder)
    assert order.grace <= timedelta(seconds=5)
    assert order.reason == "first"


async def test_force_ends_it_and_the_lease_is_stale(rules: Rules) -> None:
    row = await rules.running()
    answer = await rules.cancellation.cancel(row.name, force=True, reason="")
    assert answer.state == Job.CANCELLED
    with pytest.raises(StaleLease):
        await rules.leases.report(held(row), Report(0))
    with pytest.raises(StaleLease):
        await rules.leases.finish(held(row), SUCCEEDED, None)
    assert rules.kinds(row) == ["QUEUED", "RUNNING", "finished"]
    assert [attempt.ending for attempt in rules.attempts(row)] == ["cut off"]


async def test_a_worker_that_does_not_end_it_in_time_is_cut_off(rules: Rules) -> None:
    row, other = await rules.running(), await rules.running()
    cancel = rules.cancellation.cancel
    await cancel(row.name, grace=timedelta(0), force=False, reason="")
    await cancel(other.name, force=False, reason="")
    with rules.database.write() as tx:
        assert [each.id for each in reap(tx, 5)] == [row.id]
    assert "grace period" in outcome(rules, row).message
    assert rules.get(other).state == Job.RUNNING
    with pytest.raises(StaleLease):
        await rules.leases.report(held(row), Report(0))


async def test_a_cancelled_job_whose_worker_is_lost_ends(rules: Rules) -> None:
    row = await rules.running()
    await rules.cancellation.cancel(row.name, force=False, reason="")
    rules.lose_worker(row)
    with rules.database.write() as tx:
        reap(tx, 5)
    assert rules.get(row).state == Job.CANCELLED
    assert [attempt.ending for attempt in rules.attempts(row)] == ["lost"]


async def test_cancelling_twice_changes_nothing(rules: Rules) -> None:
    row = await rules.submit()
    first = await rules.cancellation.cancel(row.name, force=False, reason="one")
    again = await rules.cancellation.cancel(row.name, force=True, reason="two")
    assert again == first


async def test_what_has_ended_otherwise_cannot_be_cancelled(rules: Rules) -> None:
    row = await rules.finished()
    with pytest.raises(JobEnded, match="SUCCEEDED") as caught:
        await rules.cancellation.cancel(row.name, force=True, reason="")
    assert caught.value.metadata == {"job": row.name, "state": "SUCCEEDED"}
    assert rules.get(row) == row


async def test_refuses_bad_arguments(rules: Rules) -> None:
    row = await rules.running()
    cancel = rules.cancellation.cancel
    with pytest.raises(JobNotFound, match="jobs/none"):
        await cancel("jobs/none", force=False, reason="")
    with pytest.raises(InvalidRequest, match="name"):
        await cancel("none", force=False, reason="")
    with pytest.raises(InvalidRequest, match="grace_period.*-1 s"):
        await cancel(row.name, grace=timedelta(seconds=-1), force=False, reason="")
    with pytest.raises(InvalidRequest, match="reason"):
        await cancel(row.name, force=False, reason="x" * 1001)
    assert rules.get(row) == row
