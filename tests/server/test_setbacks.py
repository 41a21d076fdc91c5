"""Jobs that workers in trouble give back: tried again after a pause, with the reason."""

import pytest
from tests.server.samples import RELEASED, Rules, held

from talweg.server.services.attempts.reports import Report
from talweg.server.store import queues
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName
from talweg.v1.jobs_pb2 import Checkpoint, Job, Outcome
from talweg.v1.workers_pb2 import Kept

TROUBLE = Outcome(state=Job.QUEUED, cause=Outcome.SERVICE, message="the store is away.")
CRASHED = Outcome(state=Job.QUEUED, cause=Outcome.WORKER_LOST, message="killed by SIGSEGV")


async def set_back(rules: Rules, row: JobRow) -> float:
    """Claim a job, have it given back, and return its pause in seconds."""
    rules.alter(row, not_before=None)
    (claimed,) = await rules.claim()
    await rules.leases.finish(held(claimed), TROUBLE, None)
    after = rules.get(row)
    assert (after.state, after.attempt) == (Job.QUEUED, claimed.attempt)
    (*_, attempt) = rules.attempts(row)
    return ((after.not_before or 0) - (attempt.end_time or 0)) / 1e6


async def test_the_pause_doubles_up_to_a_minute(rules: Rules) -> None:
    row = await rules.submit()
    pauses = [await set_back(rules, row) for _ in range(9)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    # However often: a power of two of any size would not fit into the record.
    rules.alter(row, setbacks=10_000)
    assert await set_back(rules, row) == 60


async def test_meanwhile_nobody_claims_it_and_others_go_first(rules: Rules) -> None:
    row = await rules.submit()
    await set_back(rules, row)
    rules.alter(row, not_before=2**60)
    assert await rules.claim() == []
    other = await rules.submit()
    with rules.database.read() as connection:
        assert queues.waiting(connection)["default"].num_jobs == 1
    assert [each.id for each in await rules.claim(limit=5)] == [other.id]
    rules.alter(row, not_before=1)
    (claimed,) = await rules.claim()
    assert (claimed.id, claimed.not_before) == (row.id, None)


async def test_the_job_says_why_and_when(rules: Rules) -> None:
    row = await rules.submit()
    await set_back(rules, row)
    rules.alter(row, not_before=2**60)
    waits = (await rules.jobs.get(row.name)).waiting_reason
    assert waits.startswith(
        "1 attempt failed, the last on w1: the store is away. It is retried in"
    )
    await set_back(rules, row)
    rules.alter(row, not_before=1)
    assert (await rules.jobs.get(row.name)).waiting_reason == (
        "next in the queue: waiting for a free worker "
        "(2 attempts failed, the last on w1: the store is away)"
    )


async def test_a_new_checkpoint_begins_the_count_anew(rules: Rules) -> None:
    row = await rules.submit()
    for _ in range(3):
        await set_back(rules, row)
    rules.alter(row, not_before=None)
    (claimed,) = await rules.claim()
    name = CheckpointName(row.name, 10, claimed.attempt)
    kept = Kept(checkpoints=[Checkpoint(name=str(name), step=10, attempt=claimed.attempt)])
    await rules.leases.report(held(claimed), Report(1, kept=kept))
    await rules.leases.finish(held(claimed), TROUBLE, None)
    after = rules.get(row)
    assert after.setbacks == 1


async def test_a_worker_that_shuts_down_is_no_setback(rules: Rules) -> None:
    row = await rules.running()
    await rules.leases.finish(held(row), RELEASED, None)
    after = rules.get(row)
    assert (after.setbacks, after.not_before) == (0, None)
    assert (await rules.jobs.get(row.name)).waiting_reason.startswith("next in the queue")


async def test_a_lost_process_is_counted_and_its_end_told(rules: Rules) -> None:
    row = await rules.submit()
    for number in range(1, 5):
        rules.alter(row, not_before=None)
        (claimed,) = await rules.claim()
        await rules.leases.finish(held(claimed), CRASHED, None)
        # Sent again, since its answer was lost.
        await rules.leases.finish(held(claimed), CRASHED, None)
        after = rules.get(row)
        assert (after.state, after.lost_attempts, after.setbacks) == (Job.QUEUED, number, number)
        # Another attempt at once would find as little memory.
        assert await rules.claim() == []
    reason = rules.events(row)[-1].state.reason
    assert reason == "worker w1 was lost in attempt 4: killed by SIGSEGV"
    rules.alter(row, not_before=None)
    (claimed,) = await rules.claim()
    await rules.leases.finish(held(claimed), CRASHED, None)
    outcome = Outcome.FromString(rules.get(row).outcome or b"")
    assert (outcome.state, outcome.cause) == (Job.FAILED, Outcome.WORKER_LOST)
    assert outcome.message == (
        "5 workers were lost while they ran this job, the last one w1: killed by SIGSEGV"
    )
    assert [attempt.ending for attempt in rules.attempts(row)] == ["lost"] * 5


@pytest.mark.parametrize("outcome", [TROUBLE, CRASHED])
async def test_who_asked_for_its_end_gets_it(rules: Rules, outcome: Outcome) -> None:
    row = await rules.running()
    rules.alter(row, cancel_requested=True)
    await rules.leases.finish(held(row), outcome, None)
    assert rules.get(row).state == Job.CANCELLED
