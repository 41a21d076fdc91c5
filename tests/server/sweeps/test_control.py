"""Sweeps that are paused, cancelled or ended by a bound, and jobs that people touch."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from tests.server.samples import Rules, held, reap_now
from tests.server.sweeps.sweeping import (
    AT_RATE,
    LOSSES,
    RATES,
    Sweeping,
    counts,
    errors,
    loss_of,
    update_sweep,
)

from talweg.server.errors import InvalidRequest, JobInUse, ServerError, SweepEnded, SweepNotFound
from talweg.server.services.attempts.leases import CancelOrder
from talweg.server.services.attempts.reports import Report
from talweg.server.services.retention.collection import CollectionService
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.store.record.schema import sweeps as sweeps_table
from talweg.v1.jobs_pb2 import CollectJobsRequest, Job, Outcome, TrackingRun
from talweg.v1.sweeps_pb2 import Sweep, Trial

SPACE = [{"path": "loss", "values": LOSSES}, {"path": AT_RATE, "values": RATES}]
CANCELLED = Outcome(state=Job.CANCELLED)


def let_time_pass(rules: Rules, sweeping: Sweeping) -> None:
    """Has the deadline of a sweep be over."""
    with rules.database.write() as tx:
        tx.connection.execute(
            update(sweeps_table)
            .where(sweeps_table.c.id == sweeping.name.removeprefix("sweeps/"))
            .values(deadline=tx.now - 1)
        )


async def test_a_paused_sweep_waits_with_its_jobs(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, space=SPACE, parallel=4)
    await rules.runner.step()
    (running,) = await rules.claim()
    row = await rules.control.pause(sweeping.name, reason="lunch")
    assert (row.state, row.message) == (Sweep.PAUSED, "paused: lunch")
    assert await rules.claim() == []
    assert await counts(sweeping) == {"RUNNING": 1, "PAUSED": 3}
    assert rules.get(running).pause_requested
    await sweeping.finish(running)
    for _ in range(2):
        await rules.runner.step()
    # One has ended, and nothing takes its place.
    assert await counts(sweeping) == {"SUCCEEDED": 1, "PAUSED": 3}
    # Again it changes nothing.
    assert (await rules.control.pause(sweeping.name, reason="tea")).message == "paused: lunch"
    assert (await rules.control.resume(sweeping.name)).state == Sweep.RUNNING
    assert (await rules.control.resume(sweeping.name)).state == Sweep.RUNNING
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    assert await counts(sweeping) == {"SUCCEEDED": 9}
    changes = [event.state.state for event in await sweeping.events() if event.HasField("state")]
    assert changes == [Sweep.RUNNING, Sweep.PAUSED, Sweep.RUNNING]


async def test_a_cancelled_sweep_ends_once_its_jobs_have(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, space=SPACE, seeds=2, parallel=3)
    await rules.runner.step()
    (done,) = await rules.claim()
    await sweeping.finish(done)
    (running,) = await rules.claim()
    row = await rules.control.cancel(sweeping.name, reason="wrong data")
    assert row.message == "cancelled: wrong data"
    await rules.runner.step()
    sweep = await sweeping.get()
    assert sweep.state == Sweep.RUNNING
    assert await rules.leases.report(held(running), Report(0)) is not None
    for call in (
        rules.control.pause(sweeping.name, reason=""),
        rules.control.resume(sweeping.name),
    ):
        with pytest.raises(SweepEnded, match="is about to end, cancelled: wrong data"):
            await call
    await rules.control.cancel(sweeping.name, reason="again")
    await rules.leases.finish(held(running), CANCELLED, None)
    await rules.runner.step()
    sweep = await sweeping.get()
    assert (sweep.state, sweep.message) == (Sweep.CANCELLED, "cancelled: wrong data")
    assert await counts(sweeping) == {"SUCCEEDED": 1, "CANCELLED": 2}
    first, second = await sweeping.trials()
    # Two seeds of the first, one of the second, which had only begun.
    assert (first.state, first.count, first.HasField("value")) == (Trial.CANCELLED, 1, True)
    assert (second.state, second.HasField("value")) == (Trial.CANCELLED, False)
    assert (await rules.control.cancel(sweeping.name, reason="")).state == Sweep.CANCELLED
    events = await sweeping.events()
    assert [event.HasField("finished") for event in events].count(True) == 1
    assert events[-1].finished.reason == "cancelled: wrong data"
    answer = await rules.sweep_answers.answer(sweeping.name)
    assert answer.remarks == ["the sweep has not run to its end: cancelled: wrong data"]


async def test_after_its_end_a_cancelled_sweep_stays_as_it_is(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    await rules.control.cancel(sweeping.name, reason="")
    await rules.runner.step()
    before = await sweeping.get()
    assert before.state == Sweep.CANCELLED
    for call in (
        rules.control.pause(sweeping.name, reason=""),
        rules.control.resume(sweeping.name),
        update_sweep(rules, sweeping.name, seeds=3),
        rules.control.retry(sweeping.name, [Trial.CANCELLED]),
    ):
        with pytest.raises(SweepEnded):
            await call
    assert await sweeping.get() == before


async def test_a_paused_job_is_cancelled_at_once(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    await rules.runner.step()
    await rules.control.pause(sweeping.name, reason="")
    await rules.control.cancel(sweeping.name, reason="")
    await rules.runner.step()
    assert (await sweeping.get()).state == Sweep.CANCELLED
    assert await counts(sweeping) == {"CANCELLED": 3}


async def test_at_its_deadline_a_sweep_ends_with_what_it_has(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules, space=SPACE, seeds=2, parallel=4, max_time="2h", compare="loss"
    )
    sweep = await sweeping.get()
    assert sweep.deadline.ToSeconds() - sweep.create_time.ToSeconds() == 7200
    await rules.runner.step()
    await sweeping.work()
    await rules.runner.step()
    running = await rules.claim(2)
    let_time_pass(rules, sweeping)
    await rules.runner.step()
    # Those that run have their time to end in order.
    assert (await sweeping.get()).state == Sweep.RUNNING
    assert await counts(sweeping) == {"SUCCEEDED": 4, "RUNNING": 2, "CANCELLED": 2}
    for row in running:
        assert isinstance(await rules.leases.report(held(row), Report(0)), CancelOrder)
        await rules.leases.finish(held(row), CANCELLED, None)
    await rules.runner.step()
    sweep = await sweeping.get()
    assert sweep.state == Sweep.SUCCEEDED
    assert sweep.message == "its time, 2h, was over: 2 of 9 trials had ended"
    assert not sweep.in_final_phase
    answer = await rules.sweep_answers.answer(sweeping.name)
    assert not answer.is_provisional
    assert sweep.message in answer.remarks
    assert any("and so too good" in remark for remark in answer.remarks)
    # It would end again at once.
    for call in (
        update_sweep(rules, sweeping.name, seeds=3),
        rules.control.retry(sweeping.name, [Trial.CANCELLED]),
    ):
        with pytest.raises(SweepEnded, match="2h, is over: create another sweep"):
            await call


async def test_a_sweep_whose_last_job_ended_before_its_deadline_has_run_whole(
    rules: Rules,
) -> None:
    sweeping = await Sweeping.begin(rules, max_time="90s")
    await rules.runner.step()
    await sweeping.work()
    let_time_pass(rules, sweeping)
    await rules.runner.step()
    assert (await sweeping.get()).message == "all trials have ended"


async def test_a_deadline_within_the_final_phase_is_told(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules, max_time="90s", compare={"path": "loss", "final_seeds": 4}
    )
    await rules.runner.step()
    await sweeping.work()
    await rules.runner.step()
    assert (await sweeping.get()).in_final_phase
    await sweeping.work(7)
    let_time_pass(rules, sweeping)
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    assert sweep.message.endswith("3 of 3 trials had ended, and not all final jobs")
    answer = await rules.sweep_answers.answer(sweeping.name)
    assert sweep.message in answer.remarks
    assert answer.comparison is not None
    assert sum(len(each.values) for each in answer.comparison.groups) == 7


async def test_more_failures_than_may_be_end_it(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: Job.FAILED if loss_of(job) == "mae" else errors(job),
        space=SPACE,
        parallel=3,
        failure_budget=1,
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.FAILED
    assert sweep.message == "3 jobs have failed, more than failure_budget, 1"
    # What had not begun by then never does.
    assert (await counts(sweeping))["FAILED"] == 3
    assert sum((await counts(sweeping)).values()) < 9
    with pytest.raises(SweepEnded, match="RetryTrials of FAILED"):
        await update_sweep(rules, sweeping.name, seeds=2)
    # Once it is repaired, they are run again, and the sweep goes on.
    sweeping.result = errors
    row, number = await rules.control.retry(sweeping.name, [Trial.FAILED])
    assert (row.state, number) == (Sweep.RUNNING, 3)
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    assert await counts(sweeping) == {"SUCCEEDED": 9}
    assert {each.state for each in await sweeping.trials()} == {Trial.SUCCEEDED}


async def test_what_failed_within_the_budget_does_not_stop_it(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: Job.FAILED if loss_of(job) == "mae" else errors(job),
        failure_budget=1,
    )
    assert (await sweeping.run()).state == Sweep.SUCCEEDED
    ranked = await sweeping.trials(best_first=True)
    assert [Trial.State.Name(each.state) for each in ranked] == ["SUCCEEDED"] * 2 + ["FAILED"]


async def test_jobs_that_people_end_or_delete_leave_their_trials_cancelled(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, seeds=2)
    await rules.runner.step()
    first, second, third = await sweeping.trials()
    await rules.cancellation.cancel(first.jobs[0], force=False, reason="by hand")
    await rules.cancellation.cancel(second.jobs[0], force=False, reason="by hand")
    await DeletionService(rules.database).delete(second.jobs[0], force=False)
    await rules.pausing.pause(third.jobs[1], reason="by hand")
    await sweeping.work()
    await rules.runner.step()
    assert (await sweeping.get()).state == Sweep.RUNNING
    await rules.pausing.resume(third.jobs[1])
    assert (await sweeping.run()).state == Sweep.SUCCEEDED
    first, second, third = await sweeping.trials()
    assert [Trial.State.Name(each.state) for each in (first, second, third)] == [
        "CANCELLED",
        "CANCELLED",
        "SUCCEEDED",
    ]
    assert (first.count, second.count) == (1, 1)
    ranked = await sweeping.trials(best_first=True)
    answer = await rules.sweep_answers.answer(sweeping.name)
    assert answer.remarks == ["2 of 3 trials of the search were cancelled"]
    # That of all its seeds comes first, though it is worse.
    assert [each.number for each in ranked] == [3, 2, 1]
    # Also what was deleted is run again.
    assert (await rules.control.retry(sweeping.name, [Trial.CANCELLED]))[1] == 2
    await sweeping.run()
    assert {each.state for each in await sweeping.trials()} == {Trial.SUCCEEDED}
    assert (await sweeping.get()).best[0].label == "loss=mae"


async def test_what_a_sweep_goes_on_with_is_not_deleted(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, seeds=2, parallel=2)
    await rules.runner.step()
    (row,) = await rules.claim(1)
    await sweeping.finish(row)
    deletion, collection = DeletionService(rules.database), CollectionService(rules.database)
    with pytest.raises(JobInUse, match=sweeping.name):
        await deletion.delete(row.name, force=True)
    await rules.tracking.set_run(
        row.name, expected="", run=TrackingRun(run_id="r", experiment_id="7", complete=True)
    )

    async def collected() -> list[str]:
        found = await collection.collect(older_than=timedelta(0), keep=CollectJobsRequest.NONE)
        return [each.id for each in found.rows]

    assert await collected() == []
    await sweeping.run()
    assert {each.state for each in await sweeping.trials()} == {Trial.SUCCEEDED}
    assert await collected() == [row.id]


async def test_a_job_deleted_after_the_end_leaves_its_trial_its_value(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, seeds=2, compare={"path": "loss", "final_seeds": 3})
    await sweeping.run()
    before = await sweeping.trials()
    for trial in before:
        await DeletionService(rules.database).delete(trial.jobs[0], force=True)
    assert await sweeping.trials() == before
    answer = await rules.sweep_answers.answer(sweeping.name)
    assert answer.comparison is not None
    assert [len(each.values) for each in answer.comparison.groups] == [2, 2, 2]


async def test_a_lost_worker_brings_no_second_job(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    await rules.runner.step()
    (row,) = await rules.claim()
    rules.lose_worker(row)
    reap_now(rules.database)
    await rules.runner.step()
    await sweeping.run()
    assert await counts(sweeping) == {"SUCCEEDED": 3}


async def test_wrong_names_and_states(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    calls: list[tuple[Any, type[ServerError]]] = [
        (rules.control.pause("sweeps/nosuch", reason=""), SweepNotFound),
        (rules.control.resume("sweeps/nosuch"), SweepNotFound),
        (rules.control.cancel("sweeps/nosuch", reason=""), SweepNotFound),
        (rules.control.retry("sweeps/nosuch", [Trial.FAILED]), SweepNotFound),
        (update_sweep(rules, "sweeps/nosuch", seeds=3), SweepNotFound),
        (rules.control.pause("jobs/x", reason=""), InvalidRequest),
        (rules.control.cancel(sweeping.name, reason="x" * 1001), InvalidRequest),
        (rules.control.retry(sweeping.name, []), InvalidRequest),
        (rules.control.retry(sweeping.name, [Trial.SUCCEEDED]), InvalidRequest),
        (rules.control.retry(sweeping.name, [77]), InvalidRequest),
    ]
    for call, error in calls:
        with pytest.raises(error):
            await call
