"""Which calls are tried again, for how long, and what comes of it."""

import time
from datetime import timedelta

import grpc
import pytest
from tests._parts import free_port
from tests.client.memory import MemoryServer
from tests.client.memory_record import Refusal
from tests.client.samples import sample

from talweg.client import (
    BatchError,
    Client,
    InvalidSpec,
    Job,
    NotFound,
    ServerError,
    TalwegError,
    Unavailable,
)
from talweg.client import _client as client_module
from talweg.client import _connection as connection_module

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_unavailable_is_tried_again(memory: MemoryServer) -> None:
    memory.fail_next("SubmitJob", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    with Client(memory.address) as client:
        job = client.submit(sample())
    assert memory.calls == ["SubmitJob"] * 4
    assert list(memory.record.jobs) == [job.name]


def test_lost_answer_gives_no_second_job(memory: MemoryServer) -> None:
    """The server takes the job, and dies before it answers."""
    memory.fail_next("after SubmitJob", UNAVAILABLE)
    with Client(memory.address) as client:
        job = client.submit(sample())
    assert memory.calls == ["SubmitJob"] * 2
    assert list(memory.record.jobs) == [job.name]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServerError),
        (grpc.StatusCode.UNKNOWN, ServerError),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
    ],
)
def test_nothing_else_is_tried_again(
    memory: MemoryServer, code: grpc.StatusCode, kind: type[TalwegError]
) -> None:
    memory.fail_next("SubmitJob", code)
    with Client(memory.address) as client, pytest.raises(kind):
        client.submit(sample())
    assert memory.calls == ["SubmitJob"]


def test_retries_end_with_the_calls_deadline(memory: MemoryServer) -> None:
    with Client(memory.address, timeout=timedelta(seconds=0.5)) as client:
        list(client.jobs())
        memory.fail_next("SubmitJob", *[UNAVAILABLE] * 1000)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=memory.address):
            client.submit(sample())
        assert time.monotonic() - started < 0.6
    assert 3 <= memory.calls.count("SubmitJob") < 20


def test_server_that_is_never_there_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "FIRST_CONTACT_SECONDS", 0.3)
    address = f"127.0.0.1:{free_port()}"
    with Client(address, timeout=timedelta(minutes=5)) as client:
        started = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            client.submit(sample())
        assert time.monotonic() - started < 3
    assert address in str(raised.value)
    assert "talweg up" in str(raised.value)


def test_server_that_comes_back_within_the_deadline_is_found(memory: MemoryServer) -> None:
    with Client(memory.address, timeout=timedelta(seconds=20)) as client:
        job = client.submit(sample())
        memory.stop()
        memory.start()
        assert client.job(job.name).name == job.name


def test_first_call_waits_for_a_server_that_is_just_starting() -> None:
    server = MemoryServer()
    server.address = f"127.0.0.1:{free_port()}"
    with Client(server.address) as client:
        listing = client.jobs()
        server.start()
        try:
            assert list(listing) == []
        finally:
            server.stop()


def test_unavailable_with_a_reason_is_told_as_the_servers(memory: MemoryServer) -> None:
    busy = Refusal("UNAVAILABLE", "DATABASE_BUSY", "the database is busy")
    memory.fail_next("SubmitJob", *[busy] * 1000)
    with (
        Client(memory.address, timeout=timedelta(seconds=0.3)) as client,
        pytest.raises(Unavailable, match="the database is busy") as raised,
    ):
        client.submit(sample())
    assert raised.value.reason == "DATABASE_BUSY"


def test_batches_are_divided_by_number_and_by_size(
    memory: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BATCH", 10)
    with Client(memory.address) as client:
        assert len(client.submit_many([sample(seed) for seed in range(25)])) == 25
        assert memory.calls.count("BatchSubmitJobs") == 3
        # Each near the limit of a spec: together far above what one call may carry.
        large = {f"tag{index}": "x" * 200 for index in range(50)}
        memory.calls.clear()
        monkeypatch.setattr(client_module, "MAX_BATCH", 1000)
        monkeypatch.setattr(client_module, "_MAX_BATCH_BYTES", 25_000)
        jobs = client.submit_many([sample(seed, tags=large) for seed in range(6)])
    assert memory.calls.count("BatchSubmitJobs") == 3
    assert [job.spec.training.seed for job in jobs] == list(range(6))


def test_names_of_accepted_jobs_survive_a_later_calls_failure(
    memory: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BATCH", 2)
    memory.fail_next("BatchSubmitJobs", None, grpc.StatusCode.INTERNAL, None)
    with Client(memory.address) as client, pytest.raises(BatchError) as raised:
        client.submit_many([sample(seed) for seed in range(5)])
    kinds = [type(result) for result in raised.value.results]
    assert kinds == [Job, Job, ServerError, ServerError, Job]
    assert len(memory.record.jobs) == 3


def test_first_calls_failure_is_raised_as_it_is(memory: MemoryServer) -> None:
    memory.fail_next("BatchSubmitJobs", grpc.StatusCode.INTERNAL)
    with Client(memory.address) as client, pytest.raises(ServerError):
        client.submit_many([sample(seed) for seed in range(5)])


def test_spec_that_cannot_be_read_is_told_though_no_call_is_made(memory: MemoryServer) -> None:
    with Client(memory.address) as client, pytest.raises(BatchError) as raised:
        client.submit_many([sample(los=1)])
    assert isinstance(raised.value.failures[0][1], InvalidSpec)
    assert memory.calls == []
