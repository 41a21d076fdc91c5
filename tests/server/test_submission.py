"""Taking jobs: completed, checked, once for each request_id."""

import asyncio

import pytest
from tests.server.samples import Rules, spec

from talweg.server.errors import (
    BatchSize,
    InvalidRequest,
    InvalidSpec,
    JobNotEnded,
    JobNotFound,
    RequestIdReused,
    SpecTooLarge,
)
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import Preview
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.spec_pb2 import JobSpec


async def test_stores_the_spec_complete_with_defaults(rules: Rules) -> None:
    row = await rules.submit(spec(loss="huber", tags={"team": "a"}, priority=7))

    assert rules.get(row) == row
    assert row.job_spec.loss.huber.delta == 1.0
    assert row.job_spec.optimizer.WhichOneof("kind") == "adamw"
    assert (row.loss, row.task, row.experiment, row.priority) == (
        "huber",
        "regression",
        "default",
        7,
    )
    assert (row.state, row.attempt, row.queue) == (Job.QUEUED, 0, "default")
    assert rules.kinds(row) == ["QUEUED"]
    assert rules.get(row).last_cursor == 1


async def test_a_cuda_job_goes_to_its_own_queue(rules: Rules) -> None:
    row = await rules.submit(spec(resources={"device": "cuda"}))
    assert row.queue == "cuda"
    assert rules.changes[-1].queues == {"cuda"}


async def test_refuses_with_every_violation_at_once(rules: Rules) -> None:
    bad = spec(loss={"huber": {"delta": -1.0}}, training={"batch_size": 0})
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(bad)
    assert {problem.field for problem in caught.value.fields} == {
        "loss.huber.delta",
        "training.batch_size",
    }
    assert "-1" in str(caught.value)
    assert (
        await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    ).jobs == []


async def test_refuses_an_empty_spec(rules: Rules) -> None:
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(JobSpec())
    assert {"task", "dataset", "model", "loss"} <= {each.field for each in caught.value.fields}


async def test_stores_warnings(rules: Rules) -> None:
    row = await rules.submit(spec(loss={"mse": {"reduction": "sum"}}))
    kinds = {warning.kind for warning in Job.FromString(rules.get(row).warnings).warnings}
    assert Warning.REDUCTION_SUM in kinds


async def test_refuses_a_spec_of_ten_megabytes(rules: Rules) -> None:
    with pytest.raises(SpecTooLarge, match="262,144 bytes, but is 10,"):
        await rules.submit(spec(display_name="x" * 10_000_000))


async def test_refuses_what_postgresql_cannot_hold(rules: Rules) -> None:
    given = spec()
    given.experiment = given.tags["a"] = given.tags["b\0"] = "x\0"
    with pytest.raises(InvalidSpec) as caught:
        await rules.submit(given)
    fields = [problem.field for problem in caught.value.fields]
    assert sorted(fields) == ["experiment", "tags.a", "tags.b\0"]
    with pytest.raises(InvalidRequest, match="request_id: must not contain control characters"):
        await rules.submit(request_id="\0")


async def test_a_request_id_gives_the_same_job_for_the_same_body(rules: Rules) -> None:
    first = await rules.submit(request_id="r")
    assert await rules.submit(request_id="r") == first
    assert (await rules.submit(request_id="s")).id != first.id


async def test_a_request_id_with_another_body_is_refused(rules: Rules) -> None:
    first = await rules.submit(request_id="r")
    with pytest.raises(RequestIdReused, match=first.name) as caught:
        await rules.submit(spec(loss="mae"), request_id="r")
    assert caught.value.metadata["job"] == first.name


async def test_a_long_request_id_is_refused(rules: Rules) -> None:
    await rules.submit(request_id="r" * 100)
    with pytest.raises(InvalidRequest, match="<= 100 characters, but has 101"):
        await rules.submit(request_id="r" * 101)


async def test_calls_at_once_with_one_request_id_take_one_job(rules: Rules) -> None:
    rows = await asyncio.gather(*(rules.submit(request_id="r") for _ in range(20)))
    assert len({row.id for row in rows}) == 1
    page = await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    assert len(page.jobs) == 1


