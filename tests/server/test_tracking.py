"""A job's run in MLflow: compare-and-set, so that two deliveries never both win."""

import pytest
from tests.server.samples import Rules

from talweg.server.errors import InvalidRequest, JobNotFound
from talweg.server.services.jobs import JobService
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
