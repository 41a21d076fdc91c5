"""Which calls are tried again, for how long, and what comes of it."""

import time
from datetime import timedelta

import grpc
import pytest
from tests._parts import free_port
from tests.client.faulty import FaultyServer
from tests.client.samples import sample

from talweg.client import (
    BatchError,
    Client,
    InvalidSpec,
    Job,
    NotFound,
    ResourceExhausted,
    ServerError,
    TalwegError,
    Unavailable,
    _submissions,
)
from talweg.client import _connection as connection_module
from talweg.client.agents.errors import as_data
from talweg.server.calls.statuses import TABLE
from talweg.server.errors import DatabaseUnavailable, QuotaExceeded, RateLimited, TooManyCalls

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_unavailable_is_tried_again(faulty: FaultyServer) -> None:
    faulty.fail_next("SubmitJob", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE)
    with Client(faulty.address) as client:
        job = client.submit(sample())
        assert faulty.calls == ["SubmitJob"] * 4
        assert [each.name for each in client.jobs()] == [job.name]


def test_a_token_that_makes_too_many_calls_waits_as_long_as_it_is_told(
    faulty: FaultyServer,
) -> None:
    busy = RateLimited("too many", retry_after=timedelta(seconds=0.3))
    faulty.fail_next("SubmitJob", busy, TooManyCalls("too many"), busy)
    faulty.fail_next("WatchJob", busy)
    with Client(faulty.address) as client:
        started = time.monotonic()
        job = client.submit(sample())
        assert time.monotonic() - started >= 0.6
        assert faulty.calls == ["SubmitJob"] * 4
        started = time.monotonic()
        next(job.watch())
        assert time.monotonic() - started >= 0.3
    assert faulty.calls.count("WatchJob") == 2


def test_a_limit_that_leaves_no_time_is_an_error_of_its_own(faulty: FaultyServer) -> None:
    faulty.fail_next("SubmitJob", RateLimited("too many", retry_after=timedelta(seconds=9)))
    with (
        Client(faulty.address, timeout=timedelta(seconds=5)) as client,
        pytest.raises(ResourceExhausted, match="too many") as raised,
    ):
        client.submit(sample())
    assert raised.value.reason == "RATE_LIMITED"
    assert raised.value.retry_after == timedelta(seconds=9)
    assert as_data(raised.value) == {
        "code": "RESOURCE_EXHAUSTED",
        "message": "too many",
        "retry": True,
        "retry_after_seconds": 9.0,
        "reason": "RATE_LIMITED",
    }


def test_a_call_that_was_not_begun_may_be_sent_again() -> None:
    refused = ResourceExhausted("too many", reason=TABLE[TooManyCalls].reason)
    assert as_data(refused)["retry"]
    beyond = ResourceExhausted("no more", reason=TABLE[QuotaExceeded].reason)
    assert not as_data(beyond)["retry"]


def test_lost_answer_gives_no_second_job(faulty: FaultyServer) -> None:
    """The server takes the job, and dies before it answers."""
    faulty.fail_next("after SubmitJob", UNAVAILABLE)
    with Client(faulty.address) as client:
        job = client.submit(sample())
        assert faulty.calls == ["SubmitJob"] * 2
        assert [each.name for each in client.jobs()] == [job.name]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INTERNAL, ServerError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
        (grpc.StatusCode.UNKNOWN, ServerError),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
    ],
)
def test_nothing_else_is_tried_again(
    faulty: FaultyServer, code: grpc.StatusCode, kind: type[TalwegError]
) -> None:
    faulty.fail_next("SubmitJob", code)
    with Client(faulty.address) as client, pytest.raises(kind):
        client.submit(sample())
    assert faulty.calls == ["SubmitJob"]


def test_retries_end_with_the_calls_deadline(faulty: FaultyServer) -> None:
    with Client(faulty.address, timeout=timedelta(seconds=0.5)) as client:
        list(client.jobs())
        faulty.fail_next("SubmitJob", *[UNAVAILABLE] * 1000)
        with pytest.raises(Unavailable, match=faulty.address):
            client.submit(sample())
    assert 3 <= faulty.calls.count("SubmitJob") < 20


