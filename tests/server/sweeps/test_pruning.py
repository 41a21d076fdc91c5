"""Trials that are stopped early, and jobs that are taken over."""

import random
from typing import Any

import pytest
from tests.server.samples import Rules, held, point, spec
from tests.server.sweeps.sweeping import AT_RATE, Sweeping, rate_of

from talweg.server.services.attempts.leases import CancelOrder
from talweg.server.services.attempts.reports import Report
from talweg.server.services.plugins import PluginService
from talweg.server.services.retention import deletion
from talweg.server.services.sweeps.plans import Plans
from talweg.server.services.sweeps.reusing import cell_of
from talweg.server.services.sweeps.running import submitting
from talweg.server.services.sweeps.running.pairing import signed_rank_p
from talweg.server.services.sweeps.running.pruning import decide, reached
from talweg.server.store.record.rows import JobRow
from talweg.server.store.sweeps import sweeps
from talweg.spec import to_dict
from talweg.v1.jobs_pb2 import Environment, Job, Outcome
from talweg.v1.plugins_pb2 import PluginDeclaration
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, Trial
from talweg.v1.workers_pb2 import ReportPluginsRequest

RATES = [0.01 * number for number in range(1, 10)]
SPACE = [{"path": AT_RATE, "values": RATES}]
HERE = Environment(talweg="1", torch="2", python="3", device="cpu", cpu_capability="AVX2")


def by_rate(job: JobSpec) -> dict[str, float]:
    return {"val/mae": rate_of(job), "test/mae": rate_of(job)}


async def told(rules: Rules, rows: list[JobRow], step: int) -> None:
    """Has each worker tell of an evaluation."""
    for row in rows:
        news = Report(step, [point(step, val_mae=rate_of(row.job_spec))])
        await rules.leases.report(held(row), news)


async def test_halving_stops_what_is_behind_others_of_its_length(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules, result=by_rate, space=SPACE, pruning={"asha": {}}, objective="val/mae"
    )
    await rules.runner.step()
    running = await rules.claim(9)
    # The best come first, so that each later one finds itself behind.
    running.sort(key=lambda row: rate_of(row.job_spec))
    for row in running:
        await told(rules, [row], 1)
        await rules.runner.step()
    orders = [await rules.leases.report(held(row), Report(1)) for row in running]
    stopped = [isinstance(order, CancelOrder) for order in orders]
    assert stopped == [False] + [True] * 8
    for row, is_stopped in zip(running, stopped, strict=True):
        if is_stopped:
            await rules.leases.finish(held(row), Outcome(state=Job.CANCELLED), None)
        else:
            await sweeping.finish(row)
    await rules.runner.step()
    sweep = await sweeping.get()
    assert sweep.state == Sweep.SUCCEEDED
    trials = await sweeping.trials(best_first=True)
    assert [Trial.State.Name(each.state) for each in trials] == ["SUCCEEDED"] + ["PRUNED"] * 8
    assert "stopped after 1 evaluations" in trials[1].message
    assert sweep.best[0].number == trials[0].number
    answer = await rules.sweep_answers.answer(sweep.name)
    assert "0.01" in answer.text


async def test_a_trial_is_judged_by_those_that_ended_unseen(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules, result=by_rate, space=SPACE, pruning={"asha": {}}, parallel=2
    )
    await rules.runner.step()
    # While no server looks they are evaluated once, and end.
    for row in await rules.claim(2):
        await told(rules, [row], 1)
        await sweeping.finish(row)
    await rules.runner.step()
    await rules.runner.step()
    (third, _) = await rules.claim(2)
    await told(rules, [third], 1)
    await rules.runner.step()
    assert isinstance(await rules.leases.report(held(third), Report(1)), CancelOrder)


async def test_a_trial_that_has_ended_since_is_not_stopped(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules, result=by_rate, space=SPACE, pruning={"asha": {}})
    await rules.runner.step()
    running = await rules.claim(9)
    await told(rules, running, 1)
    with rules.database.read() as connection:
        row = sweeps.get(connection, sweeping.name.removeprefix("sweeps/"))
        plan = Plans().of(row)
        found = reached(connection, row, plan)
    assert len(found) == 9
    # Another server settles them before this one decides.
    for each in running:
        await sweeping.finish(each)
    await rules.runner.step()
    before = await sweeping.trials()
    with rules.database.write() as tx:
        decide(tx, sweeps.lock(tx, row.id), plan, found)
    assert await sweeping.trials() == before
    assert {each.state for each in before} == {Trial.SUCCEEDED}


async def test_seeds_that_are_worse_than_the_best_ones_end_their_trial(rules: Rules) -> None:
    sweeping = await Sweeping.begin(
        rules,
        result=by_rate,
        space=[{"path": AT_RATE, "values": [0.01, 0.02, 0.005]}],
        seeds=8,
        parallel=2,
        pruning={"wilcoxon": {}},
    )
    sweep = await sweeping.run()
    assert sweep.state == Sweep.SUCCEEDED
    first, second, third = await sweeping.trials()
    assert (first.state, second.state, third.state) == (
        Trial.SUCCEEDED,
        Trial.PRUNED,
        Trial.SUCCEEDED,
    )
    assert 4 <= len(second.jobs) < 8
    assert "worse than that of trial 1" in second.message
    assert sweep.best[0].number == 3


