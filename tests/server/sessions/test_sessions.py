"""Sessions in the record: shares, looks, and what is tested when they are closed."""

import asyncio
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
from tests.server.sweeps.sweeping import Sweeping, loss_of

from talweg.server.errors import InvalidRequest, InvalidSpec, SessionNotFound, SessionState
from talweg.server.services.attempts.reports import Report
from talweg.server.services.comparison.answer import question_of
from talweg.server.services.retention.deletion import DeletionService
from talweg.server.services.sessions.deciding import SessionService
from talweg.server.store import sessions
from talweg.spec import to_dict
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.sessions_pb2 import Session, SessionAnswer
from talweg.v1.spec_pb2 import JobSpec


async def listed(rules: Rules) -> list[Session]:
    """List all sessions, on pages of one each."""
    found: list[Session] = []
    token = ""
    while token or not found:
        page = await rules.sessions.list_page(page_size=1, page_token=token)
        found += page.sessions
        token = page.next_token
    return found


def without_details(session: Session) -> Session:
    listed = Session()
    listed.CopyFrom(session)
    for field in ("answers", "tests"):
        listed.ClearField(field)
    return listed


@on_sqlite
async def test_proposals_are_kept_discarded_or_neither_under_one_budget(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: 10 + seed / 10)
    kept = await proposed(rules, "mae", lambda seed: 9 + seed / 9)
    assert kept.decision == SessionAnswer.KEEP
    assert kept.text.startswith("keep: loss=mae is better than mse, val/mae -")
    same = await proposed(rules, "huber", lambda seed: 9 + seed / 9 + (-1) ** seed * 0.1)
    # What was kept is what follows is compared with, and passes its level on.
    assert (same.baseline, same.decision) == ("loss=mae", SessionAnswer.NOT_DISTINGUISHABLE)
    assert same.level == pytest.approx(same.share + kept.level)
    worse = await proposed(rules, "log_cosh", lambda seed: 12 + seed / 9)
    assert (worse.baseline, worse.decision) == ("loss=mae", SessionAnswer.DISCARD)
    session = await rules.sessions.get(NAME)
    assert session.best == "loss=mae"
    assert session.error == 0.05
    assert session.spent + session.left == pytest.approx(0.05)
    assert session.spent == pytest.approx(kept.share + same.share)
    assert await listed(rules) == [without_details(session)]
    # Asking again spends nothing, nor as after a restart: nothing is known but the record.
    assert await SessionService(rules.database, rules.statistics).get(NAME) == session
    # More seeds of a setting are no proposal of their own, and have no share.
    await submit(rules, "huber", [12, 13])
    await end(rules, lambda seed: 10.0)
    assert (await rules.sessions.get(NAME)).spent == session.spent


@on_sqlite
async def test_sessions_are_listed_the_newest_first(rules: Rules) -> None:
    for name in ("first", "second", "third"):
        await rules.submit(spec(session=name))
    assert [each.name for each in await listed(rules)] == [
        "sessions/third",
        "sessions/second",
        "sessions/first",
    ]


async def test_a_share_is_given_once_however_many_submit_and_ask_at_once(rules: Rules) -> None:
    await submit(rules, "mse", range(10))
    losses = ["mae", "huber", "log_cosh"]
    await asyncio.gather(*(submit(rules, loss, range(10)) for loss in losses))
    # Other seeds of a setting are a proposal by their tag alone, and paired in turn.
    await submit(rules, "mse", range(100, 110), tags={"proposal": "new weights"})
    await end(rules, lambda seed: 10.0 + seed % 3)
    asked = await asyncio.gather(*(rules.sessions.get(NAME) for _ in range(4)))
    assert all(each == asked[0] for each in asked)
    shares = [each.share for each in asked[0].answers]
    assert len(set(shares)) == 4
    assert asked[0].spent == pytest.approx(sum(shares))
    tagged = asked[0].answers[-1]
    assert (tagged.label, tagged.baseline, tagged.pairs) == ("new weights", "mse", 10)


@on_sqlite
async def test_a_look_waits_for_all_jobs_before_it_whatever_they_show(rules: Rules) -> None:
    await submit(rules, "mse", range(12))
    await end(rules, lambda seed: 10 + seed / 10)
    rows = await submit(rules, "mae", range(12))
    claimed = {row.id: row for row in await rules.claim(100)}
    # The first was cancelled and submitted again: that one counts.
    await rules.leases.finish(held(claimed[rows[0].id]), Outcome(state=Job.CANCELLED), None)
    await submit(rules, "mae", [0])
    await end(rules, lambda seed: 1.0)
    # All but the third have ended, and all are better.
    for row in [rows[1], *rows[3:]]:
        await finish(rules, claimed[row.id], 1.0)
    (answer,) = (await rules.sessions.get(NAME)).answers
    assert (answer.pairs, answer.decision) == (2, SessionAnswer.NOT_DISTINGUISHABLE)
    await finish(rules, claimed[rows[2].id], None)
    (answer,) = (await rules.sessions.get(NAME)).answers
    # The one that diverged counts as the worst.
    assert answer.looks[0].pairs == 10
    assert answer.looks[0].p > 2 ** (1 - 10)


