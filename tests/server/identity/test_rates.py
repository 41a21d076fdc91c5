"""Calls a second of a token: what is beyond is refused before it begins, and told when to come."""

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.server.conftest import Start
from tests.server.identity.teams import Metadata, Teams, refusal

from talweg.server.calls.rates import RateLimiter, Rates
from talweg.server.errors import RateLimited
from talweg.server.identity.caller import UNKNOWN, Caller
from talweg.server.identity.methods import METHODS, Role
from talweg.v1 import identity_pb2 as pb
from talweg.v1 import jobs_pb2
from talweg.v1.identity_pb2_grpc import IdentityServiceStub

READ = METHODS["/talweg.v1.JobService/GetJob"]
CHANGE = METHODS["/talweg.v1.JobService/CancelJob"]
BATCH = METHODS["/talweg.v1.JobService/BatchSubmitJobs"]
ANN = Caller(Role.SUBMITTER, token="ann")
BOB = Caller(Role.SUBMITTER, token="bob")
WORKER = Caller(Role.WORKER, description="worker token file")


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made_of(limiter: RateLimiter, caller: Caller, access: Any) -> int:
    """Make calls until one is refused, and return how many were not."""
    for number in range(10_000):
        try:
            limiter.take(caller, access)
        except RateLimited:
            return number
    return 10_000


def test_a_token_has_ten_seconds_worth_at_once_and_its_rate_from_then_on() -> None:
    clock = Clock()
    limiter = RateLimiter(Rates(reads=7, writes=3, worker_calls=50), clock=clock)
    assert made_of(limiter, ANN, CHANGE) == 30
    clock.now += 2
    assert made_of(limiter, ANN, CHANGE) == 6
    clock.now += 3600
    assert made_of(limiter, ANN, CHANGE) == 30
    # Reads, other tokens and workers have their own.
    assert made_of(limiter, ANN, READ) == 70
    assert made_of(limiter, BOB, CHANGE) == 30
    assert made_of(limiter, WORKER, METHODS["/talweg.v1.WorkerService/FinishJob"]) == 500


def test_a_refusal_says_when_there_is_room() -> None:
    clock = Clock()
    limiter = RateLimiter(Rates(writes=4), clock=clock)
    assert made_of(limiter, ANN, BATCH) == 2
    with pytest.raises(RateLimited, match="4 changes a second, and 40 at once") as caught:
        limiter.take(ANN, BATCH)
    assert caught.value.retry_after.total_seconds() == 5.0
    clock.now += 4.9
    with pytest.raises(RateLimited):
        limiter.take(ANN, BATCH)
    clock.now += 0.11
    limiter.take(ANN, BATCH)


def test_what_weighs_more_than_a_bucket_holds_empties_it() -> None:
    clock = Clock()
    limiter = RateLimiter(Rates(writes=1), clock=clock)
    assert made_of(limiter, ANN, BATCH) == 1
    clock.now += 10
    limiter.take(ANN, BATCH)


def test_no_limit_and_no_token_count_nothing() -> None:
    assert made_of(RateLimiter(Rates(writes=0)), ANN, CHANGE) == 10_000
    assert made_of(RateLimiter(Rates(writes=1)), UNKNOWN, CHANGE) == 10_000


async def test_one_token_is_refused_and_others_are_served(start: Start, tmp_path: Any) -> None:
    running = await start(
        authentication="token",
        token_key_file=tmp_path / "key",
        admin_token_file=tmp_path / "admin",
        worker_token_file=tmp_path / "worker",
        writes_per_second=1,
    )
    teams = Teams(running, tmp_path)
    ann = await teams.token(pb.Role.SUBMITTER, "a")
    bob = await teams.token(pb.Role.SUBMITTER, "b")

    async def cancel(metadata: Metadata) -> Any:
        try:
            await running.jobs.CancelJob(
                jobs_pb2.CancelJobRequest(name="jobs/aaaaaaaaaaaa"), metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError("there is no such job")

    errors = await asyncio.gather(*(cancel(ann) for _ in range(100)))
    refused = [each for each in errors if each.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert 0 < len(refused) <= 90
    assert "a token may make 1 changes a second" in (refused[0].details() or "")
    details = dict(refused[0].trailing_metadata())["grpc-status-details-bin"]
    retry = error_details_pb2.RetryInfo()
    assert any(each.Unpack(retry) for each in status_pb2.Status.FromString(details).details)
    assert 0 < retry.retry_delay.ToTimedelta().total_seconds() <= 100
    # Its reads go on, and so does another token.
    assert (await refusal(teams.running.jobs.GetJob(
        jobs_pb2.GetJobRequest(name="jobs/aaaaaaaaaaaa"), metadata=ann
    )))[0] == "NOT_FOUND"  # fmt: skip
    await teams.submit(bob)
    # The audit log is not filled by them.
    await running.server.parts.audit.flush()
    identity: Any = IdentityServiceStub(running.channel)
    log = await identity.ListAuditEntries(pb.ListAuditEntriesRequest(), metadata=teams.admin)
    assert {each.status for each in log.entries if each.project == "a"} == {"NOT_FOUND"}
