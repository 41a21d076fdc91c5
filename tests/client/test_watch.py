"""Watching: every event once, whatever happens to the server."""

import threading
import time
from datetime import timedelta

import grpc
import pytest
from tests._parts import Server, wait_until
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client, NotFound, ServerError, Unavailable, WaitTimeout
from talweg.client import _connection as connection
from talweg.server.errors import JobNotFound
from talweg.v1.jobs_pb2 import Event


def test_events_come_in_order_up_to_the_last(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    attempt = worker.claim(job.name)
    attempt.report(step=2, metrics={"train/loss": 1.0}, log="off we go")
    attempt.finish(metrics={"test/mae": 50.0})
    events = list(job.watch())
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("kind") for event in events]
    assert kinds[0] == "state"
    assert kinds[-1] == "finished"
    assert kinds.count("finished") == 1
    assert {"log", "metrics", "progress"} <= set(kinds)
    assert job.state == "SUCCEEDED"
    assert job.message.last_cursor == events[-1].cursor
    for after in (1, 3, len(events) - 1):
        assert list(job.watch(after=after)) == events[after:]


def test_watch_from_the_end_ends(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    worker.claim(job.name).finish()
    last = list(job.watch())[-1].cursor
    assert list(job.watch(after=last)) == []


def test_new_events_come_while_watching(client: Client, worker: Worker) -> None:
    job = client.submit(sample())
    events = job.watch()
    assert next(events).state.state == job.message.state
    attempt = worker.claim(job.name)
    assert next(event for event in events if event.HasField("state"))
    assert job.state == "RUNNING"
    attempt.report(step=4)
    progress = next(event for event in events if event.HasField("progress")).progress
    assert progress.step == 4
    assert job.message.progress == progress
    attempt.finish()
    assert list(events)[-1].HasField("finished")


def test_watching_an_old_part_does_not_take_the_handle_back(
    client: Client, worker: Worker
) -> None:
    job = client.submit(sample())
    worker.claim(job.name).finish()
    job.wait(120)
    assert next(job.watch()).HasField("state")
    assert job.state == "SUCCEEDED"


def test_missing_job_is_not_waited_for(faulty: FaultyServer) -> None:
    with Client(faulty.address) as client:
        job = client.submit(sample())
        faulty.fail_next("WatchJob", JobNotFound(job.name))
        with pytest.raises(NotFound):
            next(job.watch())
    assert faulty.calls.count("WatchJob") == 1


def watch_in_background(client: Client, name: str) -> tuple[list[Event], threading.Thread]:
    events: list[Event] = []
    job = client.job(name)
    thread = threading.Thread(target=lambda: events.extend(job.watch()))
    thread.start()
    return events, thread


def test_restart_loses_and_doubles_nothing(service: FaultyServer | Server) -> None:
    """The server ends in mid-watch, once in order and once at once, and comes back."""
    with Client(service.address) as client:
        job = client.submit(sample())
        events, thread = watch_in_background(client, job.name)
        with Worker(service.address) as worker:
            attempt = worker.claim(job.name)
            attempt.report(step=1, metrics={"train/loss": 1.0})
        service.stop()
        service.start()
        with Worker(service.address) as worker:
            attempt = attempt.over(worker)
            attempt.report(step=2, metrics={"train/loss": 0.5})
            service.kill()
            service.start()
        with Worker(service.address) as worker:
            attempt.over(worker).finish()
        thread.join(120)
        assert not thread.is_alive()
        assert events == list(job.watch())
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    assert events[-1].HasField("finished")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_broken_streams_are_taken_up_again(faulty: FaultyServer, code: grpc.StatusCode) -> None:
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        for step in range(1, 6):
            attempt.report(step=step)
        attempt.finish()
        faulty.fail_next("WatchJob event", None, code, None, None, code, code, None)
        cursors = [event.cursor for event in job.watch()]
    assert cursors == list(range(1, len(cursors) + 1))
    assert faulty.calls.count("WatchJob") == 4


def test_events_that_come_again_are_dropped(faulty: FaultyServer) -> None:
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        worker.claim(job.name).finish()
        events = list(job.watch())
        faulty.faults.overlap = 2
        faulty.fail_next("WatchJob event", *[None] * 3, grpc.StatusCode.UNAVAILABLE)
        assert list(job.watch()) == events
        assert faulty.calls.count("WatchJob") == 3


def test_refused_stream_is_not_taken_up_again(faulty: FaultyServer) -> None:
    with Client(faulty.address) as client:
        job = client.submit(sample())
        faulty.fail_next("WatchJob event", grpc.StatusCode.INTERNAL)
        with pytest.raises(ServerError):
            list(job.watch())
    assert faulty.calls.count("WatchJob") == 1


# Far from the ten minutes of the default.
@pytest.mark.timeout(300)
def test_patience_has_an_end(faulty: FaultyServer) -> None:
    lost: list[str] = []
    with Client(faulty.address, patience=timedelta(seconds=0.5)) as client:
        job = client.submit(sample())
        faulty.stop()
        with pytest.raises(Unavailable):
            list(job.follow(on_lost=lost.append))
    # It was tried again before.
    assert lost


class Clock:
    """The client's clock, which a test may put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def test_patience_begins_again_after_a_stream_that_stood(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job waits for long, and the server goes away twice, with nothing to tell in between."""
    clock = Clock()
    monkeypatch.setattr(connection, "time", clock)
    monkeypatch.setattr(connection, "_CONNECTED_SECONDS", 1.0)
    patience = 2.0
    events: list[Event] = []
    lost: list[str] = []

    def streams_are(number: int) -> None:
        wait_until(
            lambda: faulty.calls.count("WatchJob") == number,
            timeout=20,
            what="a new stream",
        )

    def lose_the_server() -> None:
        known = len(lost)
        faulty.stop()
        wait_until(lambda: len(lost) > known, timeout=20, what="the loss")
        faulty.start()

    with Client(faulty.address, patience=timedelta(seconds=patience)) as client:
        job = client.submit(sample())
        watch = job.follow(after=job.message.last_cursor, on_lost=lost.append)
        thread = threading.Thread(target=lambda: events.extend(watch))
        thread.start()
        streams_are(1)
        lose_the_server()
        streams_are(2)
        clock.ahead += patience
        lose_the_server()
        streams_are(3)
        with Worker(faulty.address) as worker:
            worker.claim(job.name).finish()
        thread.join(120)
    assert events[-1].HasField("finished")
    assert not any("talweg up" in why for why in lost)


# Far from the ten minutes of patience with a server that is away.
@pytest.mark.timeout(300)
def test_wait_ends_in_time_though_the_server_is_away(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with Client(faulty.address) as client:
        job = client.submit(sample())
        # Not before, since on a busy machine the first contact takes longer.
        client._connection._timeout = 0.2
        faulty.stop()
        transport = client._connection._transport
        pause = transport.pause

        def noted(seconds: float) -> bool:
            pauses.append(seconds)
            return pause(seconds)

        monkeypatch.setattr(transport, "pause", noted)
        with pytest.raises(WaitTimeout):
            job.wait(0.5)
    # It was tried again before.
    assert pauses


def test_closing_the_client_ends_its_watches(faulty: FaultyServer) -> None:
    ended = []
    with Client(faulty.address) as client:
        job = client.submit(sample())
        begun = threading.Event()

        def watch() -> None:
            try:
                for _ in job.watch():
                    begun.set()
            except ValueError as error:
                ended.append(str(error))

        thread = threading.Thread(target=watch)
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert ended == ["the client is closed"]


def test_leaving_a_watch_early_ends_its_stream(faulty: FaultyServer) -> None:
    with Client(faulty.address) as client:
        job = client.submit(sample())
        for _ in range(60):
            for _event in job.watch():
                break
        assert client.job(job.name).state == "QUEUED"
