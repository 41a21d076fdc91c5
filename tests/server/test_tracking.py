"""A job's run in MLflow: compare-and-set, so that two deliveries never both win."""

import pytest
from tests.server.samples import RELEASED, SUCCEEDED, Rules, held

from talweg.server.errors import InvalidRequest, JobNotFound
from talweg.server.services.jobs import JobService
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import TrackingRun


async def test_the_first_one_wins(rules: Rules) -> None:
    row = await rules.finished()
    mine, other = TrackingRun(run_id="mine"), TrackingRun(run_id="other")
    assert await rules.tracking.set_run(row.name, expected="", run=mine) == mine
    assert await rules.tracking.set_run(row.name, expected="", run=other) == mine
    # An answer that was lost: sent again, it says what was written.
    assert await rules.tracking.set_run(row.name, expected="", run=mine) == mine
    assert TrackingRun.FromString(rules.get(row).tracking or b"") == mine
    assert rules.kinds(row)[-1] == "finished"


async def test_changes_the_expected_run(rules: Rules) -> None:
    row = await rules.running()
    run = TrackingRun(run_id="r", experiment_id="1", url="http://x")
    await rules.tracking.set_run(row.name, expected="", run=run)
    run.complete = True
    assert await rules.tracking.set_run(row.name, expected="r", run=run) == run
    assert rules.get(row).tracking == run.SerializeToString()


async def test_refuses(rules: Rules) -> None:
    row = await rules.submit()
    with pytest.raises(InvalidRequest, match="run_id"):
        await rules.tracking.set_run(row.name, expected="", run=TrackingRun())
    run = TrackingRun(run_id="r", url="x" * 10_001)
    with pytest.raises(InvalidRequest, match="10,000 bytes"):
        await rules.tracking.set_run(row.name, expected="", run=run)
    with pytest.raises(JobNotFound):
        await rules.tracking.set_run("jobs/none", expected="", run=TrackingRun(run_id="r"))


async def test_a_link_follows_mlflow_to_another_address(rules: Rules) -> None:
    row = await rules.finished()
    run = TrackingRun(run_id="r", experiment_id="7", url="http://127.0.0.1:5000/#/old")
    await rules.tracking.set_run(row.name, expected="", run=run)
    for base, url in {
        "": run.url,
        "http://user:word@mlflow:8080/pages/": (
            "http://mlflow:8080/pages/#/experiments/7/runs/r?workflowType=machine_learning"
        ),
    }.items():
        service = JobService(rules.database, rules.status, tracking_uri=base)
        view = await service.get(row.name)
        assert view.tracking is not None
        assert view.tracking.url == url


async def moved(rules: Rules) -> str:
    """Return the name of a job that was claimed with two spools."""
    row = await rules.submit()

    async def claimed(worker: str, spool: str) -> JobRow:
        (claimed,) = await rules.leases.claim(
            queue="default", worker=worker, devices=["cpu"], limit=1, request_id="", spool=spool
        )
        return claimed

    first = await claimed("a", "one")
    await rules.leases.finish(held(first), RELEASED, None)
    second = await claimed("b", "two")
    await rules.leases.finish(held(second), SUCCEEDED, None)
    assert second.id == row.id
    return row.name


async def test_each_spool_is_told_what_the_others_still_hold(rules: Rules) -> None:
    name = await moved(rules)
    state = await rules.tracking.report_delivery(name, spool="two", attempt=2)
    assert [(each.attempt, each.worker) for each in state.pending] == [(1, "a")]
    assert state.holds_latest
    state = await rules.tracking.report_delivery(name, spool="one", attempt=0)
    assert (list(state.pending), state.holds_latest) == ([], False)
    # That was a question.
    assert (await rules.tracking.report_delivery(name, spool="two", attempt=0)).pending
    await rules.tracking.report_delivery(name, spool="one", attempt=1)
    assert not (await rules.tracking.report_delivery(name, spool="two", attempt=0)).pending


async def test_what_was_missing_is_so_until_it_arrives(rules: Rules) -> None:
    name = await moved(rules)
    await rules.tracking.report_delivery(name, spool="two", attempt=2)
    run = TrackingRun(run_id="r", complete=True, missing="attempt 1 on a")
    assert (await rules.tracking.set_run(name, expected="", run=run)).missing
    await rules.tracking.report_delivery(name, spool="one", attempt=1)
    view = await JobService(rules.database, rules.status, tracking_uri="").get(name)
    assert view.tracking is not None
    assert (view.tracking.complete, view.tracking.missing) == (True, "")
    # Said too late, it is not so any more.
    assert not (await rules.tracking.set_run(name, expected="r", run=run)).missing


async def test_what_any_machine_left_out_is_told(rules: Rules) -> None:
    name = await moved(rules)
    begun = TrackingRun(run_id="r")
    await rules.tracking.set_run(name, expected="", run=begun)
    model, plots = "model: refused", "plots: refused"
    for _ in range(2):  # As where an answer was lost.
        await rules.tracking.report_delivery(name, spool="one", attempt=1, left_out=plots)
        run = TrackingRun(run_id="r", complete=True, left_out=model)
        told = await rules.tracking.set_run(name, expected="r", run=run)
        assert told.left_out == f"{plots}; {model}"
    run = TrackingRun(run_id="r", complete=True, left_out=f"{model}; data: refused")
    await rules.tracking.set_run(name, expected="r", run=run)
    await rules.tracking.report_delivery(name, spool="two", attempt=2)
    view = await JobService(rules.database, rules.status, tracking_uri="").get(name)
    assert view.tracking is not None
    for part in (plots, model, "data: refused"):
        assert part in view.tracking.left_out
    # The next try fails otherwise.
    await rules.tracking.report_delivery(name, spool="one", attempt=1, left_out="plots: too large")
    run = TrackingRun(run_id="r", complete=True, left_out=f"{model}; data: refused")
    told = await rules.tracking.set_run(name, expected="r", run=run)
    assert told.left_out == f"plots: too large; {model}; data: refused"
    # All is sent again to a run that replaces it.
    run = TrackingRun(run_id="other", left_out=model)
    assert (await rules.tracking.set_run(name, expected="r", run=run)).left_out == model
    with pytest.raises(InvalidRequest, match="left_out"):
        await rules.tracking.report_delivery(name, spool="one", attempt=1, left_out="a\x1b[31m")


async def test_a_worker_that_names_no_spool_is_not_waited_for(rules: Rules) -> None:
    row = await rules.running()
    state = await rules.tracking.report_delivery(row.name, spool="other", attempt=0)
    assert (list(state.pending), state.unknown_attempt) == ([], 1)
    with pytest.raises(InvalidRequest, match="spool"):
        await rules.tracking.report_delivery(row.name, spool="", attempt=0)
    run = TrackingRun(run_id="r", missing="a\x1b[31m")
    with pytest.raises(InvalidRequest, match="missing"):
        await rules.tracking.set_run(row.name, expected="", run=run)
    run = TrackingRun(run_id="r", left_out="a\x1b[31m")
    with pytest.raises(InvalidRequest, match="left_out"):
        await rules.tracking.set_run(row.name, expected="", run=run)
