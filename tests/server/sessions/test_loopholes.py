"""Ways around the budget of a session: each of them is closed."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.server.samples import Rules, held, spec, summary
from tests.server.sessions.proposing import (
    NAME,
    end,
    finish,
    job,
    keep_checkpoint,
    on_sqlite,
    proposed,
    submit,
)
from tests.server.sweeps.sweeping import RATES, Result, Sweeping, errors, update_sweep

from talweg.server.errors import InvalidSpec, SessionState
from talweg.server.services.attempts.reports import Report
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.store import jobs
from talweg.server.store.identity import projects
from talweg.server.store.record.database import Database
from talweg.server.store.sweeps import runs, sweeps
from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, Outcome, TrackingRun
from talweg.v1.sessions_pb2 import Session, SessionAnswer
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Trial

KEEP, UNCLEAR = SessionAnswer.KEEP, SessionAnswer.NOT_DISTINGUISHABLE


@on_sqlite
async def test_final_seeds_are_fresh_in_the_whole_session(rules: Rules) -> None:
    space = [{"path": "optimizer.adamw.learning_rate", "values": RATES}]
    search = await Sweeping.begin(rules, session="s", space=space, seeds={"count": 6})
    await search.run()
    await submit(rules, "log_cosh", [7])
    used = {*range(6), 7}
    for num in (3, 5):
        compare = {"path": "loss", "baseline": "mse", "final_seeds": num}
        sweep = await Sweeping.begin(rules, session="s", compare=compare, seeds={"count": 1})
        await sweep.run()
        final = [each for each in await sweep.trials() if each.is_final]
        of_trials = [{each.training.seed for each in sweep.jobs(trial)} for trial in final]
        assert len(of_trials) == 3
        # Pairs, and none that anybody has seen.
        assert all(seeds == of_trials[0] for seeds in of_trials)
        assert len(of_trials[0]) == num
        assert not of_trials[0] & used
        used |= of_trials[0]


@on_sqlite
async def test_sweeps_that_run_at_once_have_final_seeds_of_their_own(rules: Rules) -> None:
    compare = {"path": "loss", "baseline": "mse", "final_seeds": 3}
    both = [
        await Sweeping.begin(rules, session="s", compare=compare, seeds={"count": 1}, parallel=1)
        for _ in range(2)
    ]
    for sweep in both:
        # Jobs of both run in turn: seeds are reserved while final jobs of the other are to come.
        await sweep.run()
    first, second = [
        {
            each.training.seed
            for trial in await sweep.trials()
            if trial.is_final
            for each in sweep.jobs(trial)
        }
        for sweep in both
    ]
    assert len(first) == len(second) == 3
    assert not first & second


@on_sqlite
async def test_repeated_runs_on_one_split_are_one_pair(rules: Rules) -> None:
    for loss in ("mse", "mae"):
        await rules.submit_many(
            [job(loss, seed, split={"seed": split}) for split in range(3) for seed in range(2)]
        )
    await end(rules, lambda seed: 1.0)
    (answer,) = (await rules.sessions.get(NAME)).answers
    assert answer.pairs == 3


@on_sqlite
async def test_runs_that_were_seen_are_no_proof_under_another_tag(rules: Rules) -> None:
    await submit(rules, "mse", range(24))
    await end(rules, lambda seed: 10 + seed / 10)
    # No difference in all: better by 15 of the seeds, worse by the others.
    won = [seed for seed in range(24) if seed % 8 < 5]
    lucky = await proposed(
        rules, "mae", lambda seed: 10 + seed / 10 - (1 if seed in won else -1), num=24
    )
    assert lucky.decision == UNCLEAR
    given = []
    for seed in won:
        given.append(job("mae", seed, tags={"proposal": "again"}))
        given[-1].training.log_every_steps = 2
    await rules.submit_many(given)
    await end(rules, lambda seed: 9 + seed / 10)
    answer = (await rules.sessions.get(NAME)).answers[-1]
    assert (answer.pairs, answer.decision) == (0, UNCLEAR)
    assert answer.text.endswith("15 jobs are left out, as they ran in the session before")


@on_sqlite
async def test_divergence_counts_on_both_sides(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    for row in await rules.claim(100):
        seed = row.job_spec.training.seed
        await finish(rules, row, None if seed < 2 else 10.0)
    await submit(rules, "mae", range(12))
    for row in await rules.claim(100):
        seed = row.job_spec.training.seed
        await finish(rules, row, None if seed in (1, 2) else 9.0)
    (answer,) = (await rules.sessions.get(NAME)).answers
    # One pair in which both diverged, one for each alone, and 7 more in which mae is lower.
    assert answer.pairs == 12
    assert answer.looks[0].mean == pytest.approx((-1 + 0 + 1 - 7) / 10)


@on_sqlite
async def test_what_is_compared_with_does_not_depend_on_who_asks(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: 10 + seed / 10)
    await submit(rules, "mae", range(12))
    await end(rules, lambda seed: 9 + seed / 9)
    # Nobody has asked.
    answer = await proposed(rules, "huber", lambda seed: 9 + seed / 9)
    assert (answer.baseline, answer.decision) == ("loss=mae", UNCLEAR)


@on_sqlite
async def test_the_best_never_goes_back(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: 10 + seed / 10)
    await submit(rules, "mae", range(12))
    late = await rules.claim(100)
    assert (await proposed(rules, "huber", lambda seed: 5 + seed / 9)).decision == KEEP
    last = await proposed(rules, "log_cosh", lambda seed: 3 + seed / 8)
    assert (last.baseline, last.decision) == ("loss=huber", KEEP)
    for row in late:
        await finish(rules, row, 9 + row.job_spec.training.seed / 9)
    session = await rules.sessions.get(NAME)
    assert [each.decision for each in session.answers] == [KEEP] * 3
    assert session.best == "loss=log_cosh"
    after = await proposed(rules, "quantile", lambda seed: 3 + seed / 8)
    assert after.baseline == "loss=log_cosh"


@on_sqlite
async def test_a_failed_job_holds_up_the_look_until_it_ran_again(rules: Rules) -> None:
    failing = {"mae"}

    def result(given: JobSpec) -> Result:
        loss = str(given.loss.WhichOneof("kind"))
        if loss in failing and given.training.seed == 5:
            return Job.FAILED
        return {"val/mae": {"mse": 3.0, "mae": 2.0, "log_cosh": 3.0}[loss]}

    compare = {"path": "loss", "baseline": "mse", "final_seeds": 12}
    sweep = await Sweeping.begin(rules, session="s", compare=compare, result=result)
    await sweep.run()
    first = (await rules.sessions.get(NAME)).answers[0]
    assert (list(first.looks), first.decision) == ([], UNCLEAR)
    assert "until it is submitted again" in first.text
    failing.clear()
    await rules.control.retry(sweep.name, [Trial.FAILED])
    await sweep.run()
    first = (await rules.sessions.get(NAME)).answers[0]
    assert (first.pairs, first.decision) == (12, KEEP)


@on_sqlite
async def test_closing_takes_the_looks_that_failed_jobs_have_held_up(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: None if seed == 1 else 10 + seed / 10)
    await submit(rules, "mae", range(12))
    for row in await rules.claim(100):
        if row.job_spec.training.seed == 1:
            await rules.leases.finish(held(row), Outcome(state=Job.FAILED), None)
        else:
            await finish(rules, row, 1.0)
    (answer,) = (await rules.sessions.get(NAME)).answers
    assert (answer.pairs, list(answer.looks)) == (1, [])
    (answer,) = (await rules.closing.close(NAME)).answers
    assert (answer.pairs, len(answer.looks)) == (12, 1)
    # The one that failed counts as the worst, though that of the baseline has diverged.
    better = sum(9 + seed / 10 for seed in (0, *range(2, 10)))
    assert answer.looks[0].mean == pytest.approx((9.9 - better) / 10)


class Interrupted:
    """A record in which something happens right after each write."""

    def __init__(self, database: Database, happens: Callable[[], Awaitable[Any]]) -> None:
        self._database = database
        self._happens = happens

    async def reading(self, *given: Any) -> Any:
        return await self._database.reading(*given)

    async def writing(self, *given: Any) -> Any:
        written = await self._database.writing(*given)
        await self._happens()
        return written


@on_sqlite
async def test_asking_while_settings_are_proposed_is_answered(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: 10 + seed / 10)
    await submit(rules, "mae", range(12))
    await end(rules, lambda seed: 9 + seed / 9)
    losses = iter(("huber", "log_cosh"))

    async def happens() -> None:
        if loss := next(losses, ""):
            await submit(rules, loss, [0])

    database: Any = Interrupted(rules.database, happens)
    session = await SessionService(database, rules.statistics).get(NAME)
    assert session.best == "loss=mae"
    assert session.num_answers == 2


@on_sqlite
async def test_a_sweep_of_a_closed_session_stays_as_it_is(rules: Rules) -> None:
    def result(given: JobSpec) -> Result:
        return Job.FAILED if given.loss.HasField("mae") else {"val/mae": 1.0}

    sweep = await Sweeping.begin(rules, session="s", result=result)
    await sweep.run()
    await rules.closing.close(NAME)
    with pytest.raises(SessionState, match="sessions/s is closed"):
        await rules.control.retry(sweep.name, [Trial.FAILED])
    with pytest.raises(SessionState, match="sessions/s is closed"):
        await update_sweep(rules, sweep.name, seeds=2)


@on_sqlite
async def test_tests_beyond_the_quota_wait_until_it_is_closed_again(rules: Rules) -> None:
    for row in await submit(rules, "mse", range(2)):
        keep_checkpoint(rules, row)
    await end(rules, lambda seed: 1.0)
    with rules.database.write() as tx:
        projects.set_quotas(
            tx, "default", max_open_jobs=1, max_running_jobs=None, max_stored_bytes=None
        )
    closed = await rules.closing.close(NAME)
    for state in (Job.FAILED, Job.SUCCEEDED):
        assert (closed.state, closed.num_untested) == (
            Session.CLOSING,
            2 - closed.num_failed_tests,
        )
        (test,) = await rules.claim(100)
        report = Report(9, [], [summary("test/mae", 7.0)])
        await rules.leases.finish(held(test), Outcome(state=state), report)
        closed = await rules.sessions.get(NAME)
        if closed.state == Session.CLOSING:
            closed = await rules.closing.close(NAME)
    # Each was tested once, before what failed is tested again.
    assert (closed.state, closed.num_failed_tests, closed.tests[0].n) == (Session.CLOSED, 1, 1)
    assert (await rules.closing.close(NAME)).num_untested == 1


@on_sqlite
async def test_a_sweep_is_summarised_again_once_all_is_tested(rules: Rules) -> None:
    compare = {"path": "loss", "baseline": "mse", "final_seeds": 2}
    sweep = await Sweeping.begin(
        rules, session="s", compare=compare, predicted={"seconds": 5}, result=errors
    )
    await sweep.run()
    for trial in await sweep.trials():
        for name in trial.jobs:
            with rules.database.read() as connection:
                row = jobs.get(connection, job_id(name))
            keep_checkpoint(rules, row)
    with rules.database.write() as tx:
        (due,) = runs.claim(tx, "w", limit=1, held_for=10**6)
        swept = sweeps.lock(tx, sweep.name.removeprefix("sweeps/"))
        run = TrackingRun(run_id="r", complete=True)
        runs.set_run(tx, swept, expected="", run=run, cursor=due.cursor)
    await rules.closing.close(NAME)
    tests = await rules.claim(100)
    for test in tests:
        with rules.database.read() as connection:
            assert not runs.any_due(connection, "w")
        report = Report(9, [], [summary("test/mae", 7.0)])
        await rules.leases.finish(held(test), Outcome(state=Job.SUCCEEDED), report)
    with rules.database.read() as connection:
        assert runs.any_due(connection, "w")
    answer = await rules.sweep_answers.answer(sweep.name)
    assert "test/mae of the kept weights: mse 7" in answer.text
    assert any("predicted to take 5 s" in each for each in answer.remarks)


@on_sqlite
@pytest.mark.parametrize("session", [None, "other"])
async def test_no_job_outside_tests_the_weights_of_an_open_session(
    rules: Rules, session: str | None
) -> None:
    (row,) = await submit(rules, "mse", [0])
    await end(rules, lambda seed: 1.0)
    keep_checkpoint(rules, row)

    def following(session: str | None) -> JobSpec:
        fields = {} if session is None else {"session": session}
        return spec(training={"steps": 6, "seed": 0}, continued_from={"job": row.name}, **fields)

    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(following(session))
    assert [each.field for each in caught.value.fields] == ["session"]
    await rules.submit(following("s"))
    await end(rules, lambda seed: 1.0)
    await rules.closing.close(NAME)
    await rules.submit(following(None))
