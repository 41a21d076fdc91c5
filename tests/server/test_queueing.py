"""Wake-up messages: as many as there are jobs to claim, whatever becomes of Redis and its data."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from kombu.exceptions import OperationalError
from tests._parts import Gate, free_port
from tests.server.conftest import Running, Start
from tests.server.samples import spec
from tests.server.test_watch import killable_redis

from talweg.server.broker import celery_app
from talweg.server.broker import redis_url as to_redis_url
from talweg.server.errors import BadSetting, DatabaseUnavailable
from talweg.server.queueing import dispatcher, presence
from talweg.server.queueing.dispatcher import MAX_WAKE_UPS
from talweg.server.services.attempts import reaper
from talweg.server.services.attempts.reaper import reap
from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.jobs_pb2 import Event, Job, Outcome


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[redis.Redis]:
    """A Redis of the test's own."""
    with killable_redis(tmp_path / "redis") as port, redis.Redis(port=port) as client:
        yield client


def url_of(broker: redis.Redis) -> str:
    return f"redis://127.0.0.1:{broker.connection_pool.connection_kwargs['port']}/0"


@pytest.fixture
async def running(start: Start, broker: redis.Redis) -> Running:
    """A server that rings at that Redis."""
    return await start(broker_url=url_of(broker))


async def submit(running: Running, num: int = 1, **fields: Any) -> list[Job]:
    request = jobs_pb2.SubmitJobRequest(spec=spec(**fields))
    batch = jobs_pb2.BatchSubmitJobsRequest(requests=[request] * num)
    response = await running.jobs.BatchSubmitJobs(batch)
    return [result.job for result in response.results]


async def claim(running: Running, limit: int = 1) -> list[workers_pb2.Assignment]:
    request = workers_pb2.ClaimJobsRequest(queue="default", worker="w1", limit=limit)
    return list((await running.workers.ClaimJobs(request)).assignments)


async def until(condition: Callable[[], object], timeout: float = 60) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


def depth(broker: redis.Redis, queue: str = "default") -> int:
    found = broker.llen(f"talweg:{queue}")
    assert isinstance(found, int)
    return found


async def test_a_job_gets_a_wake_up_that_celery_understands(
    running: Running, broker: redis.Redis
) -> None:
    await submit(running)
    await submit(running, resources={"device": "cuda"})
    for queue in ("default", "cuda"):
        await until(lambda queue=queue: depth(broker, queue) == 1)  # type: ignore[misc]
        message = json.loads(broker.lindex(f"talweg:{queue}", 0) or b"")
        assert message["headers"]["task"] == "talweg.answer"
        assert message["content-type"] == "application/json"
        arguments, named, _ = json.loads(base64.b64decode(message["body"]))
        assert (arguments, named) == ([], {"queue": queue})


async def test_a_wake_up_follows_a_submission_at_once(
    running: Running, broker: redis.Redis
) -> None:
    await submit(running)
    await until(lambda: depth(broker) == 1)
    waits = []
    for number in range(2, 12):
        await submit(running)
        begin = asyncio.get_running_loop().time()
        await until(lambda number=number: depth(broker) == number)  # type: ignore[misc]
        waits.append(asyncio.get_running_loop().time() - begin)
    # It takes 2 ms; the look each second would take 500.
    assert sorted(waits)[5] < 0.2


async def test_wake_ups_are_few_however_many_jobs_wait(
    running: Running, broker: redis.Redis
) -> None:
    await submit(running, 300)
    await until(lambda: depth(broker) == MAX_WAKE_UPS)
    await running.server.parts.dispatcher.top_up()
    assert depth(broker) == MAX_WAKE_UPS


async def test_lost_wake_ups_are_replaced(running: Running, broker: redis.Redis) -> None:
    await submit(running, 3)
    await until(lambda: depth(broker) == 3)
    # Taken by a worker that had just stopped asking.
    broker.delete("talweg:default")
    await until(lambda: depth(broker) == 3)
    broker.flushall()
    await until(lambda: depth(broker) == 3)
    # What is claimed needs none.
    assert len(await claim(running, limit=3)) == 3
    broker.flushall()
    await running.server.parts.dispatcher.top_up()
    assert depth(broker) == 0


