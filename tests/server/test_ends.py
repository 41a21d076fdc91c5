"""How attempts end: in order, or by the reaper."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.server.samples import (
    RELEASED,
    SUCCEEDED,
    Rules,
    held,
    point,
    reap_now,
    spec,
    summaries,
    summary,
)

from talweg.server.errors import InvalidRequest, StaleLease
from talweg.server.services.attempts.reports import Report
from talweg.v1.jobs_pb2 import Event, Job, LogLine, Outcome


class TestFinish:
    async def test_ends_the_job_with_the_last_report(self, rules: Rules) -> None:
        row = await rules.running()
        last = Report(1, [point(5, test_mae=4.0)], [summary("test/mae", 4.0)])
        await rules.leases.finish(held(row), SUCCEEDED, last)
        stored = rules.get(row)
        assert stored.state == Job.SUCCEEDED
        assert Outcome.FromString(stored.outcome or b"") == SUCCEEDED
        assert (stored.end_time or 0) >= (stored.start_time or 0)
        assert rules.kinds(row) == ["QUEUED", "RUNNING", "metrics", "finished"]
        assert rules.events(row)[-1].finished == SUCCEEDED
        assert summaries(rules, row) == {"test/mae": 4.0}
        assert [attempt.ending for attempt in rules.attempts(row)] == ["succeeded"]

    async def test_sent_again_alike_changes_nothing(self, rules: Rules) -> None:
        row = await rules.running()
        last = Report(1, [Event(log=LogLine(text="one"))])
        for _ in range(3):
            await rules.leases.finish(held(row), SUCCEEDED, last)
        assert rules.kinds(row) == ["QUEUED", "RUNNING", "log", "finished"]
        with pytest.raises(StaleLease):
            await rules.leases.finish(held(row), Outcome(state=Job.FAILED), last)
        assert rules.get(row).state == Job.SUCCEEDED

    async def test_a_job_given_back_waits_again(self, rules: Rules) -> None:
        row = await rules.running()
        for _ in range(2):
            await rules.leases.finish(held(row), RELEASED, None)
        stored = rules.get(row)
        assert (stored.state, stored.lost_attempts) == (Job.QUEUED, 0)
        assert rules.kinds(row) == ["QUEUED", "RUNNING", "QUEUED"]
        assert "shutting down" in rules.events(row)[-1].state.reason
        assert rules.changes[-1].queues == {"default"}
        assert [attempt.ending for attempt in rules.attempts(row)] == ["released"]
        (again,) = await rules.claim()
        assert again.attempt == 2
        # Late again, while the next attempt runs: it was done, and stays so.
        await rules.leases.finish(held(row), RELEASED, None)
        assert rules.get(row).attempt == 2
        assert rules.get(row).state == Job.RUNNING

    async def test_a_cancelled_job_given_back_ends(self, rules: Rules) -> None:
        row = await rules.running()
        await rules.cancellation.cancel(row.name, force=False, reason="enough")
        await rules.leases.finish(held(row), RELEASED, None)
        assert rules.get(row).state == Job.CANCELLED

    @pytest.mark.parametrize("state", [0, Job.RUNNING, 99])
    async def test_refuses_a_state_that_ends_nothing(self, rules: Rules, state: int) -> None:
        row = await rules.running()
        with pytest.raises(InvalidRequest, match="outcome.state"):
            await rules.leases.finish(
                held(row),
                Outcome(state=state),  # type: ignore[arg-type]
                None,
            )
        assert rules.get(row) == row


class TestReaper:
    async def test_gives_a_lost_workers_job_to_another(self, rules: Rules) -> None:
        lost, kept = await rules.running(), await rules.running()
        rules.lose_worker(lost)
        assert [row.id for row in reap_now(rules.database)] == [lost.id]
        assert reap_now(rules.database) == []
        assert rules.get(kept) == kept
        stored = rules.get(lost)
        assert (stored.state, stored.lost_attempts, stored.lease_token) == (Job.QUEUED, 1, "")
        reason = rules.events(lost)[-1].state.reason
        assert lost.worker in reason
        assert "lost" in reason
        assert rules.changes[-1].queues == {"default"}
        assert [attempt.ending for attempt in rules.attempts(lost)] == ["lost"]

    async def test_gives_up_after_so_many_lost_workers(self, rules: Rules) -> None:
        row = await rules.submit()
        for attempt in (1, 2, 3):
            (claimed,) = await rules.claim()
            assert claimed.attempt == attempt
            rules.lose_worker(claimed)
            reap_now(rules.database, max_lost=3)
        outcome = Outcome.FromString(rules.get(row).outcome or b"")
        assert (outcome.state, outcome.cause) == (Job.FAILED, Outcome.WORKER_LOST)
        assert "3 workers were lost" in outcome.message
        assert rules.kinds(row)[-1] == "finished"
        assert await rules.claim() == []

    async def test_jobs_given_back_are_not_counted(self, rules: Rules) -> None:
        row = await rules.submit()
        for _ in range(3):
            (claimed,) = await rules.claim()
            await rules.leases.finish(held(claimed), RELEASED, None)
        (claimed,) = await rules.claim()
        rules.lose_worker(claimed)
        reap_now(rules.database, max_lost=2)
        assert rules.get(row).state == Job.QUEUED

    async def test_two_reapers_deal_with_each_job_once(self, rules: Rules) -> None:
        rows = await rules.submit_many([spec()] * 40)
        for row in await rules.claim(limit=40):
            rules.lose_worker(row)
        with ThreadPoolExecutor(4) as threads:
            reaped = threads.map(lambda _: reap_now(rules.database), range(4))
        assert sorted(row.id for share in reaped for row in share) == sorted(r.id for r in rows)
        for row in rows:
            assert rules.kinds(row) == ["QUEUED", "RUNNING", "QUEUED"]
            assert rules.get(row).lost_attempts == 1
