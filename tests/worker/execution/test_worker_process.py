"""`talweg worker` as a process: its start, its end, and whatever must end with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from tests._parts import running_redis, running_server, start, stop, wait_until
from tests._plugins import write_package
from tests.worker._jobs import Jobs, jobs_of, tiny_spec

from talweg.v1.jobs_pb2 import Job, Outcome

PASSWORD = "not-for-the-log"
ENDLESS = {"training": {"steps": 100_000_000, "log_every_steps": 1000}}


@dataclass
class RunningWorker:
    process: subprocess.Popen[bytes]
    jobs: Jobs
    log: Path
    ready: dict[str, object]
    redis_url: str

    def children(self) -> dict[str, psutil.Process]:
        """Return the child that trains and the delivery process."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            is_delivery = "talweg.worker.tracking" in child.cmdline()
            found["delivery" if is_delivery else "child"] = child
        return found


@dataclass
class Parts:
    """What a worker needs: a broker with a password, and a server."""

    redis_url: str
    address: str
    folder: Path
    """Of the broker's data."""


@contextmanager
def running_parts(folder: Path, *, lease_seconds: int, max_lost_attempts: int) -> Iterator[Parts]:
    with (
        running_redis(folder, password=PASSWORD) as redis_url,
        running_server(
            folder / "server",
            redis_url,
            TALWEG_LEASE_SECONDS=str(lease_seconds),
            TALWEG_MAX_LOST_ATTEMPTS=str(max_lost_attempts),
        ) as server,
    ):
        yield Parts(redis_url, server.address, folder)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Parts that tests leave whole; the leases outlast any pause of a busy machine."""
    folder = tmp_path_factory.mktemp("parts")
    with running_parts(folder, lease_seconds=300, max_lost_attempts=2) as parts:
        yield parts


@contextmanager
def running_worker(folder: Path, parts: Parts, **env: str) -> Iterator[RunningWorker]:
    log, ready_file = folder / "worker.log", folder / "ready"
    with jobs_of(parts.address) as jobs:
        process = start(
            [sys.executable, "-m", "talweg.client.cli", "worker", "--name", "under-test"],
            log=log,
            env={
                "TALWEG_ADDRESS": parts.address,
                "TALWEG_BROKER_URL": parts.redis_url,
                # Nobody is there: a worker does not care.
                "TALWEG_TRACKING_URI": "http://127.0.0.1:9",
                "TALWEG_SPOOL_DIR": str(folder / "spool"),
                "TALWEG_BLOBS": str(folder / "blobs"),
                "TALWEG_READY_FILE": str(ready_file),
                "TALWEG_LOG_LEVEL": "DEBUG",
                **env,
            },
        )
        try:
            wait_until(
                lambda: ready_file.exists() or process.poll() is not None,
                timeout=60,
                what=f"the worker is ready: {log.read_text()[-2000:]}",
            )
            ready = json.loads(ready_file.read_text())
            yield RunningWorker(process, jobs, log, ready, parts.redis_url)
        finally:
            stop(process)


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def is_training(worker: RunningWorker, name: str) -> bool:
    job = worker.jobs.get(name)
    return job.state == Job.RUNNING and job.progress.step > 0


def test_on_sigterm_it_gives_its_job_back_and_ends(tmp_path: Path, parts: Parts) -> None:
    with running_worker(tmp_path, parts) as worker:
        assert worker.ready["pid"] == worker.process.pid
        tiny = worker.jobs.submit(tiny_spec())
        wait_until(
            lambda: worker.jobs.get(tiny).state == Job.SUCCEEDED, timeout=30, what="a tiny job"
        )
        assert worker.jobs.get(tiny).worker.startswith("under-test@")
        name = worker.jobs.submit(tiny_spec(**ENDLESS))
        wait_until(lambda: is_training(worker, name), timeout=30, what="it trains")
        wait_until(lambda: len(worker.children()) == 2, timeout=30, what="delivery runs")
        children = worker.children()
        worker.process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: worker.jobs.get(name).state == Job.QUEUED, timeout=10, what="it is back"
        )
        # Well below the half minute for which Celery would wait.
        assert worker.process.wait(20) == 0
        worker.jobs.cancel(name)
        reasons = [
            event.state.reason
            for event in worker.jobs.events(name)
            if event.state.state == Job.QUEUED
        ]
        # And not by a lease that ran out.
        assert "returned to the queue by under-test@" in reasons[-1]
        assert all(has_ended(child) for child in children.values())
        log = worker.log.read_text()
        assert PASSWORD not in log
        assert "redis://:**@127.0.0.1" in log


def test_killed_children_are_replaced_and_a_killed_worker_leaves_none(tmp_path: Path) -> None:
    with (
        running_parts(tmp_path, lease_seconds=5, max_lost_attempts=5) as parts,
        running_worker(tmp_path, parts) as worker,
    ):
        name = worker.jobs.submit(tiny_spec(**ENDLESS))
        wait_until(lambda: is_training(worker, name), timeout=30, what="it trains")
        wait_until(lambda: len(worker.children()) == 2, timeout=30, what="delivery runs")
        before = worker.children()
        for child in before.values():
            os.kill(child.pid, signal.SIGKILL)
        wait_until(
            lambda: worker.jobs.get(name).attempt == 2 and is_training(worker, name),
            timeout=30,
            what="another child trains",
        )
        wait_until(lambda: len(worker.children()) == 2, timeout=30, what="another delivery runs")
        after = worker.children()
        assert {p.pid for p in before.values()}.isdisjoint(p.pid for p in after.values())
        wait_until(
            lambda: "was lost (killed by SIGKILL, as the kernel" in worker.log.read_text(),
            timeout=20,
            what="it says so",
        )
        assert "Traceback" not in worker.log.read_text()
        worker.process.kill()
        worker.process.wait()
        wait_until(
            lambda: all(has_ended(child) for child in after.values()),
            timeout=5,
            what=f"{' and '.join(after)} have ended",
        )
        wait_until(
            lambda: worker.jobs.get(name).state == Job.QUEUED, timeout=10, what="it waits again"
        )


def test_a_job_says_why_no_worker_takes_it(tmp_path: Path, parts: Parts) -> None:
    spool = tmp_path / "spool"
    # Another reason than a full disk, which no test can have; it goes the same way.
    spool.write_text("")
    with running_worker(tmp_path, parts) as worker:
        name = worker.jobs.submit(tiny_spec())
        wait_until(
            lambda: "takes jobs now: under-test@" in worker.jobs.get(name).waiting_reason,
            timeout=60,
            what="the job says why it waits",
        )
        assert str(spool) in worker.jobs.get(name).waiting_reason
        assert worker.jobs.get(name).attempt == 0
        spool.unlink()
        wait_until(
            lambda: worker.jobs.get(name).state == Job.SUCCEEDED, timeout=60, what="it runs"
        )


@pytest.mark.faults
def test_code_that_holds_the_interpreter_is_cut_off_with_its_lease(tmp_path: Path) -> None:
    """A thread cannot renew a lease while C code keeps the interpreter's lock."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from talweg.worker.channels import Channel\n"
        "from talweg.worker.execution.answering import Answering\n"
        "from talweg.worker.execution.attempt import WorkerContext\n"
        "def run(spec, *, report, control, device, store):\n"
        "    report.progress(1, 2, 1, 1)\n"
        "    print('holding', flush=True)\n"
        "    sum(range(10**12))\n"
        "Answering(WorkerContext(channel=Channel(sys.argv[1]), spool_dir=Path(sys.argv[2]),\n"
        "    blobs=sys.argv[2], worker='hog', has_cuda=False, run=run)).answer('default')\n"
    )
    with (
        running_redis(tmp_path) as redis_url,
        running_server(tmp_path / "server", redis_url, TALWEG_LEASE_SECONDS="3") as server,
        jobs_of(server.address) as jobs,
    ):
        name = jobs.submit(tiny_spec())
        log = tmp_path / "hog.log"
        hog = start([sys.executable, "-c", code, server.address, str(tmp_path)], log=log)
        try:
            wait_until(lambda: "holding" in log.read_text(), timeout=60, what="it holds on")
            assert hog.wait(60) != 0
        finally:
            stop(hog)
        # Its traceback says where it hung.
        assert "in run" in log.read_text()
        wait_until(lambda: jobs.get(name).state == Job.QUEUED, timeout=10, what="it waits again")


