"""Servers that share a record or die: every job once, and the same outcome."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from itertools import count
from typing import Any

import pytest
from tests.server.samples import Rules
from tests.server.sweeps.sweeping import AT_RATE, LOSSES, RATES, Sweeping, errors, loss_of, rate_of

from talweg.server.errors import InternalError, ShuttingDown
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.services.sweeps.running import submitting
from talweg.server.services.sweeps.running.runner import SweepRunner
from talweg.server.store import jobs
from talweg.server.store.record.database import Database, Transaction
from talweg.spec import job_id
from talweg.spec.sweeps import Setting
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, Trial

SPACE = [{"path": "loss", "values": LOSSES}, {"path": AT_RATE, "values": RATES}]
COMPARE = {"path": "loss", "final_seeds": 3}


class Killed(Exception):
    """The server was killed."""


class Mortal:
    """A record whose server is killed at one of its transactions, before or after its commit."""

    def __init__(self, database: Database, lives: Callable[[], tuple[int, bool]]) -> None:
        self._database = database
        self._left, self._is_before = lives()

    async def reading(self, *args: Any, **kwargs: Any) -> Any:
        return await self._database.reading(*args, **kwargs)

    async def writing(self, *args: Any, **kwargs: Any) -> Any:
        return await self.writing_relaxed(*args, **kwargs)

    async def writing_relaxed(self, operation: Any, *args: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise Killed

        def dying(tx: Transaction) -> Any:
            operation(tx, *args)
            raise Killed

        if self._left == 0 and self._is_before:
            return await self._database.writing_relaxed(dying)
        result = await self._database.writing_relaxed(operation, *args)
        if self._left == 0:
            raise Killed
        return result


def result(job: JobSpec) -> dict[str, float] | int:
    """Return errors; one setting diverges, and one fails."""
    if rate_of(job) == 0.1 and loss_of(job) == "mse":
        return Job.DIVERGED
    if rate_of(job) == 0.1 and loss_of(job) == "mae" and job.training.seed == 1:
        return Job.FAILED
    return errors(job)


async def undisturbed(rules: Rules) -> list[Any]:
    sweeping = await Sweeping.begin(
        rules, result=result, space=SPACE, seeds=2, parallel=4, compare=COMPARE, cache="off"
    )
    await sweeping.run()
    return await sweeping.shape()


async def test_a_server_killed_at_any_transaction_changes_nothing(rules: Rules) -> None:
    expected = await undisturbed(rules)
    sweeping = await Sweeping.begin(
        rules, result=result, space=SPACE, seeds=2, parallel=4, compare=COMPARE, cache="off"
    )
    deaths = count()

    def lives() -> tuple[int, bool]:
        # At its first, second or third transaction, before or after its commit.
        number = next(deaths)
        return 1 + number % 3, number % 2 == 0

    for _ in range(300):
        database: Any = Mortal(rules.database, lives)
        submission = SubmissionService(database)
        runner = SweepRunner(database, submission, rules.asking, rules.statistics)
        for _ in range(2):
            await runner.step()
        submission.close()
        if (await sweeping.get()).state == Sweep.SUCCEEDED:
            break
        await sweeping.work(3)
    assert next(deaths) > 10
    assert await sweeping.shape() == expected
    assert sweeping.worked.most_at_once <= 4
    # No job of a server that died is left behind.
    with rules.database.read() as connection:
        trials = await sweeping.trials()
        known = [jobs.get(connection, job_id(name)) for trial in trials for name in trial.jobs]
    of_sweep = sweeping.name.removeprefix("sweeps/")
    assert len(known) == 9 * 2 + 3 * 3
    assert {row.job_spec.tags["sweep"] for row in known} == {of_sweep}
    assert await count_tagged(rules, of_sweep) == len(known)


async def count_tagged(rules: Rules, sweep: str) -> int:
    """Count the jobs of a sweep, whether it knows them or not."""
    page = await rules.jobs.list_page(
        filter=f'tags.sweep = "{sweep}"', order_by="", page_size=1000, page_token=""
    )
    return len(page.jobs)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Rules]:
    """Another server's services over the same record."""
    database = Database(database_url)
    rules = Rules(database, [])
    yield rules
    await rules.statistics.close()
    await rules.search.close()
    rules.close()
    database.close()


