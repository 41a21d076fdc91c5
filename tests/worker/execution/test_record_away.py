import sqlite3
import time
from contextlib import closing
from typing import Any
from unittest.mock import MagicMock

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests._parts import Server
from tests.worker._jobs import Jobs, tiny_spec

from talweg.v1.jobs_pb2 import Job
from talweg.v1.workers_pb2 import Lease, ReportProgressRequest, ReportProgressResponse
from talweg.worker.channels import Channel, ServerAwayError, call, is_record_away
from talweg.worker.clock import Clock
from talweg.worker.execution.control import JobControl
from talweg.worker.execution.lease import LeaseKeeper


def test_a_server_says_that_its_record_is_away(lender: Server, jobs: Jobs) -> None:
    name, channel = jobs.submit(tiny_spec()), Channel(lender.address)
    report = channel.workers.ReportProgress
    try:
        lease = jobs.claim().lease
        assert lease.job == name
        with closing(sqlite3.connect(lender.folder / "talweg.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(grpc.RpcError) as refused:
                report(ReportProgressRequest(lease=lease), timeout=60)
            assert is_record_away(refused.value)
            other.execute("ROLLBACK")
        # Its time is up, but the server speaks of its record: it is tried until that is back.
        call(
            report, ReportProgressRequest(lease=lease), until=time.monotonic(), record_patience=60
        )
        lease.token = "another"
        with pytest.raises(grpc.RpcError) as refused:
            report(ReportProgressRequest(lease=lease), timeout=60)
        assert not is_record_away(refused.value)
        assert jobs.get(name).state == Job.RUNNING
    finally:
        channel.close()
        jobs.cancel(name)


def test_without_a_lease_an_attempt_goes_on_but_does_not_hold_it() -> None:
    past = time.monotonic() - 1
    control = JobControl(lease_end=past)
    control.go_on_until(past + 3600)
    assert control.check() is None
    assert not control.holds_lease()
    control.go_on_until(past)
    stop = control.check()
    assert stop is not None
    assert stop.reason == "lost"


class _Away(grpc.RpcError):
    """The server's answer that its record is away, or no answer at all."""

    def __init__(self, reason: str) -> None:
        status = status_pb2.Status()
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
        self._metadata = (("grpc-status-details-bin", status.SerializeToString()),)

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "away"

    def trailing_metadata(self) -> Any:
        return self._metadata


def test_a_break_of_the_connection_does_not_end_the_patience_with_the_record() -> None:
    """A server may start anew while its record is away, and says nothing meanwhile."""
    answers: list[Any] = [_Away("DATABASE_UNAVAILABLE"), _Away(""), "answer"]

    def method(request: str, /, *, timeout: float | None = None) -> str:
        answer = answers.pop(0)
        if isinstance(answer, _Away):
            raise answer
        return str(answer)

    assert call(method, "", until=time.monotonic(), record_patience=60) == "answer"
    answers = [_Away(""), "answer"]
    with pytest.raises(ServerAwayError):
        call(method, "", until=time.monotonic(), record_patience=60)


class _Turned(Clock):
    """A clock that stands still until it is turned, and ends nothing."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def arm(self, seconds: float) -> None:
        assert seconds > 1, "the process would be ended"


def test_a_lease_counts_from_the_try_that_was_answered() -> None:
    """The first try may be minutes old where the record was away meanwhile."""
    clock, channel, others = _Turned(), MagicMock(), MagicMock()
    answer = ReportProgressResponse()
    answer.time_to_live.FromSeconds(30)

    def report(request: Any, *, timeout: float | None = None) -> ReportProgressResponse:
        if clock.seconds < 100:
            raise _Away("DATABASE_UNAVAILABLE")
        return answer

    channel.workers.ReportProgress = report
    control = JobControl(lease_end=time.monotonic() + 3600)
    keeper = LeaseKeeper(
        channel, Lease(), time_to_live=30, claimed_at=0, control=control, reporter=others,
        checkpoints=others, cut_off=others, clock=clock,
    )  # fmt: skip
    keeper.renew()
    assert keeper.renewed_at >= 100
    assert keeper.end >= 130
