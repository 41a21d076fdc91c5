"""What metrics cost a training process while they are delivered to MLflow.

Run with `make bench`, or alone: `python -m tests.benchmarks.delivered`. This process is the
worker: it takes jobs from a real server and carries them out, while a delivery process sends what
they spool to a real MLflow. Jobs at the default interval are held against the same jobs with the
first and the last step's metrics alone.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
from tests._parts import (
    Mlflow,
    free_port,
    running_redis,
    running_server,
    start,
    stop,
    wait_until,
)
from tests.benchmarks.pairs import one_thread, ratio, timed
from tests.benchmarks.table import Row, render

from talweg.client import Client
from talweg.worker.channels import Channel
from talweg.worker.execution.answering import Answering
from talweg.worker.execution.attempt import WorkerContext

STEPS = 6000
NUM_PAIRS = 11
GOAL = 1.02
_NEVER = 1_000_000


def measure() -> list[Row]:
    """Return the figure of delivery."""
    with one_thread(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tracking = Mlflow(folder / "mlflow", free_port())
        try:
            tracking.start()
            with running_redis(folder) as broker, running_server(folder, broker) as server:
                return [_measure(folder, server.address, tracking.url)]
        finally:
            tracking.stop()


def _measure(folder: Path, address: str, tracking: str) -> Row:
    spool = folder / "spool"
    env = {
        "TALWEG_ADDRESS": address,
        "TALWEG_TRACKING_URI": tracking,
        "TALWEG_SPOOL_DIR": str(spool),
    }
    command = [sys.executable, "-m", "talweg.worker.tracking", str(os.getpid())]
    delivery = start(command, log=folder / "delivery.log", env=env)
    answering = Answering(
        WorkerContext(
            Channel(address),
            spool_dir=spool,
            blobs=str(folder / "blobs"),
            worker="bench",
            has_cuda=False,
        )
    )
    try:
        with Client(address) as client:

            def trained(**training: Any) -> Callable[[], None]:
                def run() -> None:
                    job = client.submit(_spec(training))
                    assert answering.answer("default") == 1
                    jobs.append(job.id)

                return run

            jobs: list[str] = []
            with_metrics, without = trained(), trained(log_every_steps=_NEVER)
            with_metrics()
            without()
            found = ratio(timed(with_metrics), timed(without), num_pairs=NUM_PAIRS)
        points = [_points(tracking, job) for job in jobs]
    finally:
        stop(delivery)
    many, few = max(points), min(points)
    assert few == 2
    assert many > few
    return found.row(
        "metrics delivered to MLflow against none: MLP, 10 thousand parameters, batches of 64",
        goal=GOAL,
        remark=f"{STEPS} steps; up to {many} points a metric against {few}, all counted in MLflow",
    )


def _spec(training: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": "regression",
        "dataset": {"synthetic_regression": {"num_samples": 4000, "num_features": 64}},
        "loss": "mse",
        "model": {"mlp": {"hidden": [96, 38]}},
        "split": {"train": 1, "validation": 0, "test": 0},
        "training": {"steps": STEPS, "batch_size": 64, **training},
        "outputs": {"model": False, "plots": False},
        "experiment": "delivered",
    }


def _points(tracking: str, job: str) -> int:
    """Point of the training loss of a job, once it is delivered."""
    client = mlflow.MlflowClient(tracking)

    def run() -> str:
        experiment = client.get_experiment_by_name("delivered")
        if experiment is None:
            return ""
        found = client.search_runs(
            [experiment.experiment_id],
            f"tags.`talweg.job` = '{job}' AND attributes.status = 'FINISHED'",
        )
        return found[0].info.run_id if found else ""

    run_id = wait_until(run, timeout=120, what=f"{job} delivered")
    return len(client.get_metric_history(run_id, "train/loss"))


if __name__ == "__main__":
    print(render(measure()))
