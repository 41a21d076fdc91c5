"""Sweeps that are paused, cancelled, extended, run again, or ended by a bound."""

from typing import Any

import pytest
from sqlalchemy import update
from tests.server.samples import Rules, held, reap_now
from tests.server.sweeps.sweeping import AT_RATE, LOSSES, RATES, Sweeping, errors, loss_of, rate_of

from talweg.server.errors import InvalidRequest, ServerError, SweepEnded, SweepNotFound
from talweg.server.services.attempts.leases import CancelOrder
from talweg.server.services.attempts.reports import Report
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.store.record.schema import sweeps as sweeps_table
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, Trial, UpdateSweepRequest

SPACE = [{"path": "loss", "values": LOSSES}, {"path": AT_RATE, "values": RATES}]
RANDOM = [{"path": AT_RATE, "log_uniform": {"low": 0.0001, "high": 0.1}}]
CANCELLED = Outcome(state=Job.CANCELLED)


def always_mse(job: JobSpec) -> dict[str, float]:
    return {"val/mae": rate_of(job), "test/mae": rate_of(job)}


async def random(rules: Rules, result: Any = always_mse, **fields: Any) -> Sweeping:
    """Begin a random search over the learning rate of one loss."""
    given: dict[str, Any] = {"space": [*RANDOM], "cache": "off", **fields}
    return await Sweeping.begin(rules, result=result, **given)


async def update_sweep(rules: Rules, name: str, **values: int) -> Sweep.State.ValueType:
    row = await rules.control.update(UpdateSweepRequest(name=name, **values))
    return row.state  # type: ignore[return-value]


def let_time_pass(rules: Rules, sweeping: Sweeping) -> None:
    """Has the deadline of a sweep be over."""
    with rules.database.write() as tx:
        tx.connection.execute(
            update(sweeps_table)
            .where(sweeps_table.c.id == sweeping.name.removeprefix("sweeps/"))
            .values(deadline=tx.now - 1)
        )


async def counts(sweeping: Sweeping) -> dict[str, int]:
    return {Job.State.Name(each.state): each.count for each in (await sweeping.get()).jobs}


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


async def test_retry_runs_what_it_names_and_no_more_at_once_than_may(rules: Rules) -> None:
    outcome = {"mse": Job.FAILED, "mae": Job.DIVERGED}
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: outcome.get(loss_of(job)) or errors(job),
        space=SPACE,
        seeds=2,
        parallel=4,
    )
    await sweeping.run()
    before = {each.number: list(each.jobs) for each in await sweeping.trials()}
    outcome.clear()
    row, number = await rules.control.retry(sweeping.name, [Trial.FAILED])
    assert (row.state, row.message, number) == (Sweep.RUNNING, "trials are run again", 6)
    # The same call again finds none.
    assert (await rules.control.retry(sweeping.name, [Trial.FAILED]))[1] == 0
    reopened = await sweeping.trials(states=[Trial.RUNNING])
    assert [each.HasField("value") for each in reopened] == [False] * 3
    await sweeping.run()
    assert sweeping.worked.most_at_once <= 4
    trials = await sweeping.trials()
    assert [Trial.State.Name(each.state) for each in trials] == ["SUCCEEDED"] * 3 + [
        "DIVERGED"
    ] * 3 + ["SUCCEEDED"] * 3
    for trial in trials:
        assert len(trial.jobs) == 2
        is_same = list(trial.jobs) == before[trial.number]
        assert is_same is (trial.setting[0].value.string_value != "mse")
        assert [job.training.seed for job in sweeping.jobs(trial)] == [0, 1]
    # After a later end the events go on.
    events = await sweeping.events()
    finished = [event.cursor for event in events if event.HasField("finished")]
    assert len(finished) == 2
    assert events[finished[0]].state.state == Sweep.RUNNING


async def test_one_failed_seed_alone_is_run_again(rules: Rules) -> None:
    failing = {1}
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: Job.FAILED if job.training.seed in failing else errors(job),
        seeds=3,
    )
    await sweeping.run()
    before = await sweeping.trials()
    assert {each.state for each in before} == {Trial.FAILED}
    failing.clear()
    _, number = await rules.control.retry(sweeping.name, [Trial.FAILED])
    assert number == 3
    await sweeping.run()
    for old, new in zip(before, await sweeping.trials(), strict=True):
        assert (new.state, new.count) == (Trial.SUCCEEDED, 3)
        assert [a == b for a, b in zip(old.jobs, new.jobs, strict=True)] == [True, False, True]
        assert [job.training.seed for job in sweeping.jobs(new)] == [0, 1, 2]


async def test_once_the_final_jobs_run_the_search_is_settled(rules: Rules) -> None:
    outcome = {"mse": Job.FAILED}
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: outcome.get(loss_of(job), 0) or errors(job),
        compare={"path": "loss", "final_seeds": 2},
    )
    await sweeping.run()
    outcome["mae"] = Job.FAILED
    with pytest.raises(SweepEnded, match="create another sweep"):
        await update_sweep(rules, sweeping.name, seeds=2)
    assert (await rules.control.retry(sweeping.name, [Trial.FAILED]))[1] == 0
    assert (await sweeping.get()).state == Sweep.SUCCEEDED


