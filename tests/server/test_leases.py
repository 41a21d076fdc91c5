"""Claims, reports and endings: each job by one attempt at a time, whatever happens to workers."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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

from talweg.server.errors import InvalidRequest, JobNotFound, StaleLease
from talweg.server.services.attempts.leases import LeaseClaim
from talweg.server.services.attempts.reports import Report
from talweg.server.store import leases
from talweg.v1.jobs_pb2 import Event, Job, LogLine, MetricSummary, Progress, StateChange, Warning


class TestClaim:
    async def test_high_priority_goes_first_then_the_oldest(self, rules: Rules) -> None:
        given = [spec(priority=priority) for priority in (0, 5, 0, 5, -1)]
        rows = await rules.submit_many(given)
        claimed = await rules.claim(limit=3) + await rules.claim(limit=3)
        assert [row.id for row in claimed] == [rows[index].id for index in (1, 3, 0, 2, 4)]
        assert await rules.claim() == []

    async def test_gives_a_lease(self, rules: Rules) -> None:
        row = await rules.submit()
        (claimed,) = await rules.claim(worker="w7")
        stored = rules.get(row)
        assert stored == claimed
        assert (stored.state, stored.attempt, stored.worker) == (Job.RUNNING, 1, "w7")
        assert len(stored.lease_token) >= 16
        assert stored.lease_until == (stored.start_time or 0) + 30_000_000
        assert rules.kinds(row) == ["QUEUED", "RUNNING"]
        (attempt,) = rules.attempts(row)
        assert (attempt.worker, attempt.ending, attempt.end_time) == ("w7", None, None)

    async def test_only_from_its_queue_and_for_its_devices(self, rules: Rules) -> None:
        await rules.submit(spec(resources={"device": "cuda"}))
        assert await rules.claim() == []
        assert await rules.claim(queue="cuda", devices=["cpu"]) == []
        assert len(await rules.claim(queue="cuda", devices=["cpu", "cuda"])) == 1

    async def test_sent_again_gives_the_same_jobs(self, rules: Rules) -> None:
        await rules.submit_many([spec()] * 3)
        first = await rules.claim(limit=2, request_id="c")
        again = await rules.claim(limit=2, request_id="c")
        assert [held(row) for row in again] == [held(row) for row in first]
        # Another worker's claim of the same id is another claim.
        other = await rules.claim(limit=2, request_id="c", worker="w2")
        assert {row.id for row in other}.isdisjoint({row.id for row in first})

    async def test_sent_again_gives_nothing_whose_lease_is_gone(self, rules: Rules) -> None:
        await rules.submit_many([spec()] * 3)
        one, two = await rules.claim(limit=2, request_id="c")
        await rules.leases.finish(held(one), SUCCEEDED, None)
        assert [row.id for row in await rules.claim(limit=2, request_id="c")] == [two.id]
        rules.lose_worker(two)
        assert await rules.claim(limit=2, request_id="c") == []
        reap_now(rules.database)
        (taken,) = [row for row in await rules.claim(limit=9, worker="w2") if row.id == two.id]
        assert taken.attempt == 2
        assert await rules.claim(limit=2, request_id="c") == []

    @pytest.mark.parametrize(
        "wrong",
        [{"queue": ""}, {"worker": ""}, {"limit": -1}, {"limit": 101}, {"request_id": "x" * 101}],
    )
    async def test_refuses_arguments_out_of_bounds(
        self, rules: Rules, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidRequest, match=next(iter(wrong))):
            await rules.claim(**wrong)


class TestRaces:
    async def test_eight_threads_claim_each_job_once(self, rules: Rules) -> None:
        rows = await rules.submit_many([spec()] * 200)
        begin = threading.Barrier(8)

        def claim_all(worker: str) -> list[str]:
            claimed: list[str] = []
            begin.wait()
            for number in range(1000):
                wanted = leases.Claim(
                    "default", worker, False, 1 + number % 3, None, f"{worker}-{number}", 10**9
                )
                with rules.database.write() as tx:
                    new = leases.claim(tx, wanted)
                if not new:
                    return claimed
                claimed += [row.id for row in new]
            raise AssertionError("more claims than jobs")

        with ThreadPoolExecutor(8) as threads:
            shares = list(threads.map(claim_all, [f"w{number}" for number in range(8)]))
        claimed = [id_ for share in shares for id_ in share]
        assert len(claimed) == 200
        assert set(claimed) == {row.id for row in rows}
        assert all(len(rules.attempts(row)) == 1 for row in rows[::20])

    async def test_one_claim_that_comes_often_at_once_takes_its_jobs_once(
        self, rules: Rules
    ) -> None:
        await rules.submit_many([spec()] * 30)
        answers = await asyncio.gather(*(rules.claim(limit=2, request_id="c") for _ in range(12)))
        assert {tuple(held(row) for row in rows) for rows in answers} == {
            tuple(held(row) for row in answers[0])
        }
        assert len(await rules.claim(limit=100)) == 28

    async def test_of_reaper_and_worker_one_wins(self, rules: Rules) -> None:
        """A finish that comes as the lease runs out: the job ends once, or runs again."""
        for _ in range(10):
            row = await rules.running()
            rules.lose_worker(row)
            begin = threading.Barrier(2)

            def reaping(begin: threading.Barrier = begin) -> bool:
                begin.wait()
                return bool(reap_now(rules.database))

            with ThreadPoolExecutor(1) as thread:
                reaped = thread.submit(reaping)
                begin.wait()
                try:
                    await rules.leases.finish(held(row), SUCCEEDED, None)
                    finished = True
                except StaleLease:
                    finished = False
            assert finished != reaped.result()
            expected = ["finished"] if finished else ["QUEUED"]
            assert rules.kinds(row) == ["QUEUED", "RUNNING", *expected]
            if not finished:
                (again,) = await rules.claim()
                await rules.leases.finish(held(again), SUCCEEDED, None)


class TestReport:
    async def test_renews_and_appends_in_order(self, rules: Rules) -> None:
        row = await rules.running()
        rules.alter(row, lease_until=5)
        events = [Event(log=LogLine(text="one")), point(1, train_loss=2.0)]
        order = await rules.leases.report(
            held(row), Report(1, events, [summary("train/loss", 2.0)], Progress(step=1))
        )
        assert order is None
        stored = rules.get(row)
        assert (stored.lease_until or 0) > (stored.start_time or 0)
        assert Progress.FromString(stored.progress or b"").step == 1
        assert rules.kinds(row) == ["QUEUED", "RUNNING", "log", "metrics", "progress"]
        told = rules.events(row)
        assert [event.cursor for event in told] == [1, 2, 3, 4, 5]
        assert stored.last_cursor == 5
        assert all(event.attempt == 1 for event in told[1:])
        assert told[2].time.seconds > 1_700_000_000
        assert summaries(rules, row) == {"train/loss": 2.0}

    async def test_tells_of_events_after_the_commit(self, rules: Rules) -> None:
        row = await rules.running()
        await rules.leases.report(held(row), Report(1, [Event(log=LogLine(text="one"))]))
        assert [event.cursor for event in rules.changes[-1].events[row.id]] == [3]

    async def test_sent_again_counts_once(self, rules: Rules) -> None:
        row = await rules.running()
        report = Report(1, [Event(log=LogLine(text="one"))])
        for _ in range(3):
            await rules.leases.report(held(row), report)
        await rules.leases.report(held(row), Report(3, [Event(log=LogLine(text="three"))]))
        await rules.leases.report(held(row), Report(2, [Event(log=LogLine(text="late"))]))
        assert [event.log.text for event in rules.events(row)[2:]] == ["one", "three"]

    async def test_is_warned_of_a_thing_once_and_keeps_it(self, rules: Rules) -> None:
        row = await rules.submit(spec(loss={"mse": {"reduction": "sum"}}))
        dead = Warning(kind=Warning.SUM_TERMS_APART, field="model", message="at step 9")
        again = Warning(kind=Warning.SUM_TERMS_APART, field="model", message="at step 12")
        other = Warning(kind=Warning.SUM_TERMS_APART, field="loss", message="too")
        (first,) = await rules.claim()
        await rules.leases.report(
            held(first), Report(1, [Event(warning=dead), Event(log=LogLine(text="one"))])
        )
        # Another attempt begins anew.
        await rules.leases.finish(held(first), RELEASED, None)
        (second,) = await rules.claim()
        told = [Event(warning=again), Event(warning=other), Event(warning=other)]
        await rules.leases.report(held(second), Report(1, told))
        warnings = Job.FromString(rules.get(row).warnings).warnings
        assert [warning.kind for warning in warnings][0] == Warning.REDUCTION_SUM
        assert list(warnings)[1:] == [dead, other]
        assert rules.kinds(row).count("warning") == 2

    async def test_an_empty_report_renews_alone(self, rules: Rules) -> None:
        row = await rules.running()
        rules.alter(row, lease_until=5)
        await rules.leases.report(held(row), Report(0))
        assert (rules.get(row).lease_until or 0) > 5
        assert rules.kinds(row) == ["QUEUED", "RUNNING"]

    @pytest.mark.parametrize(
        ("report", "field"),
        [
            (Report(0, [Event(log=LogLine(text="x"))]), "sequence"),
            (Report(-1), "sequence"),
            (Report(1, [Event(state=StateChange(state=Job.SUCCEEDED))]), r"events\[0\]"),
            (Report(1, [Event(finished=SUCCEEDED)]), r"events\[0\]"),
            (Report(1, [Event()]), r"events\[0\]"),
            (Report(1, summaries=[summary("", 1.0)]), r"summaries\[0\].name"),
            (
                Report(1, summaries=[MetricSummary(name="m", goal=10**6)]),  # type: ignore[arg-type]
                r"summaries\[0\].goal: found 1000000; allowed: .*MINIMIZE",
            ),
        ],
    )
    async def test_refuses_what_a_worker_has_no_say_in(
        self, rules: Rules, report: Report, field: str
    ) -> None:
        row = await rules.running()
        with pytest.raises(InvalidRequest, match=field):
            await rules.leases.report(held(row), report)
        assert rules.kinds(row) == ["QUEUED", "RUNNING"]

    async def test_a_burst_of_metrics_is_thinned_and_its_last_values_stay(
        self, rules: Rules
    ) -> None:
        row = await rules.running()
        events = [point(step, train_loss=float(step)) for step in range(1, 501)]
        events.insert(100, point(100, val_mae=3.0))
        await rules.leases.report(held(row), Report(1, [*events, point(500, test_mae=4.0)]))
        points = [event.metrics for event in rules.events(row) if event.HasField("metrics")]
        losses = [point.step for point in points if "train/loss" in point.values]
        assert len(losses) <= 4
        assert losses[-1] == 500
        assert [point.values["val/mae"] for point in points if "val/mae" in point.values] == [3.0]
        assert points[-1].values["test/mae"] == 4.0

    async def test_every_evaluation_stays_and_the_first_and_best_step_too(
        self, rules: Rules
    ) -> None:
        row = await rules.running()
        few = ("val_mae", "test_mae", "trivial_mae", "guard_skipped", "curriculum_share")
        told = []
        for step in range(1, 101):
            told.append(point(step, train_loss=float(step), guard_grad_norm=1.0))
            told += [point(step, **{name: float(step)}) for name in few]
        of_loss = summary("train/loss", 100.0, step=100)
        of_loss.first_step, of_loss.best_step = 1, 30
        await rules.leases.report(held(row), Report(1, told, [of_loss]))
        points = [event.metrics for event in rules.events(row) if event.HasField("metrics")]
        for name in few:
            metric = name.replace("_", "/", 1)
            steps = [point.step for point in points if metric in point.values]
            assert steps == list(range(1, 101)), metric
        steps = [point.step for point in points if "train/loss" in point.values]
        assert {1, 30, 100} <= set(steps)
        assert steps == sorted(set(steps))
        assert len(steps) <= 6

    async def test_values_that_are_not_finite_are_left_out(self, rules: Rules) -> None:
        row = await rules.running()
        nan = float("nan")
        await rules.leases.report(
            held(row),
            Report(
                1,
                [point(1, train_loss=nan), point(2, train_loss=nan, lr_x=1.0)],
                [summary("train/loss", nan), summary("lr", 1.0)],
            ),
        )
        (kept,) = [event.metrics for event in rules.events(row) if event.HasField("metrics")]
        assert dict(kept.values) == {"lr/x": 1.0}
        assert summaries(rules, row) == {"lr": 1.0}

    async def test_a_new_attempt_replaces_the_summaries(self, rules: Rules) -> None:
        row = await rules.running()
        old = [summary("train/loss", 1.0), summary("val/mae", 1.0)]
        await rules.leases.report(held(row), Report(1, summaries=old))
        rules.lose_worker(row)
        reap_now(rules.database)
        assert set(summaries(rules, row)) == {"train/loss", "val/mae"}
        (again,) = await rules.claim()
        await rules.leases.report(held(again), Report(1, summaries=[summary("train/loss", 2.0)]))
        assert summaries(rules, row) == {"train/loss": 2.0}


class TestFencing:
    async def test_a_stale_lease_is_refused(self, rules: Rules) -> None:
        row = await rules.running()
        stale = [
            LeaseClaim(row.name, row.attempt + 1, row.lease_token),
            LeaseClaim(row.name, row.attempt, "guessed"),
            LeaseClaim(row.name, row.attempt, ""),
        ]
        for lease in stale:
            with pytest.raises(StaleLease):
                await rules.leases.report(lease, Report(0))
            with pytest.raises(StaleLease):
                await rules.leases.finish(lease, SUCCEEDED, None)
        with pytest.raises(StaleLease):
            await rules.leases.finish(
                LeaseClaim(row.name, 2**32 - 1, row.lease_token), SUCCEEDED, None
            )
        with pytest.raises(JobNotFound):
            await rules.leases.report(LeaseClaim("jobs/none", 1, "x"), Report(0))
        assert rules.get(row) == row

    async def test_a_worker_that_was_given_up_writes_nothing_more(self, rules: Rules) -> None:
        old = await rules.running()
        rules.lose_worker(old)
        reap_now(rules.database)
        (new,) = await rules.claim()
        assert new.attempt == 2
        with pytest.raises(StaleLease, match="attempt 2, not 1"):
            await rules.leases.report(held(old), Report(9, [Event(log=LogLine(text="ghost"))]))
        with pytest.raises(StaleLease):
            await rules.leases.finish(held(old), SUCCEEDED, None)
        await rules.leases.finish(held(new), SUCCEEDED, None)
        assert rules.kinds(old) == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "finished"]
        with pytest.raises(StaleLease):
            await rules.leases.report(held(new), Report(1))

    async def test_what_fails_in_the_middle_leaves_nothing(self, rules: Rules) -> None:
        """A server that dies between two statements of a transaction."""
        row = await rules.running()

        def report_and_die() -> None:
            report = Report(1, [Event(log=LogLine(text="x"))])
            with rules.database.write() as tx:
                rules.leases._report(tx, row.id, held(row), report)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            report_and_die()
        assert rules.get(row) == row
        assert rules.kinds(row) == ["QUEUED", "RUNNING"]
        await rules.leases.report(held(row), Report(1, [Event(log=LogLine(text="y"))]))
        assert [event.cursor for event in rules.events(row)] == [1, 2, 3]