@pytest.mark.parametrize("num", [5, 29, 30])
def test_exact_and_approximate_ranks_agree(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = random.Random(num)
    for shift in (0.0, 0.3, 0.8):
        differences = [numbers.gauss(shift, 1) for _ in range(num)]
        exact = signed_rank_p(differences)
        monkeypatch.setattr("talweg.server.services.sweeps.running.pairing._MOST_EXACT", 0)
        assert signed_rank_p(differences) == pytest.approx(exact, abs=0.03)
        monkeypatch.undo()
    assert signed_rank_p([1.0] * 4) == 1 / 16
    assert signed_rank_p([]) == signed_rank_p([0.0]) == 1


def test_the_ways_of_many_seeds_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # It would take seconds, in which nobody else writes into the record.
    monkeypatch.setattr("talweg.server.services.sweeps.running.pairing.Counter", None)
    numbers = random.Random(0)
    assert signed_rank_p([numbers.gauss(0.2, 1) for _ in range(1000)]) < 1e-4
    with pytest.raises(TypeError):
        signed_rank_p([1.0])


async def trained(rules: Rules, **fields: Any) -> Sweeping:
    """Begin a sweep whose jobs run here."""
    request = ReportPluginsRequest(worker="w1", queues=["default"], environment=HERE)
    await PluginService(rules.database).report(request)
    return await Sweeping.begin(rules, space=SPACE, seeds=2, result=by_rate, **fields)


async def run_here(sweeping: Sweeping) -> None:
    rules = sweeping.rules
    while (await sweeping.get()).state == Sweep.RUNNING:
        await rules.runner.step()
        for row in await rules.claim(100):
            outcome = Outcome(state=Job.SUCCEEDED, environment=HERE)
            await rules.leases.finish(held(row), outcome, None)


async def test_a_sweep_of_the_same_jobs_takes_them_over(rules: Rules) -> None:
    first = await trained(rules)
    await run_here(first)
    second = await trained(rules)
    await run_here(second)
    assert (await second.get()).num_reused == 18
    jobs = [[list(each.jobs) for each in await one.trials()] for one in (first, second)]
    assert jobs[0] == jobs[1]
    anew = await trained(rules, cache="off")
    await run_here(anew)
    assert (await anew.get()).num_reused == 0


async def test_jobs_of_a_plugin_are_taken_over_while_its_code_is_the_same(rules: Rules) -> None:
    async def num_reused(told: str, recorded: str) -> int:
        own = PluginDeclaration(
            kind=PluginDeclaration.LOSS, name="own", undeclared=True, digest=told
        )
        request = ReportPluginsRequest(
            worker="w1", queues=["default"], environment=HERE, plugins=[own]
        )
        await PluginService(rules.database).report(request)
        base = to_dict(spec(loss={"plugin": {"name": "own"}}))
        sweeping = await Sweeping.begin(rules, space=SPACE, base=base, objective="val/mae")
        while (await sweeping.get()).state == Sweep.RUNNING:
            await rules.runner.step()
            for row in await rules.claim(100):
                outcome = Outcome(state=Job.SUCCEEDED, environment=HERE)
                if recorded:
                    outcome.environment.plugins["losses/own"] = recorded
                await rules.leases.finish(held(row), outcome, None)
        return (await sweeping.get()).num_reused

    assert await num_reused("a", "") == 0
    # A worker of an earlier version did not say by what code it was trained.
    assert await num_reused("a", "a") == 0
    assert await num_reused("a", "a") == 9
    assert await num_reused("b", "b") == 0
    assert await num_reused("", "b") == 0


async def test_a_job_deleted_while_it_is_taken_over_is_trained(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await trained(rules)
    await run_here(first)
    (gone, *_) = (await first.trials())[0].jobs
    found = submitting._due
    deleted: list[str] = []

    def slow(*args: Any) -> Any:
        due = found(*args)
        if not deleted:
            deleted.append(gone)
            with rules.database.write() as tx:
                deletion._delete(tx, gone.removeprefix("jobs/"), True, False)
        return due

    monkeypatch.setattr(submitting, "_due", slow)
    second = await trained(rules)
    await run_here(second)
    assert (await second.get()).num_reused == 17
    assert {each.state for each in await second.trials()} == {Trial.SUCCEEDED}


@pytest.mark.parametrize(
    ("fields", "is_taken_over"),
    [
        ({}, True),
        ({"display_name": "another", "tags": {"a": "b"}, "experiment": "e"}, True),
        ({"dataset": {"stored": {"name": "houses", "target": "y"}}}, False),
        ({"dataset": {"stored": {"name": "houses@abcdef12", "target": "y"}}}, True),
        ({"dataset": {"stored": {"name": "houses", "digest": "ab" * 32}}}, True),
        ({"dataset": {"uri": {"uri": "file:///data/houses.csv", "target": "y"}}}, False),
        ({"weights": {"stored": "trunk"}}, False),
        ({"weights": {"stored": "trunk@abcdef12"}}, True),
        ({"weights": {"job": "jobs/abc"}}, True),
        ({"resources": {"device": "cuda"}}, False),
        ({"loss": {"plugin": {"name": "own"}}}, True),
        ({"dataset": {"plugin": {"name": "own"}}}, False),
    ],
)
def test_only_jobs_that_name_all_they_read_are_taken_over(
    fields: dict[str, Any], is_taken_over: bool
) -> None:
    digest = cell_of(spec(**fields)).digest
    assert bool(digest) == is_taken_over
    assert (digest == cell_of(spec()).digest) == (
        set(fields) <= {"display_name", "tags", "experiment"}
    )
