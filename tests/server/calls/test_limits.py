"""What one client may take of a server, and what a client is told that sends nonsense."""

import asyncio
import json
import logging
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse
from tests._parts import running_server, start, stop, wait_ready
from tests.server.conftest import Running, Start
from tests.server.samples import spec
from tests.server.sweeps.sweeping import sweep_spec

from talweg.server.limits.connections import MAX_STREAMS
from talweg.server.parts import SERVICES
from talweg.v1 import jobs_pb2
from talweg.v1.jobs_pb2_grpc import JobServiceStub
from talweg.v1.sweeps_pb2 import CreateSweepRequest, WatchSweepRequest
from talweg.v1.sweeps_pb2_grpc import SweepServiceStub

MIB = 1024 * 1024
NOWHERE = "redis://127.0.0.1:1/0"
# Protobuf knows no wire type 7.
UNDECODABLE = b"\x0f"
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def unary(channel: grpc.aio.Channel, method: str) -> Any:
    """A method that takes bytes as they are."""
    return channel.unary_unary(method)


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


METHODS = [
    *(f"/talweg.v1.JobService/{name}" for name in ("GetJob", "BatchSubmitJobs", "CompareJobs")),
    *(f"/talweg.v1.WorkerService/{name}" for name in ("ReportProgress", "FinishJob")),
    "/talweg.v1.CatalogService/ListLosses",
    "/grpc.health.v1.Health/Check",
]


@pytest.mark.parametrize("method", METHODS)
async def test_requests_have_a_largest_size_by_method(running: Running, method: str) -> None:
    most = (16 if "Batch" in method else 4) * MIB
    code, said = await code_of(unary(running.channel, method)(UNDECODABLE + b"x" * most))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED, said
    allowed = UNDECODABLE + b"x" * (most - len(UNDECODABLE))
    code, said = await code_of(unary(running.channel, method)(allowed))
    assert code == grpc.StatusCode.INVALID_ARGUMENT, said


async def test_a_spec_beyond_the_limit_is_refused_in_words(running: Running) -> None:
    request = jobs_pb2.SubmitJobRequest(spec=spec(display_name="x" * 5 * MIB))
    code, said = await code_of(running.jobs.SubmitJob(request))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "spec: must be <= 262,144 bytes" in said


@pytest.mark.parametrize("method", [*METHODS, "/talweg.v1.JobService/SubmitJob"])
async def test_undecodable_bytes_are_the_callers_fault(
    running: Running, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        code, said = await code_of(unary(running.channel, method)(UNDECODABLE))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "the request's bytes are no message of its type" in said
    assert not caplog.records


async def test_no_method_takes_undecodable_bytes(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async def one(content: bytes) -> AsyncIterator[bytes]:
        yield content

    pool = descriptor_pool.Default()
    with caplog.at_level(logging.WARNING):
        for service in (*SERVICES, health.SERVICE_NAME):
            for method in pool.FindServiceByName(service).methods:
                path = f"/{service}/{method.name}"
                # A type that does not exist, and a text that is cut short.
                for content in (UNDECODABLE, b"\x0a\x05ab"):
                    kinds = [
                        "stream" if streams else "unary"
                        for streams in (method.client_streaming, method.server_streaming)
                    ]
                    open_call: Any = getattr(running.channel, "_".join(kinds))(path)
                    given = one(content) if method.client_streaming else content
                    call = open_call(given, timeout=180)
                    code, _ = await code_of(
                        anext(aiter(call)) if method.server_streaming else call
                    )
                    assert code == grpc.StatusCode.INVALID_ARGUMENT, path
    assert not caplog.records


async def test_undecodable_bytes_to_streaming_calls(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    async def bad() -> AsyncIterator[bytes]:
        yield UNDECODABLE

    with caplog.at_level(logging.WARNING):
        watch: Any = running.channel.unary_stream("/talweg.v1.JobService/WatchJob")
        code, _ = await code_of(anext(aiter(watch(UNDECODABLE))))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        reflect: Any = running.channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            response_deserializer=ServerReflectionResponse.FromString,
        )
        answers = [answer async for answer in reflect(bad())]
    assert [answer.WhichOneof("message_response") for answer in answers] == ["error_response"]
    assert not caplog.records


async def test_an_idle_connection_is_closed_and_a_watch_is_not_idle(start: Start) -> None:
    running = await start(idle=timedelta(seconds=1))
    host, _, port = running.server.address.rpartition(":")
    job = (await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))).job
    watch = running.jobs.WatchJob(jobs_pb2.WatchJobRequest(name=job.name))
    assert (await anext(aiter(watch))).event.cursor == 1

    def closed(first: bytes) -> bool:
        with socket.create_connection((host, int(port)), timeout=180) as connection:
            connection.sendall(first)
            with suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        return True

    # One that says nothing at all, and one that begins as it should.
    assert await asyncio.to_thread(closed, b"")
    assert await asyncio.to_thread(closed, HTTP2)
    # The watch has been silent for longer, and goes on; so does a client that was idle.
    await running.jobs.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
    *_, last = [response.event async for response in watch]
    assert last.HasField("finished")


