"""Callers who take too long, ping too often or have too much under way at once."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from tests.server.conftest import Running, Start
from tests.server.samples import spec

from talweg.server.calls.interceptor import ErrorInterceptor
from talweg.server.limits.under_way import CallLimits
from talweg.v1 import jobs_pb2, workers_pb2
from talweg.v1.jobs_pb2_grpc import JobServiceStub

# A small window, so that little lies between the server and a client that does not read.
SMALL_WINDOW = [
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


def reason(error: grpc.aio.AioRpcError) -> str:
    details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = error_details_pb2.ErrorInfo()
    assert any(each.Unpack(info) for each in status_pb2.Status.FromString(details).details)
    return str(info.reason)


async def running_job(running: Running) -> workers_pb2.Lease:
    await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))
    request = workers_pb2.ClaimJobsRequest(queue="default", worker="w")
    return (await running.workers.ClaimJobs(request)).assignments[0].lease


async def test_a_slow_reader_is_dropped_and_goes_on_where_it_was(start: Start) -> None:
    running = await start(slow_reader=timedelta(seconds=1))
    lease = await running_job(running)
    lines = [jobs_pb2.Event(log=jobs_pb2.LogLine(text="x" * 9_000)) for _ in range(100)]
    await running.workers.ReportProgress(
        workers_pb2.ReportProgressRequest(lease=lease, sequence=1, events=lines)
    )
    last = (await running.jobs.GetJob(jobs_pb2.GetJobRequest(name=lease.job))).last_cursor
    cursors: list[int] = []

    async def read(watch: Any) -> None:
        async for response in watch:
            cursors.append(response.event.cursor)
            if cursors[-1] == last:
                break

    address = running.server.address
    async with grpc.aio.insecure_channel(address, options=SMALL_WINDOW) as channel:
        jobs: Any = JobServiceStub(channel)
        watch = jobs.WatchJob(jobs_pb2.WatchJobRequest(name=lease.job))
        cursors.append((await anext(aiter(watch))).event.cursor)
        async with asyncio.timeout(180):
            while running.server.num_watchers:
                await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read(watch)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert reason(caught.value) == "SLOW_READER"
        assert cursors[-1] < last
        await read(
            jobs.WatchJob(jobs_pb2.WatchJobRequest(name=lease.job, after_cursor=cursors[-1]))
        )
    assert cursors == list(range(1, last + 1))


@asynccontextmanager
async def limited(**limits: Any) -> AsyncIterator[tuple[grpc.aio.Channel, asyncio.Event]]:
    """A server of two methods, One and Many, that wait for the event; by bytes."""
    go_on = asyncio.Event()

    async def one(request: Any, context: Any) -> bytes:
        await go_on.wait()
        return b"done"

    async def many(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([each async for each in requests])

    def read(data: bytes) -> bytes:
        return data

    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(one, read, read),
        "Many": grpc.stream_unary_rpc_method_handler(many, read, read),
    }
    server = grpc.aio.server(interceptors=[ErrorInterceptor(CallLimits(**limits))])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, go_on
    await server.stop(0)


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), reason(caught.value)


async def test_no_call_takes_for_ever() -> None:
    async with limited(unary=timedelta(seconds=0.2)) as (channel, _):
        call: Any = channel.unary_unary("/test.Test/One")
        found = await refused(call(b""))
    assert found == (grpc.StatusCode.DEADLINE_EXCEEDED, "CALL_TOO_LONG")


async def test_a_stream_that_falls_silent_is_ended() -> None:
    async def falls_silent() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(3600)

    async def goes_on() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async with limited(silent=timedelta(seconds=1)) as (channel, _):
        upload: Any = channel.stream_unary("/test.Test/Many")
        found = await refused(upload(falls_silent()))
        assert found == (grpc.StatusCode.UNAVAILABLE, "SILENT_CALLER")
        assert await upload(goes_on()) == b"ab"


async def test_an_address_has_so_many_calls_under_way() -> None:
    async with limited(calls=3) as (channel, go_on):
        call: Any = channel.unary_unary("/test.Test/One")
        waiting = [asyncio.ensure_future(call(b"")) for _ in range(4)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=180)
        found = await refused(done.pop())
        assert found == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        go_on.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert results.count(b"done") == 3
        # What has ended counts no more.
        assert await call(b"") == b"done"


async def test_who_pings_too_often_is_cut_off(running: Running) -> None:
    host, _, port = running.server.address.rpartition(":")
    settings = b"\0\0\0\4\0\0\0\0\0"
    ping = b"\0\0\x08\6\0\0\0\0\0" + b"12345678"

    def said() -> bytes:
        received = b""
        with socket.create_connection((host, int(port)), timeout=180) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
            # Each is answered before the next: what lies unread when the server closes the
            # connection would take its goodbye away.
            for number in range(1, 10):
                connection.sendall(ping)
                while [kind for kind, _ in frames_of(received)].count(6) < number:
                    if b"too_many_pings" in received:
                        return received
                    data = connection.recv(4096)
                    assert data, "closed without a word"
                    received += data
        return received

    received = await asyncio.to_thread(said)
    frames = dict(frames_of(received))
    # GOAWAY with ENHANCE_YOUR_CALM.
    assert struct.unpack(">I", frames[7][4:8]) == (11,)
    assert frames[7][8:] == b"too_many_pings"


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Return the type and the payload of each frame of HTTP/2."""
    frames = []
    while len(data) >= 9:
        length = int.from_bytes(data[:3])
        frames.append((data[3], data[9 : 9 + length]))
        data = data[9 + length :]
    return frames
