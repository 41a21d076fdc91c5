"""Two real workers, each with a spool of its own: a job that moves is complete only as a whole."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import psutil
import pytest
from tests._parts import (
    Gate,
    running_redis,
    running_server,
    start,
    stop,
    wait_until,
    with_tokens,
)
from tests.worker._jobs import jobs_of, tiny_spec
from tests.worker.tracking.spools import runs_of, steps_of

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job

STEPS = 6_000


@contextmanager
def running(folder: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(parents=True)
    log, ready = folder / "worker.log", folder / "ready"
    process = start(
        [sys.executable, "-m", "talweg.client.cli", "worker", "--name", folder.name],
        log=log,
        env={"TALWEG_SPOOL_DIR": str(folder / "spool"), "TALWEG_READY_FILE": str(ready), **env},
    )
    try:
        wait_until(
            lambda: ready.exists() or process.poll() is not None, timeout=180, what="a worker"
        )
        yield process
    finally:
        stop(process)


def training_processes(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return a worker and its child that trains, but not its delivery."""
    main = psutil.Process(worker.pid)
    return [main, *(c for c in main.children() if "talweg.worker.tracking" not in c.cmdline())]


@pytest.mark.faults
def test_a_job_that_moved_is_complete_once_both_workers_have_delivered(
    tmp_path: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = mlflow.MlflowClient(mlflow_url)
    spec = tiny_spec(
        experiment="moved between workers",
        training={"steps": STEPS, "log_every_steps": 100, "checkpoints": {"every_steps": 100}},
    )
    # MLflow is away for the first one.
    gate = Gate(urlsplit(mlflow_url).port or 0)
    with ExitStack() as stack:
        redis_url = stack.enter_context(running_redis(tmp_path))
        server = stack.enter_context(
            running_server(
                tmp_path / "server", redis_url, TALWEG_LEASE_SECONDS="2", **with_tokens(tmp_path)
            )
        )
        monkeypatch.setenv("TALWEG_TOKEN", (tmp_path / "admin-token").read_text().strip())
        jobs = stack.enter_context(jobs_of(server.address))
        env = {
            "TALWEG_ADDRESS": server.address,
            "TALWEG_TOKEN": "",
            "TALWEG_TOKEN_FILE": str(tmp_path / "worker-token"),
            "TALWEG_BROKER_URL": redis_url,
            "TALWEG_BLOBS": str(tmp_path / "blobs"),
        }
        first = stack.enter_context(
            running(tmp_path / "first", **env, TALWEG_TRACKING_URI=f"http://127.0.0.1:{gate.port}")
        )
        name = jobs.submit(spec)
        wait_until(
            lambda: jobs.get(name).progress.step > STEPS // 20, timeout=60, what="it trains"
        )
        frozen = training_processes(first)
        for process in frozen:
            process.send_signal(signal.SIGSTOP)
        try:
            second = tmp_path / "second"
            stack.enter_context(running(second, **env, TALWEG_TRACKING_URI=mlflow_url))
            wait_until(
                lambda: jobs.get(name).state == Job.SUCCEEDED, timeout=120, what="it goes on"
            )
            assert jobs.get(name).attempt >= 2
            state = second / "spool" / job_id(name) / "delivery.json"

            def waits() -> bool:
                return bool(state.exists() and json.loads(state.read_text())["waiting_since"])

            wait_until(waits, timeout=60, what="the second one waits for the first")
            (run,) = runs_of(tracking, spec, name)
            part = steps_of(tracking, run, "train/loss")
            assert part[0] > 100
            assert part[-1] == STEPS
            assert run.info.status == "RUNNING"
            assert not jobs.get(name).tracking.complete
            gate.open()
            wait_until(lambda: jobs.get(name).tracking.complete, timeout=90, what="all arrives")
            # Read after the record has said so.
            steps = steps_of(tracking, run, "train/loss")
            assert steps == sorted({*range(1, STEPS + 1, 100), STEPS})
            assert tracking.get_run(run.info.run_id).info.status == "FINISHED"
            assert jobs.get(name).tracking.missing == ""
        finally:
            for process in frozen:
                process.send_signal(signal.SIGCONT)
            gate.close()