async def test_validate_only_changes_nothing_and_fails_as_the_call_would(rules: Rules) -> None:
    submit = rules.submission.submit
    preview = await submit(Submission(spec(loss="huber"), validate_only=True))
    assert isinstance(preview, Preview)
    assert JobSpec.FromString(preview.spec).loss.huber.delta == 1.0
    page = await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    assert page.jobs == []

    await rules.submit(request_id="r")
    assert isinstance(await submit(Submission(spec(), "r", validate_only=True)), Preview)
    with pytest.raises(RequestIdReused):
        await submit(Submission(spec(loss="mae"), "r", validate_only=True))
    with pytest.raises(InvalidSpec):
        await submit(Submission(JobSpec(), validate_only=True))
    with pytest.raises(InvalidRequest):
        await submit(Submission(spec(), "r" * 101, validate_only=True))


async def test_a_batch_answers_item_by_item_in_order(rules: Rules) -> None:
    known = await rules.submit(request_id="known")
    answers = await rules.submission.submit_many(
        [
            Submission(spec(), "a"),
            Submission(JobSpec()),
            Submission(spec(), "a"),
            Submission(spec(loss="mae"), "a"),
            Submission(spec(), "known"),
            Submission(spec(loss="mae"), "known"),
            Submission(spec(), "b", validate_only=True),
            Submission(spec(loss="mae"), "b"),
        ]
    )
    first, invalid, again, other, before, reused, preview, after = answers
    assert isinstance(first, JobRow)
    assert isinstance(invalid, InvalidSpec)
    assert again == first
    assert isinstance(other, RequestIdReused)
    assert first.name in str(other)
    assert before == known
    assert isinstance(reused, RequestIdReused)
    # What is only checked does not take the request_id.
    assert isinstance(preview, Preview)
    assert isinstance(after, JobRow)
    page = await rules.jobs.list_page(filter="", order_by="", page_size=0, page_token="")
    assert {view.row.id for view in page.jobs} == {known.id, first.id, after.id}


async def test_a_batch_that_is_only_checked_is_refused_as_the_real_one(rules: Rules) -> None:
    bodies = [spec(), spec(loss="mae"), spec()]

    async def verdicts(*, validate_only: bool) -> list[type]:
        answers = await rules.submission.submit_many(
            [Submission(body, "a", validate_only=validate_only) for body in bodies]
        )
        return [type(answer) for answer in answers]

    assert await verdicts(validate_only=True) == [Preview, RequestIdReused, Preview]
    assert await verdicts(validate_only=False) == [JobRow, RequestIdReused, JobRow]


@pytest.mark.parametrize("num", [0, 1001])
async def test_a_batch_has_bounds(rules: Rules, num: int) -> None:
    with pytest.raises(BatchSize, match=f"<= 1000, but holds {num}"):
        await rules.submission.submit_many([Submission(spec())] * num)


async def test_a_batch_keeps_its_order_in_the_queue(rules: Rules) -> None:
    rows = await rules.submit_many([spec(training={"seed": seed}) for seed in range(50)])
    claimed = await rules.claim(limit=50)
    assert [row.id for row in claimed] == [row.id for row in rows]


async def test_retry_submits_an_ended_job_again(rules: Rules) -> None:
    ended = await rules.finished(spec(loss="mae"), state=Job.FAILED)
    again = await rules.submission.retry(ended.name, "r")
    assert again.id != ended.id
    assert again.retry_of == ended.name
    assert again.spec == ended.spec
    assert again.state == Job.QUEUED
    assert await rules.submission.retry(ended.name, "r") == again


async def test_retry_refuses(rules: Rules) -> None:
    row = await rules.submit()
    with pytest.raises(JobNotEnded, match="QUEUED"):
        await rules.submission.retry(row.name, "")
    with pytest.raises(JobNotFound):
        await rules.submission.retry("jobs/none", "")
    await rules.cancellation.cancel(row.name, force=False, reason="")
    # The same request_id for the retry of another job is another body.
    one, two = await rules.finished(), await rules.finished()
    await rules.submission.retry(one.name, "r")
    with pytest.raises(RequestIdReused):
        await rules.submission.retry(two.name, "r")