async def test_a_caller_may_watch_so_many_jobs_and_sweeps_at_once(start: Start) -> None:
    running = await start(max_watches=3)
    job = (await running.jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))).job
    request = jobs_pb2.WatchJobRequest(name=job.name)
    # Another connection is another port of the same caller.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(running.server.address, options=options) as channel:
        sweeps = SweepServiceStub(channel)
        sweep = (await sweeps.CreateSweep(CreateSweepRequest(spec=sweep_spec()))).sweep
        of_sweep = WatchSweepRequest(name=sweep.name)
        watches: list[Any] = [
            stub.WatchJob(request) for stub in (running.jobs, JobServiceStub(channel))
        ]
        watches.append(sweeps.WatchSweep(of_sweep))
        for watch in watches:
            await anext(aiter(watch))
        assert running.server.num_watchers == 3
        for one_more in (running.jobs.WatchJob(request), sweeps.WatchSweep(of_sweep)):
            code, said = await code_of(anext(aiter(one_more)))
            assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "may watch 3 jobs and sweeps at once" in said
        # What a watch of a sweep leaves is there for a job.
        watches[-1].cancel()
        async with asyncio.timeout(180):
            while True:
                with suppress(grpc.aio.AioRpcError):
                    await anext(aiter(running.jobs.WatchJob(request)))
                    break
                await asyncio.sleep(0.05)


async def test_a_connection_has_a_largest_number_of_streams(running: Running) -> None:
    health = HealthStub(running.channel)
    watches = [health.Watch(HealthCheckRequest()) for _ in range(MAX_STREAMS + 1)]
    await asyncio.gather(*(anext(aiter(watch)) for watch in watches[:MAX_STREAMS]))
    one_more = asyncio.ensure_future(anext(aiter(watches[MAX_STREAMS])))
    # It waits until another has ended; other connections do not.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(running.server.address, options=options) as channel:
        await HealthStub(channel).Check(HealthCheckRequest(), timeout=180)
    assert not one_more.done()
    watches[0].cancel()
    await asyncio.wait_for(one_more, 180)
    for watch in watches:
        watch.cancel()


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def test_large_messages_cost_little(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", NOWHERE) as server:
        assert server.process is not None
        before = resident_mib(server.process.pid)
        with grpc.insecure_channel(server.address) as channel:
            submit: Any = channel.unary_unary("/talweg.v1.JobService/BatchSubmitJobs")
            calls = [submit.future(b"\x0a\x00" * (30 * MIB)) for _ in range(6)]
            for call in calls:
                assert call.exception(60).code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert resident_mib(server.process.pid) - before < 150


def test_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    """More of them than the server may have files."""
    log, ready_file = tmp_path / "log", tmp_path / "ready"
    command = f"ulimit -n 150; exec {sys.executable} -m talweg.client.cli server"
    process = start(
        ["sh", "-c", command],
        log=log,
        env={
            "TALWEG_DATABASE_URL": f"sqlite:///{tmp_path}/talweg.db",
            "TALWEG_BROKER_URL": NOWHERE,
            "TALWEG_LISTEN": "127.0.0.1:0",
            "TALWEG_READY_FILE": str(ready_file),
            "TALWEG_IDLE_SECONDS": "2",
        },
    )
    with ExitStack() as stack:
        stack.callback(stop, process)
        wait_ready(process, ready_file.exists, log=log, timeout=60)
        address = json.loads(ready_file.read_text())["address"]
        host, _, port = address.rpartition(":")
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=180))
        channel = stack.enter_context(grpc.insecure_channel(address))
        request = jobs_pb2.SubmitJobRequest(spec=spec())
        assert (
            JobServiceStub(channel).SubmitJob(request, wait_for_ready=True, timeout=360).job.name
        )
    assert "Traceback" not in log.read_text()