async def test_a_job_given_back_gets_a_wake_up_at_once(
    running: Running, broker: redis.Redis
) -> None:
    await submit(running)
    await until(lambda: depth(broker) == 1)
    (assignment,) = await claim(running)
    broker.flushall()
    await running.workers.FinishJob(
        workers_pb2.FinishJobRequest(lease=assignment.lease, outcome=Outcome(state=Job.QUEUED))
    )
    await until(lambda: depth(broker) == 1)


async def test_a_lost_workers_job_gets_a_wake_up(start: Start, broker: redis.Redis) -> None:
    running = await start(broker_url=url_of(broker), lease=timedelta(seconds=1))
    await submit(running)
    await until(lambda: depth(broker) == 1)
    (assignment,) = await claim(running)
    broker.flushall()
    await until(lambda: depth(broker) == 1)
    (again,) = await claim(running)
    assert (again.lease.job, again.lease.attempt) == (assignment.lease.job, 2)


async def test_a_duty_that_fails_begins_again(
    start: Start, broker: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RuntimeError("a defect")])

    def reap_with_a_defect(*args: Any) -> Any:
        for failure in failures:
            raise failure
        return reap(*args)

    monkeypatch.setattr(reaper, "reap", reap_with_a_defect)
    running = await start(broker_url=url_of(broker), lease=timedelta(seconds=1))
    await submit(running)
    (assignment,) = await claim(running)
    request = jobs_pb2.GetJobRequest(name=assignment.lease.job)
    async with asyncio.timeout(60):
        while (await running.jobs.GetJob(request)).state != Job.QUEUED:
            await asyncio.sleep(0.02)
    assert next(failures, None) is None


async def test_jobs_from_before_a_server_get_wake_ups(start: Start, broker: redis.Redis) -> None:
    before = await start(broker_url=f"redis://127.0.0.1:{free_port()}/0")
    await submit(before, 2)
    await before.server.stop(0)
    await start(broker_url=url_of(broker))
    await until(lambda: depth(broker) == 2)


async def test_submitting_works_while_the_broker_is_down(start: Start, tmp_path: Path) -> None:
    port = free_port()
    running = await start(broker_url=f"redis://127.0.0.1:{port}/0")

    async def reason() -> str:
        (job,) = (await running.jobs.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        return job.waiting_reason

    (job,) = await submit(running)
    assert job.state == Job.QUEUED
    async with asyncio.timeout(60):
        while "the broker is unreachable" not in await reason():
            await asyncio.sleep(0.02)
    with killable_redis(tmp_path / "redis", port), redis.Redis(port=port) as client:
        await until(lambda: depth(client) == 1, timeout=15)
        assert "the broker" not in await reason()


async def test_a_waiting_job_says_whether_a_worker_is_there(
    running: Running, broker: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "_KEEP_S", 1.5)
    wake_ups = tmp_path / "wake_ups"
    (job,) = await submit(running)

    async def says(expected: str) -> None:
        async with asyncio.timeout(180):
            while True:
                found = await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=job.name))
                if expected in found.waiting_reason:
                    return
                await asyncio.sleep(0.05)

    await says("no worker is connected for queue 'default': start one with `talweg worker`")
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.server.wake_up_worker", "--quiet"]
        + ["worker", "-P", "solo", "-Q", "default", "-l", "ERROR"],
        env={**os.environ, "TALWEG_BROKER_URL": url_of(broker), "WAKE_UPS": str(wake_ups)},
    )
    try:
        # It takes the wake-up message but claims nothing, so the job goes on waiting.
        await until(
            lambda: wake_ups.exists() and wake_ups.read_text().startswith("default\n"),
            timeout=360,
        )
        await says("next in the queue: waiting for a free worker")
    finally:
        worker.kill()
        worker.wait()


