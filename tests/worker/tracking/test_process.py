"""The delivery as a process of its own: killed, without MLflow, twice at once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import mlflow
import psutil
import pytest
from mlflow.utils.credentials import get_default_host_creds
from tests._parts import Gate, start, stop, wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.conftest import environment
from tests.worker.tracking.spools import losses, runs_of, steps_of, writer_of

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.settings import Settings
from talweg.worker.tracking import __main__ as process_of_delivery

SUCCEEDED = Outcome(state=Job.SUCCEEDED)


@contextmanager
def delivering(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = start(
        [sys.executable, "-m", "talweg.worker.tracking"], log=log, env=environment(settings)
    )
    try:
        yield process
    finally:
        stop(process)


def sent(settings: Settings, job: str) -> int:
    """Return how much of a job's first attempt has been sent, in bytes."""
    with suppress(FileNotFoundError, ValueError):
        state = json.loads((settings.spool_dir / job_id(job) / "delivery.json").read_text())
        return int(state["offsets"].get("1", 0))
    return 0


def wait_for_more(settings: Settings, job: str) -> None:
    """Wait until more of a job has been sent than now."""
    now = sent(settings, job)
    wait_until(lambda: sent(settings, job) > now, timeout=60, what="it is in the middle")


def test_killed_in_the_middle_it_loses_and_doubles_nothing(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    num_steps = 8_000
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, num_steps + 1)))
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    for _ in range(2):
        with delivering(settings, tmp_path / "log") as process:
            wait_for_more(settings, name)
            process.kill()
            process.wait()
    assert not jobs.get(name).tracking.complete
    with delivering(settings, tmp_path / "log"):
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="delivered")
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "lr"):
        assert steps_of(tracking, run, metric) == list(range(1, num_steps + 1))


def test_mlflow_may_come_later_and_go_meanwhile(
    jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, tmp_path: Path
) -> None:
    gate = Gate(int(settings.tracking_uri.rpartition(":")[2]))
    settings = replace(settings, tracking_uri=f"http://127.0.0.1:{gate.port}")
    log = tmp_path / "log"
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job

    def says(text: str, *, times: int = 1) -> None:
        wait_until(lambda: log.read_text().count(text) == times, timeout=60, what=text)

    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        writer.flush()
        with delivering(settings, log) as process:
            says("MLflow is unreachable")
            gate.open()
            says("MLflow is reachable again")
            gate.close()
            writer.points(losses(range(11, 21)))
            writer.flush()
            says("MLflow is unreachable", times=2)
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
            gate.open()
            says("MLflow is reachable again", times=2)
            wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="delivered")
            assert process.poll() is None
    gate.close()
    (run,) = runs_of(tracking, spec, name)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 21))
    lines = [line for line in log.read_text().splitlines() if "reachable" in line]
    # One line when it goes and one when it comes back, however often it was tried.
    assert [("unreachable" in line) for line in lines] == [True, False, True, False]


def test_the_second_waits_for_the_first_and_takes_over(
    jobs: Jobs, settings: Settings, tmp_path: Path
) -> None:
    with (
        delivering(settings, tmp_path / "first") as first,
        delivering(settings, tmp_path / "second") as second,
    ):
        memory = psutil.Process(second.pid).memory_info
        assignment = jobs.begin(tiny_spec())
        with writer_of(assignment, settings.spool_dir) as writer:
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        name = assignment.lease.job
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="delivered")
        one_waits = min(memory().rss, psutil.Process(first.pid).memory_info().rss)
        assert one_waits < 60 << 20
        first.kill()
        assignment = jobs.begin(tiny_spec())
        with writer_of(assignment, settings.spool_dir) as writer:
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        name = assignment.lease.job
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="taken over")
        assert second.poll() is None


def test_it_ends_with_its_parent(settings: Settings, tmp_path: Path) -> None:
    code = (
        "import os, subprocess, sys, time\n"
        "command = [sys.executable, '-m', 'talweg.worker.tracking', str(os.getpid())]\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(settings)
    )
    try:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until((settings.spool_dir / ".lock").exists, timeout=30, what="it has begun")
    finally:
        parent.kill()
        parent.communicate()
    wait_until(
        lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE,
        timeout=10,
        what="it has ended",
    )


def test_the_token_of_a_stack_comes_before_what_a_user_has_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TOKEN", "USERNAME", "PASSWORD", "AUTH"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "of-a-user")
    process_of_delivery._show_token("of-the-stack")
    known = get_default_host_creds("http://127.0.0.1:1")  # type: ignore[no-untyped-call]
    shown = (known.token, known.username, known.password, known.auth)
    assert shown == ("of-the-stack", None, None, None)
