"""Runs that are written from the record: who gets them, and which run counts."""

from typing import Any

import pytest
from sqlalchemy import update
from tests.server.samples import Rules
from tests.server.sweeps.sweeping import Sweeping

from talweg.server.errors import InvalidRequest, SweepNotFound
from talweg.server.services.sweep_runs import SweepRunService
from talweg.server.services.sweeps.lookup import SweepService
from talweg.server.store.record import schema
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import UpdateSweepRequest


@pytest.fixture
def runs(rules: Rules) -> SweepRunService:
    return SweepRunService(rules.database)


def let_go(rules: Rules) -> None:
    """Have the time of every holder be over."""
    with rules.database.write() as tx:
        tx.connection.execute(update(schema.sweep_runs).values(held_until=tx.now - 1))


def run_of(id_: str, **fields: Any) -> TrackingRun:
    return TrackingRun(run_id=id_, experiment_id="1", **fields)


async def test_a_sweep_is_handed_out_to_one_holder_once_it_has_ended(
    rules: Rules, runs: SweepRunService
) -> None:
    sweeping = await Sweeping.begin(rules)
    await rules.runner.step()
    assert await runs.claim("first", 10) == []
    sweep = await sweeping.run()
    (due,) = await runs.claim("first", 10)
    assert (f"sweeps/{due.sweep}", due.attempt) == (sweep.name, 1)
    assert due.cursor == sweep.last_cursor
    # It keeps what it has, and others get nothing of it.
    assert await runs.claim("second", 10) == []
    assert await runs.claim("first", 10) == [due]
    let_go(rules)
    (taken,) = await runs.claim("second", 10)
    assert (taken.sweep, taken.attempt) == (due.sweep, 2)
    assert await runs.claim("first", 10) == []


async def test_nobody_is_given_more_than_asked_for(rules: Rules, runs: SweepRunService) -> None:
    names = []
    for number in range(3):
        sweep = await (await Sweeping.begin(rules, display_name=f"sweep {number}")).run()
        names.append(sweep.name.removeprefix("sweeps/"))
    assert [each.sweep for each in await runs.claim("first", 0)] == names[:1]
    assert [each.sweep for each in await runs.claim("second", 10)] == names[1:]


async def test_the_first_run_that_is_named_counts(rules: Rules, runs: SweepRunService) -> None:
    sweep = await (await Sweeping.begin(rules)).run()
    (due,) = await runs.claim("first", 1)
    arguments: dict[str, Any] = {"expected": "", "cursor": due.cursor}
    assert await runs.set_run(sweep.name, run=run_of("a"), **arguments) == run_of("a")
    assert await runs.set_run(sweep.name, run=run_of("b"), **arguments) == run_of("a")
    assert (await rules.sweeps.get(sweep.name)).tracking == run_of("a")
    # It is still to be written, by whoever lives.
    let_go(rules)
    (again,) = await runs.claim("second", 1)
    assert again.tracking == run_of("a")
    done = run_of("a", complete=True)
    assert await runs.set_run(sweep.name, expected="a", run=done, cursor=due.cursor) == done
    let_go(rules)
    assert await runs.claim("third", 1) == []
    view = await SweepService(rules.database, tracking_uri="http://new:1").get(sweep.name)
    assert view.tracking is not None
    assert view.tracking.url.startswith("http://new:1/#/experiments/1/runs/a")


async def test_what_was_true_before_a_sweep_went_on_is_not_all(
    rules: Rules, runs: SweepRunService
) -> None:
    sweeping = await Sweeping.begin(rules)
    sweep = await sweeping.run()
    (due,) = await runs.claim("first", 1)
    await rules.control.update(UpdateSweepRequest(name=sweep.name, seeds=2))
    # One that goes on is left alone.
    assert await runs.claim("first", 1) == []
    await sweeping.run()
    done = run_of("a", complete=True)
    written = await runs.set_run(sweep.name, expected="", run=done, cursor=due.cursor)
    assert not written.complete
    (again,) = await runs.claim("second", 1)
    assert again.cursor > due.cursor
    assert again.attempt == 2


async def test_bad_arguments_are_refused(rules: Rules, runs: SweepRunService) -> None:
    sweep = await (await Sweeping.begin(rules)).run()
    for holder, limit in (("", 1), ("x" * 101, 1), ("a\nb", 1), ("a", -1), ("a", 101)):
        with pytest.raises(InvalidRequest):
            await runs.claim(holder, limit)
    for run in (run_of("a/b"), run_of("a", url="javascript:alert(1)"), TrackingRun()):
        with pytest.raises(InvalidRequest):
            await runs.set_run(sweep.name, expected="", run=run, cursor=1)
    with pytest.raises(SweepNotFound):
        await runs.set_run("sweeps/none", expected="", run=run_of("a"), cursor=1)