async def test_one_question_without_an_answer_proves_no_absence(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = running.server.parts.presence
    answers = iter([[], [], ["default"], [], ["default"], [], []])
    monkeypatch.setattr(found, "_ask", lambda: dict.fromkeys(next(answers), {"w": ""}))
    told = []
    for _ in range(7):
        await found.look()
        told.append(found.has_worker("default"))
    assert told == [None, False, True, True, True, True, False]


async def test_workers_are_called_unfit_only_where_all_are(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = running.server.parts.presence
    full = {"w1": "its disk is full", "w2": "no entry"}
    answers: list[presence.Served] = [
        {"default": full},
        {"default": {**full, "w3": ""}},
        {"cuda": full},
        {},
    ]
    told = []
    assert found.why_unfit("default") == ""
    for answer in answers:
        monkeypatch.setattr(found, "_ask", lambda answer=answer: answer)
        await found.look()
        told.append(found.why_unfit("default"))
    assert told == ["w1: its disk is full; w2: no entry", "", "", ""]


async def test_a_question_that_failed_begins_anew(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = running.server.parts.presence
    errors = iter([None, ConnectionError("the broker is away"), None])

    def ask() -> presence.Served:
        if error := next(errors):
            raise error
        return {}

    monkeypatch.setattr(found, "_ask", ask)
    told = []
    for _ in range(3):
        await found.look()
        told.append(found.has_worker("default"))
    assert told == [None, None, None]


async def test_a_worker_that_runs_a_job_is_not_called_absent(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a worker that is too busy to answer.
    monkeypatch.setattr(running.server.parts.presence, "_ask", dict)
    _, waiting = await submit(running, 2)
    (assignment,) = await claim(running)
    for _ in range(2):
        await running.server.parts.presence.look()

    async def says() -> str:
        return (
            await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=waiting.name))
        ).waiting_reason

    assert await says() == "next in the queue: waiting for a free worker"
    outcome = Outcome(state=Job.SUCCEEDED)
    await running.workers.FinishJob(
        workers_pb2.FinishJobRequest(lease=assignment.lease, outcome=outcome)
    )
    assert "no worker is connected" in await says()


async def test_an_outage_of_the_record_is_told_once_and_its_end_too(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "talweg.server")
    monkeypatch.setattr(reaper, "INTERVAL_S", 0.02)
    monkeypatch.setattr(dispatcher, "INTERVAL_S", 0.02)
    running = await start()
    reading, num_asked = running.server.database.reading, 0

    async def fails(*args: Any) -> Any:
        nonlocal num_asked
        num_asked += 1
        raise DatabaseUnavailable("the database is unreachable")

    def told(text: str) -> int:
        return sum(text in message for message in caplog.messages)

    monkeypatch.setattr(running.server.database, "reading", fails)
    await until(lambda: num_asked > 8)
    assert told("cannot check the leases: the database is unreachable") == 1
    assert told("cannot look for waiting jobs: the database is unreachable") == 1
    monkeypatch.setattr(running.server.database, "reading", reading)
    await until(lambda: told("checking the leases works again") == 1)
    await until(lambda: told("looking for waiting jobs works again") == 1)


async def test_the_stream_of_events_is_bounded(running: Running, broker: redis.Redis) -> None:
    await submit(running)
    (assignment,) = await claim(running)
    events = [Event(log=jobs_pb2.LogLine(text="x"))]
    await running.workers.ReportProgress(
        workers_pb2.ReportProgressRequest(lease=assignment.lease, sequence=1, events=events)
    )
    await until(lambda: broker.xlen("talweg:events") >= 2)
    assert 0 < int(broker.ttl("talweg:events")) <= 3600


def test_a_question_to_workers_ends_although_the_broker_is_gone(redis_url: str) -> None:
    gate = Gate(urlsplit(redis_url).port or 0)
    gate.open()
    app = celery_app(f"redis://127.0.0.1:{gate.port}/0")
    errors: list[Exception] = []
    with app.connection_for_write(connect_timeout=2) as connection:
        # It goes once the question is ready to be sent, as kombu's control messages are.
        producer = connection.Producer()
        assert producer.channel
        gate.close()

        def ask() -> None:
            try:
                producer.publish({}, routing_key="any", retry=True)
            except Exception as exc:
                errors.append(exc)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(60)
    (error,) = errors
    assert isinstance(error, OperationalError | redis.RedisError)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:p@h:1/2", "redis://:p@h:1/2"),
        ("rediss://h/0", "rediss://h/0"),
        ("redis+socket:///run/r.sock?virtual_host=3", "unix:///run/r.sock?db=3"),
    ],
)
def test_broker_urls(url: str, expected: str) -> None:
    assert to_redis_url(url) == expected


def test_other_brokers_are_refused_without_telling_passwords() -> None:
    with pytest.raises(BadSetting, match="begins with amqp") as caught:
        to_redis_url("amqp://guest:secret@h")
    assert "secret" not in str(caught.value)
