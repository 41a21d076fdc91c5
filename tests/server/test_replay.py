"""Jobs that replay a step of others: what is refused, and what the worker is given."""

from typing import Any

import pytest
from tests.server.samples import SUCCEEDED, Rules, held, spec, summary

from talweg.server.errors import InvalidSpec
from talweg.server.services.attempts.reports import Report
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName, display_name
from talweg.v1.jobs_pb2 import Checkpoint, Divergence, Job, Outcome, Progress
from talweg.v1.replay_pb2 import ReplayReport, ReplayRow
from talweg.v1.spec_pb2 import JobSpec, Outputs
from talweg.v1.workers_pb2 import Kept

LONG = {"epochs": 10}


def kept(job: str, *steps: int) -> Kept:
    names = {step: str(CheckpointName(job, step, 1)) for step in steps}
    return Kept(
        checkpoints=[
            Checkpoint(name=name, step=step, epoch=step // 9, attempt=1)
            for step, name in names.items()
        ]
    )


async def ended(
    rules: Rules, *steps: int, done: int = 90, outcome: Outcome = SUCCEEDED, **fields: Any
) -> JobRow:
    """Return a job that has ended and kept checkpoints."""
    row = await rules.running(spec(**{"training": LONG, **fields}))
    progress = Progress(step=done, total_steps=90)
    report = Report(
        1, progress=progress, kept=kept(row.name, *steps), summaries=[summary("test/mae", 3)]
    )
    await rules.leases.finish(held(row), outcome, report)
    return rules.get(row)


def replaying(job: JobRow, step: int, **more: Any) -> JobSpec:
    given = JobSpec()
    given.CopyFrom(job.job_spec)
    given.replay.job, given.replay.step = job.name, step
    given.MergeFrom(JobSpec(**more))
    return given


async def refused(rules: Rules, given: JobSpec) -> str:
    for validate_only in (True, False):
        with pytest.raises(InvalidSpec) as error:
            await rules.submission.submit(Submission(given, validate_only=validate_only))
    return str(error.value)


async def test_the_worker_is_given_the_checkpoints_before_the_step(rules: Rules) -> None:
    source = await ended(rules, 45, 60, 90)
    row = await rules.submit(replaying(source, 61))
    (claimed,) = await rules.claim()
    assert claimed.id == row.id
    # Should the nearest be damaged, the one before is there.
    assert [each.name for each in claimed.kept] == [
        str(CheckpointName(source.name, step, 1)) for step in (45, 60)
    ]
    reason = rules.events(row)[0].state.reason
    assert reason == f"replays step 61 of {source.name} from step 60"
    assert row.job_spec.outputs == Outputs(model=False, plots=False, checkpoint=False)
    assert display_name(row.job_spec) == f"replay of step 61 of {source.id}"


async def test_without_a_checkpoint_it_begins_at_the_initial_state(rules: Rules) -> None:
    source = await ended(rules, 45)
    row = await rules.submit(replaying(source, 45))
    assert not row.kept
    assert rules.events(row)[0].state.reason.endswith("from step 0")
    again = await rules.submission.submit(Submission(replaying(source, 45), validate_only=True))
    assert isinstance(again, Preview)


async def test_a_running_jobs_steps_are_replayed_too(rules: Rules) -> None:
    source = await rules.running(spec(training=LONG))
    progress = Progress(step=50, total_steps=90)
    await rules.leases.report(held(source), Report(1, progress=progress))
    row = await rules.submit(replaying(rules.get(source), 50))
    assert row.state == Job.QUEUED
    assert "1 to 50" in await refused(rules, replaying(source, 51))


async def test_the_step_that_diverged_is_one(rules: Rules) -> None:
    diverged = Outcome(state=Job.DIVERGED, divergence=Divergence(step=51))
    source = await ended(rules, done=50, outcome=diverged)
    await rules.submit(replaying(source, 51))
    assert "1 to 51" in await refused(rules, replaying(source, 52))


async def test_what_cannot_be_replayed_is_refused(rules: Rules) -> None:
    source = await ended(rules, 45)
    missing = replaying(source, 3)
    missing.replay.job = "jobs/none"
    assert "a job that exists" in await refused(rules, missing)
    nameless = replaying(source, 3)
    nameless.replay.ClearField("step")
    assert "replay.step" in await refused(rules, nameless)
    queued = await rules.submit(spec(training=LONG))
    assert "it has taken none" in await refused(rules, replaying(queued, 1))
    other = replaying(source, 3)
    other.optimizer.adamw.learning_rate, other.training.seed = 0.5, 9
    message = await refused(rules, other)
    assert "2 violations" in message
    assert "optimizer.adamw.learning_rate" in message
    assert "training.seed" in message
    row = await rules.submit(replaying(source, 3))
    again = replaying(source, 3)
    again.replay.job = row.name
    assert f"It replays {source.name}" in await refused(rules, again)
    twice = replaying(source, 3)
    twice.replay.without.extend([4, 4])
    assert "row 4 twice" in await refused(rules, twice)


async def test_tags_and_limits_may_be_others(rules: Rules) -> None:
    source = await ended(rules, 45)
    given = replaying(source, 3, priority=5, display_name="a look", tags={"a": "b"})
    given.resources.time_limit_seconds = 60
    assert (await rules.submit(given)).priority == 5


async def test_a_job_that_continues_another_is_replayed_from_either(rules: Rules) -> None:
    source = await ended(rules, 45, 90)
    longer = spec(training={"epochs": 20}, continued_from={"job": source.name})
    continued = await rules.running(longer)
    progress = Progress(step=180, total_steps=180)
    own = kept(continued.name, 120)
    await rules.leases.finish(held(continued), SUCCEEDED, Report(1, progress=progress, kept=own))
    continued = rules.get(continued)
    row = await rules.submit(replaying(continued, 100))
    assert [each.name for each in row.kept] == [str(CheckpointName(source.name, 90, 1))]
    row = await rules.submit(replaying(continued, 121))
    assert [each.step for each in row.kept] == [90, 120]
    assert "91 to 180" in await refused(rules, replaying(continued, 90))
    rules.alter(source, checkpoints=None)
    message = await refused(rules, replaying(continued, 100))
    assert "a job with a checkpoint before step 100" in message
    assert [each.step for each in (await rules.submit(replaying(continued, 121))).kept] == [120]


async def test_comparisons_leave_replays_out(rules: Rules) -> None:
    source = await ended(rules, 45)
    row = await rules.submit(replaying(source, 3))
    (claimed,) = await rules.claim()
    shown = ReplayReport(job=source.name, step=3, loss=float("nan"), rows=[ReplayRow(row=7)])
    outcome = Outcome(state=Job.SUCCEEDED, replay=shown)
    await rules.leases.finish(
        held(claimed), outcome, Report(1, summaries=[summary("test/mae", 1)])
    )
    stored = Outcome.FromString(rules.get(row).outcome or b"").replay
    assert stored.rows[0].row == 7
    for names, matching in (([], "task = regression"), ([row.name, source.name], "")):
        comparison = await rules.comparison.compare(
            names=names, filter=matching, metric="test/mae", group_by=[]
        )
        (group,) = comparison.groups
        assert [each.job.id for each in group.rows] == [source.id]