PLUGIN = """
import ctypes, os, signal, sys

def make(parameters):
    return {"segfault": crash, "kill": kill, "exit": leave}[parameters["how"]]

def crash(inputs):
    ctypes.string_at(0)

def kill(inputs):
    os.kill(os.getpid(), signal.SIGKILL)

def leave(inputs):
    sys.exit("done")
"""


# Last, since no other worker may take the jobs of the tests above.
@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, parts: Parts) -> Iterator[RunningWorker]:
    """A worker whose child jobs may end; it knows the loss of `PLUGIN`."""
    folder = tmp_path_factory.mktemp("worker")
    write_package(folder, "own_plugin", PLUGIN, {"talweg.losses:own": "make"})
    with running_worker(folder, parts, PYTHONPATH=str(folder)) as worker:
        yield worker


def test_a_job_says_how_its_process_died(worker: RunningWorker) -> None:
    line = 1 + PLUGIN.splitlines().index("    ctypes.string_at(0)")
    says = {
        "segfault": [
            "killed by SIGSEGV, a crash of native code",
            f'own_plugin.py", line {line}), called',
        ],
        "kill": ["killed by SIGKILL, as the kernel does when memory runs out"],
        "exit": ["would end its process by SystemExit: done"],
    }
    for how, texts in says.items():
        loss = {"plugin": {"name": "own", "parameters": json.dumps({"how": how})}}
        name = worker.jobs.submit(tiny_spec(loss=loss))
        wait_until(
            lambda name=name: worker.jobs.get(name).state == Job.FAILED,  # type: ignore[misc]
            timeout=60,
            what=f"{how} has failed",
        )
        job = worker.jobs.get(name)
        is_lost = how != "exit"
        cause = Outcome.WORKER_LOST if is_lost else Outcome.USER_SPEC
        assert (job.outcome.cause, job.attempt) == (cause, 1 + is_lost), job.outcome
        for text in texts:
            assert text in job.outcome.message


