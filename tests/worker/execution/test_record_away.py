import sqlite3
import time
from contextlib import closing

import grpc
import pytest
from tests._parts import Server
from tests.worker._jobs import Jobs, tiny_spec

from talweg.v1.jobs_pb2 import Job
from talweg.v1.workers_pb2 import ReportProgressRequest
from talweg.worker.channels import Channel, call, is_record_away
from talweg.worker.execution.control import JobControl


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