async def test_final_jobs_are_run_again(rules: Rules) -> None:
    unlucky = {2}
    sweeping = await Sweeping.begin(
        rules,
        result=lambda job: Job.FAILED if job.training.seed in unlucky else errors(job),
        compare={"path": "loss", "final_seeds": 3},
    )
    await sweeping.run()
    unlucky.clear()
    _, number = await rules.control.retry(sweeping.name, [Trial.FAILED])
    assert number == 3
    await sweeping.run()
    final = [each for each in await sweeping.trials() if each.is_final]
    assert [each.count for each in final] == [3, 3, 3]
    assert [[job.training.seed for job in sweeping.jobs(each)] for each in final] == [
        [1, 2, 3]
    ] * 3


@pytest.mark.parametrize("when", ["while it runs", "after its end", "while it is paused"])
async def test_more_trials_and_seeds_join_those_that_are_there(rules: Rules, when: str) -> None:
    wanted = await random(rules, trials=7, seeds=3)
    await wanted.run()
    sweeping = await random(rules, trials=4, seeds=2)
    if when == "after its end":
        await sweeping.run()
    else:
        await rules.runner.step()
        await sweeping.work(3)
    if when == "while it is paused":
        await rules.control.pause(sweeping.name, reason="")
    await update_sweep(rules, sweeping.name, trials=7)
    await update_sweep(rules, sweeping.name, seeds=3)
    sweep = await sweeping.get()
    assert (sweep.num_trials, sweep.num_jobs) == (7, 21)
    assert sweep.spec.trials == 7
    if when == "while it is paused":
        await rules.runner.step()
        assert (await sweeping.get()).state == Sweep.PAUSED
        await rules.control.resume(sweeping.name)
    await sweeping.run()
    assert await sweeping.shape() == await wanted.shape()


async def test_more_seeds_of_a_trial_bring_its_value_anew(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, seeds=2)
    await sweeping.run()
    before = await sweeping.trials()
    await update_sweep(rules, sweeping.name, seeds=3)
    # A value is of all its seeds.
    assert [each.HasField("value") for each in await sweeping.trials()] == [False] * 3
    assert (await sweeping.get()).best == []
    await sweeping.run()
    for old, new in zip(before, await sweeping.trials(), strict=True):
        assert list(new.jobs[:2]) == list(old.jobs)
        assert (new.count, len(new.jobs)) == (3, 3)


UPDATES: list[tuple[dict[str, Any], dict[str, int], str, str]] = [
    ({}, {"trials": 5}, "trials", "a grid has all its trials already"),
    ({"space": RANDOM, "trials": 5}, {"trials": 4}, "trials", "must be >= 5"),
    ({"space": RANDOM, "trials": 5}, {"trials": 0}, "trials", "must be >= 5"),
    ({"space": RANDOM}, {"trials": 2_000_000}, "trials", "<= 1,000,000"),
    ({"seeds": 3}, {"seeds": 2}, "seeds", "must be >= 3"),
    ({"seeds": 3}, {"seeds": 1001}, "seeds", "<= 1,000"),
    ({"space": [{"path": "training.seed", "values": [1, 2]}]}, {"seeds": 2}, "seeds", "no seed"),
    ({}, {"parallel": 0}, "parallel", ">= 1"),
    ({}, {"parallel": 10_001}, "parallel", "<= 10,000"),
]


@pytest.mark.parametrize(("fields", "values", "field", "words"), UPDATES)
async def test_updates_out_of_bounds_change_nothing(
    rules: Rules, fields: dict[str, Any], values: dict[str, int], field: str, words: str
) -> None:
    sweeping = await Sweeping.begin(rules, **fields)
    before = await sweeping.get()
    with pytest.raises(InvalidRequest) as caught:
        await update_sweep(rules, sweeping.name, **values)
    assert [(each.field, words in each.description) for each in caught.value.fields] == [
        (field, True)
    ]
    assert await sweeping.get() == before


async def test_a_sweep_that_nothing_is_added_to_stays_ended(rules: Rules) -> None:
    # Of three settings there are no more.
    sweeping = await Sweeping.begin(rules, trials=10, algorithm="random")
    await sweeping.run()
    assert await update_sweep(rules, sweeping.name, trials=20) == Sweep.SUCCEEDED
    assert await update_sweep(rules, sweeping.name, parallel=3) == Sweep.SUCCEEDED
    assert len(await sweeping.trials()) == 3


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
    # That of all its seeds comes first, though it is worse.
    assert [each.number for each in ranked] == [3, 2, 1]
    # Also what was deleted is run again.
    assert (await rules.control.retry(sweeping.name, [Trial.CANCELLED]))[1] == 2
    await sweeping.run()
    assert {each.state for each in await sweeping.trials()} == {Trial.SUCCEEDED}
    assert (await sweeping.get()).best[0].label == "loss=mae"


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
