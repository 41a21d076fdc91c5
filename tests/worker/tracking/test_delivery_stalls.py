"""MLflow, its database or the delivery stands still while a job ends: nothing of it is lost."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from mlflow.exceptions import MlflowException
from tests._few import a_few
from tests._parts import Mlflow, start, stop, wait_until
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.conftest import environment
from tests.worker.tracking.proxies import Proxy
from tests.worker.tracking.spools import (
    SUCCEEDED,
    keep_network,
    losses,
    runs_of,
    spool_files,
    steps_of,
    writer_of,
)

from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.errors import RunGoneError
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.runs import Runs
from talweg.worker.tracking.spool import LINES, SpoolWriter


def seem_silent(writer: SpoolWriter) -> None:
    """Has the spool look as if nobody had written to it for a minute."""
    then = time.time() - 60
    os.utime(writer.folder / LINES, (then, then))


def deliver_all(delivery: Delivery, settings: Settings) -> None:
    """Go over the spool until it is empty."""

    def is_empty() -> bool:
        delivery.deliver()
        return spool_files(settings) == []

    wait_until(is_empty, timeout=60, what="all is delivered")


@pytest.mark.parametrize("end", ["at once", "after a while", "killed"])
def test_what_is_written_while_a_call_waits_arrives(
    end: str, jobs: Jobs, settings: Settings, tracking: mlflow.MlflowClient, proxy: Proxy
) -> None:
    outputs = {"model": end == "at once", "plots": False}
    assignment = jobs.begin(spec := tiny_spec(outputs=outputs))
    name = assignment.lease.job
    slow = Delivery(replace(settings, tracking_uri=proxy.url))
    writer = writer_of(assignment, settings.spool_dir)
    writer.points(losses(range(1, 11)))
    writer.flush()
    proxy.holds = "/log-batch"
    sending = threading.Thread(target=slow.deliver)
    sending.start()
    assert proxy.held.wait(120)
    # Meanwhile the job goes on and ends. The server knows first, the spool last.
    writer.points(losses(range(11, 31)))
    if outputs["model"]:
        keep_network(writer, spec)
    writer.flush()
    jobs.finish(assignment, SUCCEEDED)
    if end == "at once":
        writer.points(losses(range(31, 42)))
        writer.end(state="SUCCEEDED")
    seem_silent(writer)
    proxy.opened.set()
    sending.join(120)
    if end == "after a while":
        slow.deliver()
        (run,) = runs_of(tracking, spec, name)
        assert steps_of(tracking, run, "train/loss") == list(range(1, 31))
        assert run.info.status == "RUNNING"
        assert not jobs.get(name).tracking.complete
        writer.points(losses(range(31, 42)))
        writer.end(state="SUCCEEDED")
    elif end == "killed":
        writer.close()
    deliver_all(slow, settings)
    (run,) = runs_of(tracking, spec, name)
    last = 31 if end == "killed" else 42
    assert steps_of(tracking, run, "train/loss") == list(range(1, last))
    assert run.info.status == "FINISHED"
    assert jobs.get(name).tracking.complete
    if outputs["model"]:
        names = {item.path for item in tracking.list_artifacts(run.info.run_id, "weights")}
        assert "weights/weights.safetensors" in names
        assert run.outputs is not None
        assert len(run.outputs.model_outputs) == 1


def test_an_attempt_that_begins_while_the_server_is_asked_arrives(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = jobs.begin(spec := tiny_spec())
    with writer_of(first, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        jobs.finish(first, Outcome(state=Job.QUEUED))
        writer.end(state="QUEUED")
    delivery.deliver()
    job_of = Record.job
    done = False

    def job(record: Record, job_id: str) -> Job | None:
        nonlocal done
        if not done:
            done = True
            second = jobs.claim()
            with writer_of(second, settings.spool_dir) as others:
                others.points(losses(range(11, 21)))
                jobs.finish(second, SUCCEEDED)
                others.end(state="SUCCEEDED")
        return job_of(record, job_id)

    monkeypatch.setattr(Record, "job", job)
    deliver_all(Delivery(settings), settings)
    assert done
    (run,) = runs_of(tracking, spec, first.lease.job)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 21))
    assert run.info.status == "FINISHED"


def test_a_lost_part_of_a_run_does_not_cost_the_rest(
    jobs: Jobs,
    settings: Settings,
    delivery: Delivery,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def log_data(runs: Runs, run_id: str, data: Any) -> None:
        raise RunGoneError("no such thing")

    monkeypatch.setattr(Runs, "log_data", log_data)
    assignment = jobs.begin(spec := tiny_spec())
    with writer_of(assignment, settings.spool_dir) as writer:
        writer.points(losses(range(1, 11)))
        writer.flush()
        jobs.finish(assignment, SUCCEEDED)
        delivery.deliver()
        writer.points(losses(range(11, 21)))
        writer.end(state="SUCCEEDED")
    deliver_all(delivery, settings)
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    assert steps_of(tracking, run, "train/loss") == list(range(1, 21))
    assert run.info.status == "FINISHED"
    assert "data is left out: no such thing" in caplog.text
    assert jobs.get(assignment.lease.job).tracking.left_out == "data: no such thing"


@pytest.mark.parametrize("call", ["log_artifact", "log_model_artifacts"])
def test_an_artifact_store_that_fails_is_tried_again(
    call: str,
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class StoreError(Exception):
        """As stores' own clients raise, which know nothing of MLflow's errors."""

    def fail(client: mlflow.MlflowClient, *_: Any, **__: Any) -> None:
        raise StoreError("slow down")

    assignment = jobs.begin(spec := tiny_spec(outputs={"model": True, "plots": False}))
    with writer_of(assignment, settings.spool_dir) as writer:
        keep_network(writer, spec)
        jobs.finish(assignment, SUCCEEDED)
        writer.end(state="SUCCEEDED")
    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, call, fail)
        Delivery(settings).deliver()
    assert spool_files(settings) == [job_id(assignment.lease.job)]
    assert not jobs.get(assignment.lease.job).tracking.complete
    Delivery(settings).deliver()
    (run,) = runs_of(tracking, spec, assignment.lease.job)
    assert len(tracking.list_artifacts(run.info.run_id, "weights")) == 2
    assert run.outputs is not None
    (logged,) = run.outputs.model_outputs
    assert mlflow.MlflowClient(settings.tracking_uri).get_logged_model(logged.model_id)
    assert spool_files(settings) == []


@contextmanager
def frozen(*processes: psutil.Process) -> Iterator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


@contextmanager
def standing_still(
    who: str, delivery: subprocess.Popen[bytes], server: Mlflow, proxy: Proxy
) -> Iterator[None]:
    """Stop a part in the middle of a call, for as long as the block takes."""
    num_asked = proxy.num_asked("/log-batch")

    def has_asked() -> bool:
        return proxy.num_asked("/log-batch") > num_asked

    if who == "delivery":
        proxy.holds = "/log-batch"
        wait_until(has_asked, timeout=60, what="it is in a call")
        with frozen(psutil.Process(delivery.pid)):
            proxy.opened.set()
            yield
    elif who == "MLflow":
        assert server.process is not None
        parent = psutil.Process(server.process.pid)
        with frozen(parent, *parent.children(recursive=True)):
            wait_until(has_asked, timeout=60, what="it is in a call")
            yield
    else:
        with closing(sqlite3.connect(server.folder / "mlflow.db", timeout=30)) as database:
            database.isolation_level = None
            database.execute("BEGIN EXCLUSIVE")
            wait_until(has_asked, timeout=60, what="it is in a call")
            yield
            database.execute("ROLLBACK")


@pytest.mark.parametrize("who", a_few(["MLflow", "MLflow's database", "delivery"], of=3))
def test_a_job_that_ends_while_a_part_stands_still_arrives_whole(
    who: str,
    jobs: Jobs,
    settings: Settings,
    tracking: mlflow.MlflowClient,
    mlflow_server: Mlflow,
    proxy: Proxy,
    tmp_path: Path,
) -> None:
    assignment = jobs.begin(spec := tiny_spec())
    name = assignment.lease.job
    log = tmp_path / "log"
    through = replace(settings, tracking_uri=proxy.url)

    def has_arrived() -> bool:
        try:
            (run,) = runs_of(tracking, spec, name)
            return steps_of(tracking, run, "train/loss")[-1:] == [30]
        except MlflowException:
            # A server that stood still closes the connections it kept; the next call opens one.
            return False

    delivery = start(
        [sys.executable, "-m", "talweg.worker.tracking"], log=log, env=environment(through)
    )
    try:
        with writer_of(assignment, settings.spool_dir) as writer:
            writer.flush()
            wait_until(lambda: runs_of(tracking, spec, name), timeout=60, what="a run")
            writer.points(losses(range(1, 11)))
            writer.flush()
            with standing_still(who, delivery, mlflow_server, proxy):
                writer.points(losses(range(11, 31)))
                jobs.finish(assignment, SUCCEEDED)
                writer.flush()
                seem_silent(writer)
            wait_until(has_arrived, timeout=60, what="what was written meanwhile has arrived")
            assert not jobs.get(name).tracking.complete
            writer.points(losses(range(31, 42)))
            writer.end(state="SUCCEEDED")
        wait_until(lambda: jobs.get(name).tracking.complete, timeout=60, what="delivered")
        wait_until(lambda: spool_files(settings) == [], timeout=20, what="the spool is empty")
    finally:
        stop(delivery)
    (run,) = runs_of(tracking, spec, name)
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "lr"):
        assert steps_of(tracking, run, metric) == list(range(1, 42))
