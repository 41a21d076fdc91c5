"""Checks of specs: beside each other, only while somebody waits, and each for itself."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import grpc
import pytest
from tests.server.calls.test_statuses import details
from tests.server.conftest import Running
from tests.server.samples import Rules, spec

from talweg.server.errors import InternalError
from talweg.server.services.submission import preparing
from talweg.server.services.submission import submit as submission
from talweg.server.services.submission.preparing import Submission
from talweg.server.services.submission.submit import SubmissionService
from talweg.server.store.record.rows import JobRow
from talweg.spec import complete
from talweg.v1 import jobs_pb2
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.spec_pb2 import JobSpec

WAIT_S = 30
HELD, FAILS = "held", "fails"


def named(name: str) -> JobSpec:
    return spec(display_name=name)


def batch(specs: Sequence[JobSpec]) -> jobs_pb2.BatchSubmitJobsRequest:
    requests = [jobs_pb2.SubmitJobRequest(spec=each) for each in specs]
    return jobs_pb2.BatchSubmitJobsRequest(requests=requests)


class Checks:
    """The checks that the services make; those of some specs are held or fail."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.is_held = threading.Event()
        self.may_go_on = threading.Event()
        self._complete = complete

    def complete(self, given: JobSpec) -> Any:
        self.begun.append(given.display_name)
        if given.display_name == HELD:
            self.is_held.set()
            assert self.may_go_on.wait(WAIT_S)
        if given.display_name == FAILS:
            raise RuntimeError("secret")
        return self._complete(given)

    async def until_held(self) -> None:
        assert await asyncio.to_thread(self.is_held.wait, WAIT_S)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    checks = Checks()
    monkeypatch.setattr(preparing, "complete", checks.complete)
    return checks


@pytest.fixture
async def others(running: Running) -> AsyncIterator[Callable[[JobSpec], Coroutine[Any, Any, str]]]:
    """Somebody else's connection, which submits a job and gives its name."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(running.server.address, options=options) as channel:
        jobs = JobServiceStub(channel)

        async def submit(given: JobSpec) -> str:
            request = jobs_pb2.SubmitJobRequest(spec=given)
            return (await jobs.SubmitJob(request, timeout=WAIT_S)).job.name

        yield submit


Others = Callable[[JobSpec], Coroutine[Any, Any, str]]


async def test_a_submission_is_checked_beside_a_batch(
    running: Running, checks: Checks, others: Others
) -> None:
    specs = [named(HELD), *(named(f"item {number}") for number in range(200))]
    call = running.jobs.BatchSubmitJobs(batch(specs))
    await checks.until_held()
    assert await others(named("other"))
    assert checks.begun == [HELD, "other"]
    checks.may_go_on.set()
    assert len((await call).results) == 201


async def test_callers_take_turns_where_all_threads_are_busy(
    running: Running, checks: Checks, others: Others
) -> None:
    waiting = running.server.parts.submission._checks._waiting
    calls = [
        asyncio.ensure_future(running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=named(HELD))))
        for _ in range(50)
    ]
    async with asyncio.timeout(WAIT_S):
        while sum(map(len, waiting.values())) < 50 - submission._NUM_CHECKS:
            await asyncio.sleep(0.01)
        other = asyncio.create_task(others(named("other")))
        while sum(map(len, waiting.values())) < 51 - submission._NUM_CHECKS:
            await asyncio.sleep(0.01)
    checks.may_go_on.set()
    await asyncio.gather(*calls, other)
    assert checks.begun.index("other") <= submission._NUM_CHECKS + 1


@pytest.mark.parametrize("way", ["cancels", "sets a deadline"])
async def test_a_batch_is_checked_no_further_once_its_caller_has_left(
    running: Running,
    checks: Checks,
    others: Others,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    noticed = asyncio.Event()
    submit_many = SubmissionService.submit_many

    async def noticing(*args: Any, **kwargs: Any) -> Any:
        try:
            return await submit_many(*args, **kwargs)
        except asyncio.CancelledError:
            noticed.set()
            raise

    monkeypatch.setattr(SubmissionService, "submit_many", noticing)
    specs = [named(HELD), *(named(f"item {number}") for number in range(200))]
    deadline = None if way == "cancels" else 3
    call = running.jobs.BatchSubmitJobs(batch(specs), timeout=deadline)
    await asyncio.sleep(0)
    if way == "cancels":
        await checks.until_held()
        call.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await call
    async with asyncio.timeout(WAIT_S):
        await noticed.wait()
    checks.may_go_on.set()
    name = await others(named("other"))
    assert set(checks.begun) <= {HELD, "other"}
    found = await running.jobs.ListJobs(jobs_pb2.ListJobsRequest())
    assert [job.name for job in found.jobs] == [name]


async def test_one_items_exception_is_its_own(
    rules: Rules, checks: Checks, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answers = await rules.submission.submit_many(
            [Submission(named(name)) for name in ("before", FAILS, "after")]
        )
    before, failed, after = answers
    assert isinstance(before, JobRow)
    assert isinstance(failed, InternalError)
    assert isinstance(after, JobRow)
    assert "secret" not in str(failed)
    (record,) = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert "secret" in str(record.exc_info[1])


async def test_an_exception_about_the_jobs_that_one_item_names_is_its_own(
    rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(submission, "continued", fails)
    first, failed, last = await rules.submission.submit_many(
        [
            Submission(spec()),
            Submission(spec(continued_from={"job": "jobs/a"})),
            Submission(spec(loss="mae")),
        ]
    )
    assert isinstance(first, JobRow)
    assert isinstance(failed, InternalError)
    assert isinstance(last, JobRow)


async def test_over_the_wire_an_item_has_a_status_of_its_own(
    running: Running, checks: Checks
) -> None:
    unknown = named("unknown")
    unknown.training.precision = 3  # type: ignore[assignment]
    specs = [named("before"), named(FAILS), unknown, named("after")]
    before, failed, refused, after = (await running.jobs.BatchSubmitJobs(batch(specs))).results
    assert before.job.name
    assert after.job.name
    assert failed.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in str(failed)
    assert refused.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    info, violations = details(refused.error)
    assert info.reason == "INVALID_SPEC"
    assert [each.field for each in violations] == ["training.precision"]
    assert "found 3; allowed one of fp32, bf16, fp16" in violations[0].description
