"""`talweg status`, `workers` and `logs`: real parts in trouble, and what is said of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests._parts import Server, free_port, running_redis, running_server, wait_until
from tests.client.commands import Done, Talweg
from tests.client.faulty import FaultyServer
from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.client import Client
from talweg.client.cli._root import run
from talweg.server.services import status as server_status
from talweg.spec.local import room
from talweg.v1 import jobs_pb2


class Stack:
    """A server with a broker of its own, known by a stack.json as of a stack of this machine."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server

    def write_file(self, **facts: object) -> None:
        known = {"pid": os.getpid(), "server": self.server.address, "data": str(self.folder)}
        (self.folder / "stack.json").write_text(json.dumps({**known, **facts}))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ExitStack]:
    """A running broker, which ends with `close`."""
    with ExitStack() as stack:
        folder = tmp_path / "redis"
        folder.mkdir()
        stack.url = stack.enter_context(running_redis(folder))  # type: ignore[attr-defined]
        yield stack


@pytest.fixture
def stack(tmp_path: Path, broker: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("TALWEG_DATA", str(tmp_path))
    monkeypatch.delenv("TALWEG_ADDRESS", raising=False)
    url: str = broker.url  # type: ignore[attr-defined]
    with running_server(tmp_path / "server", url) as server:
        stack = Stack(tmp_path, server)
        stack.write_file()
        yield stack


@contextmanager
def answering_worker(broker_url: str, folder: Path) -> Iterator[None]:
    """A Celery worker that answers questions, as workers do."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.server.wake_up_worker", "--quiet"]
        + ["worker", "-P", "solo", "-Q", "default", "-l", "ERROR", "-n", "tester@here"],
        env={**os.environ, "TALWEG_BROKER_URL": broker_url, "WAKE_UPS": str(folder / "woken")},
    )
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


@pytest.fixture
def talweg(capsys: pytest.CaptureFixture[str]) -> Talweg:
    def call(*arguments: str) -> Done:
        capsys.readouterr()
        status = run(arguments)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(status, captured.out, captured.err)

    return call


def line_of(out: str, part: str) -> str:
    return next(line.rstrip() for line in out.splitlines() if line.startswith(f"{part} "))


def todo_of(out: str, part: str) -> str:
    lines = [line.strip() for line in out.splitlines()]
    index = next(i for i, line in enumerate(lines) if line.startswith(f"{part} "))
    assert lines[index + 1].startswith("to do")
    return lines[index + 1]


def test_workers_come_and_go(
    stack: Stack, broker: ExitStack, talweg: Talweg, tmp_path: Path
) -> None:
    done = talweg("status")
    assert done.status == 1
    assert line_of(done.out, "server").split()[1] == "ok"
    assert line_of(done.out, "database").split()[1] == "ok"
    assert line_of(done.out, "broker").split()[1] == "ok"
    assert "no worker answers" in line_of(done.out, "workers")
    assert "Start one with `talweg worker`" in todo_of(done.out, "workers")
    done = talweg("workers")
    assert (done.status, done.out) == (0, "")
    assert "no worker answers" in done.err
    url: str = broker.url  # type: ignore[attr-defined]
    with answering_worker(url, tmp_path):
        wait_until(lambda: talweg("workers", "--json").json, timeout=60, what="a worker")
        assert talweg("workers", "--json").json == [{"name": "tester@here", "queues": ["default"]}]
        done = talweg("workers")
        assert done.out.splitlines()[1].split() == ["tester@here", "default", "idle"]
        done = talweg("status")
        assert done.status == 0
        assert "1 connected, 0 running a job" in line_of(done.out, "workers")


def test_broker_away(stack: Stack, broker: ExitStack, talweg: Talweg) -> None:
    broker.close()
    done = talweg("status")
    assert done.status == 1
    assert "trouble" in line_of(done.out, "broker")
    assert "the broker is unreachable" in line_of(done.out, "broker")
    assert "Start Redis or Valkey" in todo_of(done.out, "broker")
    assert "unknown" in line_of(done.out, "workers")
    done = talweg("workers")
    assert done.status == 4
    assert "the broker is unreachable" in done.err


def test_server_away(stack: Stack, talweg: Talweg) -> None:
    stack.server.stop()
    done = talweg("status")
    assert done.status == 4
    assert "trouble" in line_of(done.out, "server")
    assert f"process {os.getpid()}" in todo_of(done.out, "server")
    assert "server.log" in todo_of(done.out, "server")


def test_mlflow_disk_and_services(
    stack: Stack, talweg: Talweg, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.write_file(tracking=mlflow_url, parts={"server": os.getpid()})
    out = talweg("status").out
    for part in ("MLflow", "disk", "stack"):
        assert line_of(out, part).split()[1] == "ok"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    nobody = f"http://127.0.0.1:{free_port()}"
    stack.write_file(tracking=nobody, parts={"worker-0": ended.pid})
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 2**60)
    done = talweg("status")
    assert f"{nobody} does not answer" in line_of(done.out, "MLflow")
    assert "tracking.log" in todo_of(done.out, "MLflow")
    assert "workers take no jobs" in line_of(done.out, "disk")
    assert "Free space" in todo_of(done.out, "disk")
    assert "worker-0 ended" in line_of(done.out, "stack")
    assert "worker-0.log" in todo_of(done.out, "stack")
    parts = {part["name"]: part for part in talweg("status", "--json").json["components"]}
    assert parts["server"]["ok"] is True
    assert parts["MLflow"]["ok"] is False
    assert urlsplit(nobody).netloc in parts["MLflow"]["problem"]


def test_backlog_of_the_delivery(
    faulty: FaultyServer, talweg: Talweg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TALWEG_ADDRESS", faulty.address)
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        client.submit_many([sample(seed) for seed in range(3)])
        client.submit(sample()).cancel()
        attempts = [worker.claim() for _ in range(3)]
        assert "all results are in MLflow" in line_of(talweg("status").out, "delivery")
        for attempt in attempts:
            attempt.finish()
        # The cancelled one has never run.
        assert line_of(talweg("status").out, "delivery").endswith(
            "ok       3 jobs still to be delivered to MLflow"
        )
        monkeypatch.setattr(server_status, "_PATIENCE_S", 0.0)
        done = talweg("status")
        assert "trouble" in line_of(done.out, "delivery")
        assert "results of 3 ended jobs" in line_of(done.out, "delivery")
        assert "TALWEG_TRACKING_URI" in todo_of(done.out, "delivery")
        attempts[0].deliver("http://127.0.0.1:5000/#/experiments/1/runs/r0", "r0")
        done = talweg("status", "--json")
        delivery = done.json["delivery"]
        assert delivery["waiting"] == 2
        assert delivery["seconds_left"] == pytest.approx(2 / delivery["per_second"])
        assert "2 jobs still to be delivered to MLflow, in about" in talweg("status").out
        for number in (1, 2):
            attempts[number].deliver(f"http://127.0.0.1:5000/#/x/runs/r{number}", f"r{number}")
        assert "all results are in MLflow" in line_of(talweg("status").out, "delivery")


def test_logs(faulty: FaultyServer, talweg: Talweg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALWEG_ADDRESS", faulty.address)
    with Client(faulty.address) as client, Worker(faulty.address) as worker:
        job = client.submit(sample())
        attempt = worker.claim(job.name)
        for step in range(1, 4):
            attempt.report(step=step, metrics={"train/loss": 1.0}, log=f"line {step}")
        attempt.report(step=4, warning="mind the step")
        out = talweg("logs", job.id).out.splitlines()
        assert [line[21:] for line in out] == [
            "QUEUED: submitted", "RUNNING: claimed by tester",
            "line 1", "line 2", "line 3", "warning: mind the step",
        ]  # fmt: skip
        assert [line[21:] for line in talweg("logs", job.id, "-n", "2").out.splitlines()] == [
            "line 3",
            "warning: mind the step",
        ]
        attempt.finish(jobs_pb2.Job.FAILED, message="no luck")
        out = talweg("logs", job.id, "--follow").out.splitlines()
        assert out[-1].endswith("FAILED: no luck")
        assert sum("line 1" in line for line in out) == 1
        kinds = [json.loads(line) for line in talweg("logs", job.id, "--json").out.splitlines()]
        assert "log" in kinds[2]
        # A page of two lines at a time gives the same.
        request = jobs_pb2.GetJobLogsRequest(name=job.name, page_size=2)
        pages: list[jobs_pb2.Event] = []
        while True:
            page = client._connection.call(client._connection.jobs.GetJobLogs, request)
            pages += page.events
            if not page.next_cursor:
                break
            assert len(page.events) == 2
            request.after_cursor = page.next_cursor
        assert pages == list(job.logs())


def test_a_job_for_cuda_warns_without_such_a_worker(
    stack: Stack, talweg: Talweg, tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(sample()))
    assert "warning" not in talweg("submit", str(file)).err
    done = talweg("submit", str(file), "--set", "resources.device=cuda")
    assert done.status == 0
    assert "waits for a worker with CUDA, but none is connected" in done.err
