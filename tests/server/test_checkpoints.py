"""What the record holds of checkpoints: told under a good lease, handed to the next attempt."""

import pytest
from tests.server.conftest import Running
from tests.server.samples import SUCCEEDED, Rules, held, point, spec

from talweg.server.errors import InvalidRequest, StaleLease
from talweg.server.services.attempts.reaper import reap
from talweg.server.services.attempts.reports import Report
from talweg.spec import CheckpointName
from talweg.v1.jobs_pb2 import Checkpoint, GetJobRequest, Job, Outcome, SubmitJobRequest
from talweg.v1.workers_pb2 import (
    ClaimJobsRequest,
    FinishJobRequest,
    Kept,
    Lease,
    ReportProgressRequest,
)


def kept(job: str, *steps: int, attempt: int = 1) -> Kept:
    names = [CheckpointName(job, step, attempt) for step in steps]
    return Kept(
        checkpoints=[Checkpoint(name=str(name), step=name.step, attempt=attempt) for name in names]
    )


def given_back(lease: Lease, last: ReportProgressRequest | None = None) -> FinishJobRequest:
    return FinishJobRequest(lease=lease, outcome=Outcome(state=Job.QUEUED), last_report=last)


async def test_the_next_attempt_is_told_of_them(running: Running) -> None:
    job = (await running.jobs.SubmitJob(SubmitJobRequest(spec=spec()))).job
    claim = ClaimJobsRequest(queue="default", worker="w")
    (first,) = (await running.workers.ClaimJobs(claim)).assignments
    assert not first.checkpoints
    report = ReportProgressRequest(lease=first.lease, sequence=1, kept=kept(job.name, 10, 20))
    await running.workers.ReportProgress(report)
    # A report without them leaves them as they are.
    await running.workers.ReportProgress(ReportProgressRequest(lease=first.lease, sequence=2))
    stored = await running.jobs.GetJob(GetJobRequest(name=job.name))
    assert [each.step for each in stored.checkpoints] == [10, 20]
    await running.workers.FinishJob(given_back(first.lease))
    (second,) = (await running.workers.ClaimJobs(claim)).assignments
    assert second.lease.attempt == 2
    assert list(second.checkpoints) == list(kept(job.name, 10, 20).checkpoints)
    last = ReportProgressRequest(sequence=1, kept=Kept())
    await running.workers.FinishJob(given_back(second.lease, last))
    (third,) = (await running.workers.ClaimJobs(claim)).assignments
    assert not third.checkpoints


async def test_a_stale_lease_names_none(rules: Rules) -> None:
    old = await rules.running()
    await rules.leases.report(held(old), Report(1, kept=kept(old.name, 10)))
    rules.lose_worker(old)
    with rules.database.write() as tx:
        reap(tx, 5)
    (new,) = await rules.claim()
    await rules.leases.report(held(new), Report(1, kept=kept(new.name, 10, 20, attempt=2)))
    with pytest.raises(StaleLease):
        await rules.leases.report(held(old), Report(2, kept=kept(old.name, 30)))
    with pytest.raises(StaleLease):
        await rules.leases.finish(held(old), SUCCEEDED, Report(2, kept=kept(old.name, 30)))
    assert [each.step for each in rules.get(old).kept] == [10, 20]


async def test_a_report_sent_again_changes_nothing(rules: Rules) -> None:
    row = await rules.running()
    await rules.leases.report(held(row), Report(1, kept=kept(row.name, 10)))
    await rules.leases.report(held(row), Report(2, kept=kept(row.name, 10, 20)))
    await rules.leases.report(held(row), Report(1, kept=kept(row.name, 10)))
    assert [each.step for each in rules.get(row).kept] == [10, 20]


async def test_workers_are_lost_in_a_row_only_without_a_new_checkpoint(rules: Rules) -> None:
    row = await rules.submit()
    for attempt in range(1, 7):
        (claimed,) = await rules.claim()
        # Every other attempt comes on; the others tell of what they found.
        came_on = attempt if attempt % 2 else attempt - 1
        given = kept(claimed.name, attempt, attempt=came_on)
        await rules.leases.report(held(claimed), Report(1, kept=given))
        rules.lose_worker(claimed)
        with rules.database.write() as tx:
            reap(tx, 3)
        assert rules.get(row).state == Job.QUEUED
        assert rules.get(row).lost_attempts == (1 if attempt % 2 else 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            Kept(checkpoints=[Checkpoint(step=1)]),
            r"kept.checkpoints\[0\].name: a checkpoint's name",
        ),
        (kept("jobs/other", 10), r"kept.checkpoints\[0\].name: must be of jobs/"),
        (Kept(checkpoints=[Checkpoint(name="x")] * 1001), "must be <= 1000, but got 1001"),
    ],
)
async def test_refuses_what_is_none(rules: Rules, given: Kept, message: str) -> None:
    row = await rules.running()
    with pytest.raises(InvalidRequest, match=message):
        await rules.leases.report(held(row), Report(1, kept=given))


@pytest.mark.parametrize("wrong", [Checkpoint(step=11), Checkpoint(attempt=2)])
async def test_refuses_a_name_that_says_otherwise(rules: Rules, wrong: Checkpoint) -> None:
    row = await rules.running()
    given = kept(row.name, 10)
    given.checkpoints[0].MergeFrom(wrong)
    with pytest.raises(InvalidRequest, match="step and attempt must match the name, 10 and"):
        await rules.leases.report(held(row), Report(1, kept=given))


async def test_points_of_all_attempts_each_step_once(rules: Rules) -> None:
    row = await rules.running()
    await rules.leases.report(held(row), Report(1, [point(10, train_loss=3.0)]))
    rules.alter(row, metrics_time=1)
    await rules.leases.report(held(row), Report(2, [point(20, train_loss=2.0)]))
    rules.lose_worker(row)
    with rules.database.write() as tx:
        reap(tx, 5)
    (again,) = await rules.claim()
    for sequence, step in enumerate((15, 20, 25), start=1):
        rules.alter(row, metrics_time=1)
        given = [point(step, train_loss=step / 10), point(step, val_loss=1.0)]
        await rules.leases.report(held(again), Report(sequence, given))
    found = await rules.jobs.metrics(row.name, wanted=["train/"], include_points=True)
    assert [(each.metrics.step, each.metrics.values["train/loss"]) for each in found.points] == [
        (10, 3.0),
        (20, 2.0),
        (25, 2.5),
    ]
