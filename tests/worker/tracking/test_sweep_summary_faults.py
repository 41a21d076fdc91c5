"""Summaries of sweeps while deliveries, the server and MLflow are killed or frozen."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import mlflow
import psutil
import pytest
from tests._parts import Mlflow, Server, free_port, running_server, stop, wait_until
from tests.worker._jobs import Jobs, jobs_of
from tests.worker.tracking.test_process import delivering
from tests.worker.tracking.test_sweep_summaries import Swept, summaries

from talweg.worker.settings import Settings

pytestmark = pytest.mark.faults


@pytest.fixture
def own_server(tmp_path: Path, redis_url: str) -> Iterator[Server]:
    with running_server(tmp_path / "server", redis_url) as server:
        yield server


@pytest.fixture
def own_mlflow(tmp_path: Path) -> Iterator[Mlflow]:
    server = Mlflow(folder=tmp_path / "mlflow", port=free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def signal_all(server: Mlflow, number: signal.Signals) -> None:
    """Freeze an MLflow server and its workers, or have them go on."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            os.kill(each.pid, number)


def test_each_sweep_has_one_summary_whatever_is_killed(
    own_server: Server, own_mlflow: Mlflow, settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, address=own_server.address, tracking_uri=own_mlflow.url)
    tracking = mlflow.MlflowClient(own_mlflow.url)
    with jobs_of(own_server.address) as jobs:
        ended = list(_storm(jobs, own_server, own_mlflow, settings, tmp_path))
        with delivering(settings, tmp_path / "last.log"):

            def all_complete() -> bool:
                return all(each.get().tracking.complete for each in ended)

            # What a dead one held is another's after a minute, and half a minute later it is sure.
            wait_until(all_complete, timeout=150, what="all summaries are in MLflow")
        for number, each in enumerate(ended):
            (run,) = summaries(tracking, f"storm {number}")
            assert each.get().tracking.run_id == run.info.run_id
            assert run.info.status == "FINISHED"
            assert run.data.metrics["best/val/mae"] == pytest.approx(1.0)
            files = [file.path for file in tracking.list_artifacts(run.info.run_id)]
            assert files == ["report.html", "sweep.yaml"]


def _storm(
    jobs: Jobs, server: Server, mlflow_server: Mlflow, settings: Settings, folder: Path
) -> Iterator[Swept]:
    """Yield sweeps that have ended while something was killed or frozen."""
    for number in range(8):
        swept = Swept(jobs, f"storm {number}")
        with delivering(settings, folder / f"delivery-{number}.log") as process:
            if number % 2:
                signal_all(mlflow_server, signal.SIGSTOP)
            swept.work()
            if number % 4 == 2:
                server.kill()
                server.start()
            # Somewhere between the claim and the last file: a fresh process takes a while to load.
            until = time.monotonic() + 12
            while not swept.get().tracking.run_id and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.02 * number)
            process.send_signal(signal.SIGKILL)
            stop(process)
            signal_all(mlflow_server, signal.SIGCONT)
        yield swept
