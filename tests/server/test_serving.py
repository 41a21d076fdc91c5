"""The server as a process: how it starts, refuses to start, ends and is killed."""

import asyncio
import json
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests._parts import Server, running_server, wait_until
from tests.server.samples import spec

from talweg.server import listener, serving
from talweg.server.commands.record import db
from talweg.server.commands.serving import server as server_command
from talweg.server.events.stream import EventStream
from talweg.server.settings import Settings
from talweg.server.store.record import migrate
from talweg.v1 import jobs_pb2
from talweg.v1.jobs_pb2 import Job
from talweg.v1.jobs_pb2_grpc import JobServiceStub

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """`talweg server`, without a broker."""
    with running_server(tmp_path / "server", NOWHERE) as server:
        yield server


def run(tmp_path: Path, command: click.Command, *arguments: str, **env: str) -> Result:
    """Run a command in this process; an exception that it does not explain fails the test."""
    given = {
        "TALWEG_DATABASE_URL": f"sqlite:///{tmp_path}/talweg.db",
        "TALWEG_BROKER_URL": NOWHERE,
        "TALWEG_LISTEN": "127.0.0.1:0",
    }
    return CliRunner().invoke(command, arguments, env={**given, **env}, catch_exceptions=False)


def test_says_where_it_listens_and_ends_in_order(server: Server) -> None:
    assert server.process is not None
    ready = json.loads((server.folder / "server.ready").read_text())
    assert ready == {"pid": server.process.pid, "address": server.address}
    assert server.address.startswith("127.0.0.1:")
    log = server.folder / "server.log"
    assert f"talweg server listens on {server.address}" in log.read_text()

    with grpc.insecure_channel(server.address) as channel:
        jobs = JobServiceStub(channel)
        job = jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec())).job
        call = jobs.WatchJob(jobs_pb2.WatchJobRequest(name=job.name))
        assert next(call).event.cursor == 1
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert server.process.wait(120) == 0
    assert "Traceback" not in log.read_text()


async def test_ends_though_a_library_swallows_a_cancellation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(self: EventStream) -> None:
        # As asyncio.wait_for does up to Python 3.11, where it is about to succeed.
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    monkeypatch.setattr(EventStream, "read", read)
    url = f"sqlite:///{tmp_path}/talweg.db"
    server = serving.Server(Settings(listen="127.0.0.1:0", database_url=url, broker_url=NOWHERE))
    await server.start()
    async with asyncio.timeout(120):
        await server.stop(0)


async def test_it_greets_who_asks_whether_its_port_is_well(server: Server) -> None:
    assert await listener.answers(server.address, is_secured=False, seconds=60)


def test_what_was_answered_survives_a_kill(server: Server) -> None:
    taken: list[str] = []

    def submit_until_it_dies() -> None:
        with grpc.insecure_channel(server.address) as channel:
            jobs = JobServiceStub(channel)
            for number in range(100_000):
                request = jobs_pb2.SubmitJobRequest(spec=spec(), request_id=f"r{number}")
                try:
                    taken.append(jobs.SubmitJob(request).job.name)
                except grpc.RpcError:
                    return

    thread = threading.Thread(target=submit_until_it_dies)
    thread.start()
    wait_until(lambda: len(taken) > 30, timeout=30, what="jobs are taken")
    server.kill()
    thread.join(180)
    server.start()
    with grpc.insecure_channel(server.address) as channel:
        jobs = JobServiceStub(channel)
        for name in taken:
            assert jobs.GetJob(jobs_pb2.GetJobRequest(name=name)).state == Job.QUEUED
        # Sent again, since its answer may be lost: one job all the same.
        request = jobs_pb2.SubmitJobRequest(spec=spec(), request_id="r0")
        assert jobs.SubmitJob(request).job.name == taken[0]
        found = jobs.ListJobs(jobs_pb2.ListJobsRequest(page_size=1000)).jobs
        assert len(taken) <= len(found) <= len(taken) + 1


def test_a_record_that_cannot_be_written_is_said(server: Server) -> None:
    assert server.process is not None
    pid, log = server.process.pid, server.folder / "server.log"
    serving, not_serving = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
    with grpc.insecure_channel(server.address) as channel:
        health, jobs = HealthStub(channel), JobServiceStub(channel)

        def becomes(status: int) -> None:
            wait_until(
                lambda: health.Check(HealthCheckRequest()).status == status,
                timeout=30,
                what=HealthCheckResponse.ServingStatus.Name(status),
            )

        becomes(serving)
        assert (server.folder / "talweg.db-wal").stat().st_size > 20_000
        # As on a full disk: no file grows beyond this, the log's lines still fit.
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, hard))
        becomes(not_serving)
        for _ in range(3):
            with pytest.raises(grpc.RpcError) as caught:
                jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec()))
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert health.Check(HealthCheckRequest()).status == not_serving
        said = [line for line in log.read_text().splitlines() if "cannot be written" in line]
        assert len(said) == 1
        assert "NOT_SERVING" in said[0]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        becomes(serving)
        assert jobs.SubmitJob(jobs_pb2.SubmitJobRequest(spec=spec())).job.name
    assert "Traceback" not in log.read_text()


def test_the_record_is_its_owners_alone(server: Server) -> None:
    files = sorted(server.folder.glob("talweg.db*"))
    assert [path.name for path in files] == ["talweg.db", "talweg.db-shm", "talweg.db-wal"]
    assert [oct(path.stat().st_mode & 0o777) for path in files] == ["0o600"] * 3


def test_a_taken_port_is_an_error(server: Server, tmp_path: Path) -> None:
    ended = run(tmp_path, server_command, TALWEG_LISTEN=server.address)
    assert ended.exit_code == 1
    assert f"cannot listen on {server.address}" in ended.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"TALWEG_LISTEN": "0.0.0.0:0"},
            "set TALWEG_AUTHENTICATION=token",
        ),
        ({"TALWEG_DATABASE_URL": "mysql://h/d"}, "begins with mysql://"),
        ({"TALWEG_DATABASE_URL": "sqlite:////nowhere/at/all.db"}, "unable to open database file"),
        ({"TALWEG_DATABASE_URL": f"sqlite:///{__file__}"}, "record's file " + __file__),
        ({"TALWEG_BROKER_URL": "amqp://h"}, "begins with amqp"),
        ({"TALWEG_BROKER_URL": "redis://:sec/ret@h:1/0"}, "%2F for / in the password"),
        ({"TALWEG_BROKER_URL": "redis://:12/secret@h:1/0"}, "%2F for / in the password"),
        ({"TALWEG_BROKER_URL": "redis://:secret@h:1/first"}, "numeric port and database"),
        ({"TALWEG_LEASE_SECONDS": "0"}, "TALWEG_LEASE_SECONDS must be >= 1"),
    ],
)
def test_says_what_keeps_it_from_starting(tmp_path: Path, env: dict[str, str], said: str) -> None:
    ended = run(tmp_path, server_command, **env)
    assert ended.exit_code == 1
    assert said in ended.stderr
    assert "sec" not in ended.stderr.replace("insecure", "")


def test_the_db_commands(tmp_path: Path) -> None:
    assert "no tables yet" in run(tmp_path, db, "current").stdout
    version = migrate.latest()
    assert f"version {version}" in run(tmp_path, db, "upgrade").stdout
    current = run(tmp_path, db, "current").stdout
    assert current.splitlines() == [f"database: {version}", f"server:   {version}"]