async def test_two_servers_submit_each_job_once(
    rules: Rules, other: Rules, caplog: pytest.LogCaptureFixture
) -> None:
    expected = await undisturbed(rules)
    sweeping = await Sweeping.begin(
        rules, result=result, space=SPACE, seeds=2, parallel=4, compare=COMPARE, cache="off"
    )
    same = Sweeping(other, sweeping.name, result)
    both = (sweeping, same)

    async def run(one: Sweeping, *, works: bool) -> None:
        while (await one.get()).state == Sweep.RUNNING:
            await one.rules.runner.step()
            if works:
                await one.work(2)

    async with asyncio.timeout(300):
        await asyncio.gather(*(run(one, works=one is same) for one in (*both, *both)))
    assert await sweeping.shape() == expected
    assert max(one.worked.most_at_once for one in both) <= 4
    of_sweep = sweeping.name.removeprefix("sweeps/")
    assert await count_tagged(rules, of_sweep) == 9 * 2 + 3 * 3
    events = await sweeping.events()
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    assert "cannot go on" not in caplog.text


async def test_what_another_server_has_submitted_since_is_not_submitted_again(
    rules: Rules,
    other: Rules,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sweeping = await Sweeping.begin(rules, space=SPACE, seeds=2, parallel=5, cache="off")
    found = submitting._due

    def slow(*args: Any) -> Sequence[submitting.Next]:
        due = found(*args)
        # Meanwhile another server does the same.
        monkeypatch.setattr(submitting, "_due", found)
        asyncio.run_coroutine_threadsafe(other.runner.step(), loop).result(120)
        return due

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(submitting, "_due", slow)
    await rules.runner.step()
    assert await count_tagged(rules, sweeping.name.removeprefix("sweeps/")) == 5
    await sweeping.run()
    assert await count_tagged(rules, sweeping.name.removeprefix("sweeps/")) == 18
    assert "cannot go on" not in caplog.text


async def test_jobs_that_another_server_found_due_leave_no_room(
    rules: Rules, other: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeping = await Sweeping.begin(
        rules, space=SPACE, parallel=2, cache="off", result=lambda job: Job.FAILED
    )
    for _ in range(2):
        await rules.runner.step()
        await sweeping.work()
    await rules.runner.step()
    await sweeping.work()
    found = submitting._due

    def slow(*args: Any) -> Sequence[submitting.Next]:
        due = found(*args)
        # Meanwhile trials are run again, whose jobs come first at another server.
        monkeypatch.setattr(submitting, "_due", found)
        again = other.control.retry(sweeping.name, [Trial.FAILED])
        asyncio.run_coroutine_threadsafe(again, loop).result(120)
        asyncio.run_coroutine_threadsafe(other.runner.step(), loop).result(120)
        return due

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(submitting, "_due", slow)
    await rules.runner.step()
    counts = {each.state: each.count for each in (await sweeping.get()).jobs}
    assert counts[Job.QUEUED] == 2


@pytest.mark.parametrize("parallel", [1, 3, 100])
async def test_no_more_jobs_wait_than_may(rules: Rules, parallel: int) -> None:
    sweeping = await Sweeping.begin(rules, space=SPACE, seeds=3, parallel=parallel, cache="off")
    while (await sweeping.get()).state == Sweep.RUNNING:
        await rules.runner.step()
        await rules.runner.step()
        await sweeping.work(2)
    assert sweeping.worked.most_at_once == min(parallel, 27)
    assert all(each.state == Trial.SUCCEEDED for each in await sweeping.trials())


async def test_a_watcher_is_told_that_the_server_ends(rules: Rules) -> None:
    sweeping = await Sweeping.begin(rules)
    seen: list[SweepEvent] = []

    async def follow() -> None:
        async with aclosing(rules.sweeps.watch(sweeping.name, 0)) as events:
            async for event in events:
                seen.append(event)
                rules.sweeps.close()

    with pytest.raises(ShuttingDown):
        await follow()
    assert [event.cursor for event in seen] == [1]


async def test_a_sweep_whose_search_fails_says_so_and_goes_on_once_it_works(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> list[Setting]:
        raise InternalError

    sweeping = await Sweeping.begin(
        rules, space=SPACE, algorithm={"tpe": {}}, trials=4, parallel=1
    )
    with monkeypatch.context() as patch:
        patch.setattr(rules.asking, "settings", fail)
        await rules.runner.step()
        stuck = await sweeping.get()
    assert stuck.state == Sweep.RUNNING
    assert "cannot go on" in stuck.message
    assert "log" in stuck.message
    await rules.runner.step()
    assert (await sweeping.get()).message == "goes on again"
    ended = await sweeping.run()
    assert ended.state == Sweep.SUCCEEDED