# Far from the hour that its calls may take.
@pytest.mark.timeout(300)
def test_server_that_is_never_there_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "FIRST_CONTACT_SECONDS", 0.3)
    address = f"127.0.0.1:{free_port()}"
    with Client(address, timeout=timedelta(hours=1)) as client:
        with pytest.raises(Unavailable) as raised:
            client.submit(sample())
    assert address in str(raised.value)
    assert "talweg up" in str(raised.value)


def test_server_that_comes_back_within_the_deadline_is_found(faulty: FaultyServer) -> None:
    with Client(faulty.address, timeout=timedelta(seconds=20)) as client:
        job = client.submit(sample())
        faulty.stop()
        faulty.start()
        assert client.job(job.name).name == job.name


def test_first_call_waits_for_a_server_that_is_just_starting(faulty: FaultyServer) -> None:
    faulty.stop()
    with Client(faulty.address) as client:
        listing = client.jobs()
        faulty.start()
        assert list(listing) == []


def test_unavailable_with_a_reason_is_told_as_the_servers(faulty: FaultyServer) -> None:
    busy = DatabaseUnavailable("the database is busy")
    faulty.fail_next("SubmitJob", *[busy] * 1000)
    with (
        Client(faulty.address, timeout=timedelta(seconds=1)) as client,
        pytest.raises(Unavailable, match="the database is busy") as raised,
    ):
        client.submit(sample())
    assert raised.value.reason == "DATABASE_UNAVAILABLE"


def test_the_servers_reason_outlasts_a_last_try_that_ends_in_the_middle(
    faulty: FaultyServer,
) -> None:
    busy = DatabaseUnavailable("the database is busy")
    faulty.fail_next("SubmitJob", busy, grpc.StatusCode.DEADLINE_EXCEEDED)
    with Client(faulty.address) as client, pytest.raises(Unavailable, match="is busy") as raised:
        client.submit(sample())
    assert raised.value.reason == "DATABASE_UNAVAILABLE"
    assert faulty.calls == ["SubmitJob"] * 2


def test_batches_are_divided_by_number_and_by_size(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_submissions, "MAX_BATCH", 10)
    with Client(faulty.address) as client:
        assert len(client.submit_many([sample(seed) for seed in range(25)])) == 25
        assert faulty.calls.count("BatchSubmitJobs") == 3
        # Each near the limit of a spec: together far above what one call may carry.
        large = {f"tag{index}": "x" * 200 for index in range(50)}
        faulty.calls.clear()
        monkeypatch.setattr(_submissions, "MAX_BATCH", 1000)
        monkeypatch.setattr(_submissions, "_MAX_BYTES", 25_000)
        jobs = client.submit_many([sample(seed, tags=large) for seed in range(6)])
    assert faulty.calls.count("BatchSubmitJobs") == 3
    assert [job.spec.training.seed for job in jobs] == list(range(6))


def test_names_of_accepted_jobs_survive_a_later_calls_failure(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_submissions, "MAX_BATCH", 2)
    faulty.fail_next("BatchSubmitJobs", None, grpc.StatusCode.INTERNAL, None)
    with Client(faulty.address) as client:
        with pytest.raises(BatchError) as raised:
            client.submit_many([sample(seed) for seed in range(5)])
        kinds = [type(result) for result in raised.value.results]
        assert kinds == [Job, Job, ServerError, ServerError, Job]
        assert len(list(client.jobs())) == 3


def test_first_calls_failure_is_raised_as_it_is(faulty: FaultyServer) -> None:
    faulty.fail_next("BatchSubmitJobs", grpc.StatusCode.INTERNAL)
    with Client(faulty.address) as client, pytest.raises(ServerError):
        client.submit_many([sample(seed) for seed in range(5)])


def test_spec_that_cannot_be_read_is_told_though_no_call_is_made(
    faulty: FaultyServer,
) -> None:
    with Client(faulty.address) as client, pytest.raises(BatchError) as raised:
        client.submit_many([sample(los=1)])
    assert isinstance(raised.value.failures[0][1], InvalidSpec)
    assert faulty.calls == []
