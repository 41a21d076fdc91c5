"""The client for asyncio: the surface of the other, native streams, and cancellation."""

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc
import pytest
from tests._parts import Server, free_port
from tests.client.faulty import HOLD, FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import (
    AsyncClient,
    AsyncComparison,
    AsyncJob,
    AsyncStoredDataset,
    AsyncSweep,
    AsyncSweepAnswer,
    BatchError,
    Client,
    Comparison,
    InvalidRequest,
    InvalidSpec,
    Job,
    JobFailed,
    NotFound,
    StoredDataset,
    Sweep,
    SweepAnswer,
    Unavailable,
    WaitTimeout,
)
from talweg.client.aio import _connection as connection
from talweg.client.aio import _watchers as watchers
from talweg.server.errors import JobNotFound
from talweg.v1 import jobs_pb2
from talweg.v1.jobs_pb2 import Event

PAIRS: list[tuple[type, type]] = [
    (Client, AsyncClient),
    (Job, AsyncJob),
    (StoredDataset, AsyncStoredDataset),
    (Comparison, AsyncComparison),
    (Sweep, AsyncSweep),
    (SweepAnswer, AsyncSweepAnswer),
]
# A property cannot wait: these tell what was last reported.
LAST_REPORTED = {(Job, "state"), (Job, "tracking_url"), (Sweep, "state"), (Sweep, "tracking_url")}
# Conversions of what is there already.
IMMEDIATE = {"table", "to_pandas"}
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
async def aclient(faulty: FaultyServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(faulty.address) as client:
        yield client


async def comes_true(condition: Callable[[], bool]) -> None:
    """Wait, while the event loop runs, until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def public(kind: type) -> dict[str, Any]:
    return {name: inspect.getattr_static(kind, name) for name in dir(kind) if name[0] != "_"}


def documentation(member: Any) -> str:
    return (inspect.getdoc(member) or "").replace("await ", "")


def parameters(member: Any) -> list[tuple[str, Any, Any, str]]:
    return [
        (each.name, each.kind, each.default, _without_async(each.annotation))
        for each in inspect.signature(member).parameters.values()
    ]


def _without_async(annotation: object) -> str:
    text = str(annotation).replace("Async", "")
    return text.replace(".aio", "").replace(".comparisons", "")


@pytest.mark.parametrize(("kind", "twin"), PAIRS)
def test_both_clients_have_the_same_methods_parameters_and_documentation(
    kind: type, twin: type
) -> None:
    ours, theirs = public(kind), public(twin)
    assert ours.keys() == theirs.keys()
    for name, member in ours.items():
        if (kind, name) in LAST_REPORTED:
            assert "as last reported" in documentation(theirs[name])
            continue
        assert documentation(theirs[name]) == documentation(member), name
        assert isinstance(theirs[name], property) is isinstance(member, property), name
        if callable(member):
            assert parameters(theirs[name]) == parameters(member), name
    assert parameters(twin.__init__) == parameters(kind.__init__)  # type: ignore[misc]


@pytest.mark.parametrize("twin", [twin for _, twin in PAIRS])
def test_whatever_asks_the_server_is_awaited_or_iterated(twin: type) -> None:
    for name, member in public(twin).items():
        if isinstance(member, property) or not callable(member):
            continue
        is_async = (
            inspect.iscoroutinefunction(member)
            or inspect.isasyncgenfunction(member)
            or "AsyncIterator" in str(inspect.signature(member).return_annotation)
        )
        assert is_async is (name not in IMMEDIATE), name


async def test_a_session(aclient: AsyncClient, faulty: FaultyServer) -> None:
    job = await aclient.submit(sample())
    assert (job.state, job.id) == ("QUEUED", job.name.removeprefix("jobs/"))
    with Worker(faulty.address) as worker:
        attempt = worker.claim(job.name)
        attempt.report(step=2, metrics={"val/mae": 3.0, "test/mae": 3.0}, log="off we go")
        attempt.deliver("http://127.0.0.1:1/#/experiments/1/runs/abc", "abc")
        attempt.finish(metrics={"val/mae": 2.0, "test/mae": 2.0})
    events = [event async for event in job.watch()]
    with Client(faulty.address) as client:
        assert events == list(client.job(job.name).watch())
    assert job.state == "SUCCEEDED"
    result = await job.result()
    assert result.metrics["test/mae"] == 2.0
    assert result.tracking_url == job.tracking_url
    assert "runs/abc" in (job.tracking_url or "")
    assert "off we go" in [event.log.text async for event in job.logs()]
    assert (await job.metrics(points=True)).series("val/mae")[0] == (2, 3.0)
    comparison = await aclient.compare([job])
    assert comparison.groups[0].mean == 2.0
    assert await comparison.series("val/mae") == [[[(2, 3.0), (10, 2.0)]]]
    assert "2.0000" in str(comparison)
    assert "2.0000" in comparison._repr_html_()
    assert [each.name async for each in aclient.jobs(limit=5)] == [job.name]
    assert "huber" in [entry.name for entry in await aclient.losses("regression")]
    ranked = await aclient.recommend("regression", outliers=0.1)
    assert ranked.recommendations
    assert "SUCCEEDED" in repr(job)
    assert "SUCCEEDED" in job._repr_html_()


async def test_data_are_uploaded_listed_and_deleted(aclient: AsyncClient, tmp_path: Any) -> None:
    table = tmp_path / "houses.csv"
    table.write_text("area,price\n" + "".join(f"{i},{2 * i}.5\n" for i in range(50)))
    sent: list[tuple[int, int]] = []
    houses = await aclient.upload(table, on_progress=lambda done, of: sent.append((done, of)))
    assert sent[-1] == (table.stat().st_size, table.stat().st_size)
    assert (houses.name, houses.num_samples) == ("houses", 50)
    assert [each.version async for each in aclient.stored_datasets()] == [houses.version]
    assert (await aclient.stored_dataset("houses")).digest == houses.digest
    spec = {**sample(), "dataset": {"file": {"path": str(table), "target": "price"}}}
    job = await aclient.submit(spec, validate_only=True)
    assert job.spec.dataset.stored.digest == houses.digest
    await houses.delete()
    with pytest.raises(NotFound):
        await houses.refresh()
    table.write_text("a,b\n1\n")
    with pytest.raises(InvalidRequest) as raised:
        await aclient.upload(table)
    assert raised.value.violations


async def test_a_refused_spec_tells_all_violations(aclient: AsyncClient) -> None:
    wrong = sample(loss={"huber": {"delta": -1}}, training={"epochs": 0})
    with pytest.raises(InvalidSpec) as raised:
        await aclient.submit(wrong)
    fields = [violation.field for violation in raised.value.violations]
    assert {"loss.huber.delta", "training.epochs"} <= set(fields)
    with pytest.raises(BatchError) as batch:
        await aclient.submit_many([sample(1), wrong, sample(2)])
    kinds = [type(result) for result in batch.value.results]
    assert kinds == [AsyncJob, InvalidSpec, AsyncJob]
    with pytest.raises(NotFound):
        await aclient.job("jobs/nothere23456")


async def test_calls_are_tried_again_and_give_no_second_job(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    faulty.fail_next("SubmitJob", UNAVAILABLE, UNAVAILABLE)
    faulty.fail_next("after SubmitJob", UNAVAILABLE)
    job = await aclient.submit(sample())
    assert faulty.calls == ["SubmitJob"] * 4
    assert [each.name async for each in aclient.jobs()] == [job.name]


async def test_a_server_that_is_never_there_is_given_up_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "FIRST_CONTACT_SECONDS", 0.3)
    address = f"127.0.0.1:{free_port()}"
    async with AsyncClient(address, timeout=timedelta(minutes=5)) as client:
        # Far from the five minutes.
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match=address):
                await client.submit(sample())


async def test_a_job_that_failed_raises_with_its_result(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    job = await aclient.submit(sample())
    with Worker(faulty.address) as worker:
        worker.claim(job.name).finish(jobs_pb2.Job.FAILED, message="out of memory")
    with pytest.raises(JobFailed, match="out of memory") as raised:
        await job.result()
    assert raised.value.result.state == "FAILED"
    again = await job.retry()
    assert await again.cancel("no longer") is again
    assert again.state == "CANCELLED"


async def test_restart_loses_and_doubles_nothing(service: FaultyServer | Server) -> None:
    """The server ends in mid-watch, once in order and once at once, and comes back."""
    async with AsyncClient(service.address) as client:
        job = await client.submit(sample())
        events: list[Event] = []

        async def watch() -> None:
            async for event in (await client.job(job.name)).watch():
                events.append(event)

        watching = asyncio.create_task(watch())
        with Worker(service.address) as worker:
            attempt = worker.claim(job.name)
            attempt.report(step=1, metrics={"train/loss": 1.0})
        await comes_true(lambda: bool(events))
        service.stop()
        service.start()
        with Worker(service.address) as worker:
            attempt.over(worker).report(step=2, metrics={"train/loss": 0.5})
            service.kill()
            service.start()
        with Worker(service.address) as worker:
            attempt.over(worker).finish()
        await asyncio.wait_for(watching, 120)
        assert events == [event async for event in job.watch()]
    assert [event.cursor for event in events] == list(range(1, len(events) + 1))
    assert events[-1].HasField("finished")


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_broken_streams_are_taken_up_again(
    aclient: AsyncClient, faulty: FaultyServer, code: grpc.StatusCode
) -> None:
    job = await aclient.submit(sample())
    with Worker(faulty.address) as worker:
        attempt = worker.claim(job.name)
        for step in range(1, 6):
            attempt.report(step=step)
        attempt.finish()
    faulty.fail_next("WatchJob event", None, code, None, None, code, code, None)
    cursors = [event.cursor async for event in job.watch()]
    assert cursors == list(range(1, len(cursors) + 1))
    assert faulty.calls.count("WatchJob") == 4


async def test_missing_job_is_not_waited_for(aclient: AsyncClient, faulty: FaultyServer) -> None:
    job = await aclient.submit(sample())
    faulty.fail_next("WatchJob", JobNotFound(job.name))
    with pytest.raises(NotFound):
        await job.wait()
    assert faulty.calls.count("WatchJob") == 1


async def test_a_cancelled_task_cancels_its_call_at_the_server(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    faulty.fail_next("GetJob", HOLD)
    asking = asyncio.create_task(aclient.job("jobs/k3b7qwmz2xya"))
    await comes_true(lambda: faulty.calls == ["GetJob"])
    asking.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await asking
    # An error that is its own cause has those who follow causes go round in circles.
    assert raised.value.__cause__ is None
    await comes_true(lambda: faulty.faults.cancelled == ["GetJob"])
    assert faulty.calls == ["GetJob"]


async def test_a_cancelled_watch_ends_at_the_server(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    job = await aclient.submit(sample())
    for watch in (job.wait, job.result, lambda: aclient.wait([job])):
        watching = asyncio.create_task(watch())
        await comes_true(lambda: faulty.faults.num_open == 1)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        await comes_true(lambda: faulty.faults.num_open == 0)
    assert (await job.refresh()).state == "QUEUED"


async def test_a_watch_that_is_left_ends_at_the_server(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    job = await aclient.submit(sample())
    async with aclosing(job.watch()) as events:
        async for _ in events:
            break
        assert faulty.faults.num_open == 1
    await comes_true(lambda: faulty.faults.num_open == 0)
    async for _ in job.watch():
        break
    await comes_true(lambda: faulty.faults.num_open == 0)


async def test_waits_end_in_time(aclient: AsyncClient, faulty: FaultyServer) -> None:
    jobs = await aclient.submit_many([sample(seed) for seed in range(3)])
    with pytest.raises(WaitTimeout, match="is still QUEUED"):
        await jobs[0].wait(0.2)
    with pytest.raises(WaitTimeout, match="3 of 3 jobs have not ended"):
        await aclient.wait(jobs, timeout=0.2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await jobs[0].wait()
    await comes_true(lambda: faulty.faults.num_open == 0)


async def test_two_hundred_watchers_share_one_loop_and_no_threads(
    aclient: AsyncClient, faulty: FaultyServer
) -> None:
    count = 200
    jobs = await aclient.submit_many([sample(seed) for seed in range(count)])
    names = [job.name for job in jobs]
    before = threading.active_count()
    waiting = asyncio.create_task(aclient.wait(jobs))
    await comes_true(lambda: faulty.faults.num_open == count)
    # The server in this process may have started some.
    assert threading.active_count() < before + 50

    def finish_all() -> None:
        with Worker(faulty.address) as worker:
            for name in names:
                worker.claim(name).finish()

    await asyncio.to_thread(finish_all)
    ended = await asyncio.wait_for(waiting, 120)
    assert [job.name for job in ended] == names
    assert {job.state for job in ended} == {"SUCCEEDED"}
    assert faulty.faults.calls.count("WatchJob") == count


async def test_more_jobs_than_watches_are_all_waited_for(
    aclient: AsyncClient, faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "MAX_WATCHES", 2)
    jobs = await aclient.submit_many([sample(seed) for seed in range(5)])
    waiting = asyncio.create_task(aclient.wait(jobs))
    with Worker(faulty.address) as worker:
        for job in jobs:
            await comes_true(lambda: faulty.faults.num_open > 0)
            await asyncio.to_thread(worker.claim(job.name).finish)
    assert {job.state for job in await waiting} == {"SUCCEEDED"}
    assert faulty.calls.count("WatchJob") == 5
    assert faulty.faults.most_open == 2


async def test_closing_the_client_ends_its_watches(faulty: FaultyServer) -> None:
    async with AsyncClient(faulty.address) as client:
        job = await client.submit(sample())
        waiting = asyncio.create_task(job.wait())
        await comes_true(lambda: faulty.faults.num_open == 1)
    with pytest.raises(ValueError, match="the client is closed"):
        await waiting
    with pytest.raises(ValueError, match="the client is closed"):
        await client.status()


def test_a_client_outside_an_event_loop_says_where_it_belongs() -> None:
    with pytest.raises(RuntimeError, match=r"inside a coroutine, such as .* asyncio\.run"):
        AsyncClient("127.0.0.1:1")
