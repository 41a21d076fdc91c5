"""Sweeps that get more trials or seeds, and trials that are run again."""

from typing import Any

import pytest
from tests.server.samples import Rules
from tests.server.sweeps.sweeping import (
    AT_RATE,
    LOSSES,
    RATES,
    Sweeping,
    errors,
    loss_of,
    rate_of,
    update_sweep,
)

from talweg.server.errors import InvalidRequest, SweepEnded
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, Trial

SPACE = [{"path": "loss", "values": LOSSES}, {"path": AT_RATE, "values": RATES}]
RANDOM = [{"path": AT_RATE, "log_uniform": {"low": 0.0001, "high": 0.1}}]


def always_mse(job: JobSpec) -> dict[str, float]:
    return {"val/mae": rate_of(job), "test/mae": rate_of(job)}


async def random(rules: Rules, result: Any = always_mse, **fields: Any) -> Sweeping:
    """Begin a random search over the learning rate of one loss."""
    given: dict[str, Any] = {"space": [*RANDOM], "cache": "off", **fields}
    return await Sweeping.begin(rules, result=result, **given)


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