@on_sqlite
async def test_a_sweep_has_a_share_for_each_compared_value(rules: Rules) -> None:
    def result(given: JobSpec) -> dict[str, float]:
        error = {"mse": 3.0, "mae": 2.0, "log_cosh": 3.0}[loss_of(given)]
        return {"val/mae": error + given.training.seed / 100}

    compare = {"path": "loss", "baseline": "mse", "final_seeds": 12}
    sweeping = await Sweeping.begin(rules, session="s", compare=compare, result=result)
    before = await rules.sessions.get(NAME)
    assert [each.label for each in before.answers] == ["mae", "log_cosh"]
    assert before.spent > 0
    await sweeping.run()
    answer = await rules.sweep_answers.answer(sweeping.name)
    words = [SessionAnswer.Decision.Name(each.decision) for each in answer.session_answers]
    assert words == ["KEEP", "NOT_DISTINGUISHABLE"]
    assert answer.text.startswith("keep: mae is better than mse, val/mae -1 ")
    assert answer.comparison is not None
    assert answer.answer is not None
    assert answer.comparison.metric == "val/mae"
    assert not any(each.HasField("difference") for each in answer.answer.groups)
    assert "test data are left alone" in answer.remarks[-1]


@on_sqlite
async def test_verdicts_beside_the_budget_are_refused(rules: Rules) -> None:
    await submit(rules, "mse", range(2))
    await end(rules, lambda seed: 1.0)
    comparison = await rules.comparison.compare(names=[], metric="")
    assert comparison.metric == "val/mae"
    with pytest.raises(InvalidRequest, match="session s"):
        await rules.answers.answer(comparison, question_of("mse"), ["loss"])


async def test_closing_tests_the_kept_weights_and_ends_the_session(rules: Rules) -> None:
    with pytest.raises(SessionNotFound):
        await rules.closing.close(NAME)
    rows = await submit(rules, "mse", range(2))
    with pytest.raises(SessionState, match=f"{rows[0].name} and 1 more"):
        await rules.closing.close(NAME)
    await end(rules, lambda seed: 1.0)
    for row in rows:
        keep_checkpoint(rules, row)
    with pytest.raises(SessionState, match="close the session first"):
        await DeletionService(rules.database).delete(rows[0].name, force=True)
    closed = await rules.closing.close(NAME)
    assert (closed.state, closed.num_untested) == (Session.CLOSING, 2)
    # Once more, and nothing more happens.
    assert (await rules.closing.close(NAME)).num_untested == 2
    claimed = await rules.claim(100)
    assert [row.job_spec.test_of.job for row in claimed] == [row.name for row in rows]
    assert not any(row.job_spec.HasField("session") for row in claimed)
    assert [row.kept[0].name for row in claimed] == [
        f"{row.name}/checkpoints/000000000005-1" for row in rows
    ]
    outcomes = [(Job.SUCCEEDED, [summary("test/mae", 7.0)]), (Job.FAILED, [])]
    for row, (state, metrics) in zip(claimed, outcomes, strict=True):
        await rules.leases.finish(held(row), Outcome(state=state), Report(9, [], metrics))
    closed = await rules.sessions.get(NAME)
    assert (closed.state, closed.num_failed_tests) == (Session.CLOSED, 1)
    (result,) = closed.tests
    assert (result.label, result.metric, result.mean, result.n) == ("mse", "test/mae", 7.0, 1)
    assert await listed(rules) == [without_details(closed)]
    # What failed is tested again.
    assert (await rules.closing.close(NAME)).num_untested == 1
    for given in (job("mae", 0), job("mse", 9)):
        with pytest.raises(InvalidSpec, match="it was closed"):
            await rules.submit(given)
    with pytest.raises(InvalidSpec, match="it was closed"):
        await Sweeping.begin(rules, session="s")


@on_sqlite
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"session": "a/b"}, "session"),
        ({"outputs": {"checkpoint": False}}, "outputs.checkpoint"),
        ({"split": {"train": 0.8, "validation": 0, "test": 0.2}}, "split.validation"),
        ({"test_of": {"job": "jobs/x"}}, "test_of"),
    ],
)
async def test_jobs_that_a_session_cannot_compare_are_refused(
    rules: Rules, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(spec(**{"session": "s", **fields}))
    assert [each.field for each in caught.value.fields] == [field]
    with rules.database.read() as connection:
        assert sessions.find(connection, "s") is None


@on_sqlite
async def test_sweeps_that_a_session_cannot_compare_are_refused(rules: Rules) -> None:
    compare = {"path": "loss", "decide": {"max_seeds": 30}}
    with pytest.raises(InvalidSpec, match="compare.decide"):
        await Sweeping.begin(rules, session="s", compare=compare)
    base = {**to_dict(spec()), "session": "other"}
    with pytest.raises(InvalidSpec, match="base.session"):
        await Sweeping.begin(rules, session="s", base=base)