def test_a_job_that_asks_for_too_much_memory_leaves_the_child_fit(worker: RunningWorker) -> None:
    absurd = {"model": {"mlp": {"hidden": [65_536] * 20}}}
    greedy = worker.jobs.submit(tiny_spec(**absurd))
    wait_until(
        lambda: worker.jobs.get(greedy).state == Job.FAILED, timeout=30, what="it has failed"
    )
    outcome = worker.jobs.get(greedy).outcome
    assert outcome.cause == Outcome.OUT_OF_MEMORY
    assert "use a smaller model" in outcome.message
    before = worker.children()["child"]
    tiny = worker.jobs.submit(tiny_spec())
    wait_until(lambda: worker.jobs.get(tiny).state == Job.SUCCEEDED, timeout=30, what="a tiny job")
    assert worker.children()["child"].pid == before.pid
    assert worker.jobs.get(greedy).attempt == 1


@pytest.mark.faults
def test_a_broker_that_refuses_writes_is_waited_for(worker: RunningWorker, parts: Parts) -> None:
    """As Redis does with MISCONF, while the disk is full on which it keeps its data."""
    told = len(worker.log.read_text())
    with redis.Redis.from_url(worker.redis_url) as broker:
        # Its file cannot be put in place.
        (parts.folder / "dump.rdb").mkdir()
        broker.config_set("save", "1 1")
        broker.config_set("stop-writes-on-bgsave-error", "yes")
        broker.set("changed", "1")
        broker.bgsave()
        wait_until(
            lambda: broker.info("persistence")["rdb_last_bgsave_status"] == "err",
            timeout=20,
            what="the broker cannot write",
        )
        wait_until(
            lambda: "MISCONF" in worker.log.read_text()[told:], timeout=60, what="it is refused"
        )
        broker.config_set("save", "")
        name = worker.jobs.submit(tiny_spec())
        wait_until(
            lambda: worker.jobs.get(name).state == Job.SUCCEEDED or has_gone(worker),
            timeout=90,
            what=f"the job runs: {worker.log.read_text()[-2000:]}",
        )
        assert not has_gone(worker)
        broker.config_set("stop-writes-on-bgsave-error", "no")


def has_gone(worker: RunningWorker) -> bool:
    return worker.process.poll() is not None
