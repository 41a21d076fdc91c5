"""Jobs that continue others: what is refused, and what the worker is given."""

from typing import Any

import pytest
from tests.server.samples import SUCCEEDED, Rules, held, spec

from talweg.server.errors import InvalidSpec
from talweg.server.services.attempts.reports import Report
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store.record.rows import JobRow
from talweg.spec import CheckpointName
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.workers_pb2 import Kept


async def ended(rules: Rules, *steps: int) -> JobRow:
    """Return a job that has ended and kept checkpoints."""
    row = await rules.running(spec(training={"epochs": 10}))
    kept = Kept(
        checkpoints=[
            Checkpoint(
                name=str(CheckpointName(row.name, step, 1)), step=step, epoch=step // 9, attempt=1
            )
            for step in steps
        ]
    )
    await rules.leases.finish(held(row), SUCCEEDED, Report(1, kept=kept))
    return rules.get(row)


def continuing(job: str, **more: Any) -> JobSpec:
    return spec(**{"training": {"epochs": 20}, "continued_from": {"job": job}, **more})


async def refused(rules: Rules, given: JobSpec) -> str:
    for validate_only in (True, False):
        with pytest.raises(InvalidSpec) as error:
            await rules.submission.submit(Submission(given, validate_only=validate_only))
    return str(error.value)


async def test_the_worker_is_given_the_last_checkpoint(rules: Rules) -> None:
    source = await ended(rules, 45, 90)
    row = await rules.submit(continuing(source.name))
    assert row.job_spec.continued_from.step == 90
    (claimed,) = await rules.claim()
    assert claimed.id == row.id
    (checkpoint,) = claimed.kept
    assert checkpoint.name == str(CheckpointName(source.name, 90, 1))
    assert checkpoint.for_good
    reason = rules.events(row)[0].state.reason
    assert reason == f"continues {source.name} from step 90: training.epochs 10 -> 20"
    # The other job keeps what it had.
    assert [each.step for each in rules.get(source).kept] == [45, 90]


async def test_another_of_its_checkpoints_may_be_named(rules: Rules) -> None:
    source = await ended(rules, 45, 90)
    row = await rules.submit(
        continuing(source.name, continued_from={"job": source.name, "step": 45})
    )
    assert [each.step for each in row.kept] == [45]
    message = await refused(
        rules, continuing(source.name, continued_from={"job": source.name, "step": 46})
    )
    assert "45, 90" in message


async def test_what_cannot_be_continued_is_refused(rules: Rules) -> None:
    assert "a job that exists" in await refused(rules, continuing("jobs/none"))
    running = await rules.running()
    assert "which is RUNNING" in await refused(rules, continuing(running.name))
    bare = await ended(rules)
    assert "has no checkpoint" in await refused(rules, continuing(bare.name))
    source = await ended(rules, 90)
    message = await refused(
        rules, continuing(source.name, training={"epochs": 10}, split={"seed": 9})
    )
    assert "2 violations" in message
    assert "split.seed" in message
    assert "training.epochs" in message


async def test_it_can_be_checked_alone_and_sent_again(rules: Rules) -> None:
    source = await ended(rules, 90)
    given = continuing(source.name)
    preview = await rules.submission.submit(Submission(given, validate_only=True))
    assert isinstance(preview, Preview)
    assert JobSpec.FromString(preview.spec).continued_from.step == 90
    first = await rules.submit(given, request_id="c")
    assert (await rules.submit(given, request_id="c")).id == first.id


async def test_a_continued_job_can_be_continued_and_tried_again(rules: Rules) -> None:
    source = await ended(rules, 90)
    row = await rules.submit(continuing(source.name))
    (claimed,) = await rules.claim()
    # It has ended before it kept a checkpoint of its own.
    await rules.leases.finish(held(claimed), SUCCEEDED, None)
    assert "has no checkpoint" in await refused(
        rules, continuing(row.name, training={"epochs": 30})
    )
    again = await rules.submission.retry(row.name, "")
    assert [each.step for each in again.kept] == [90]
