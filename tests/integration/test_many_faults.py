"""Parts are killed again and again, at random, under load. Minutes long: `make faults`."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.faults import (
    end_worker,
    kill_child,
    kill_server,
    kill_worker,
    wipe_broker,
)
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client

pytestmark = pytest.mark.faults

NUM_JOBS = 24
NUM_FAULTS = 24
STEPS = 8_000
FAULTS = [kill_child, kill_worker, end_worker, kill_server, wipe_broker]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    settings = {"TALWEG_LEASE_SECONDS": "5", "TALWEG_MAX_LOST_ATTEMPTS": str(NUM_FAULTS)}
    stack = start_stack(tmp_path, **settings)
    yield stack
    stack.stop()


def test_all_jobs_end_once_and_alike(stack: Stack, tmp_path: Path) -> None:
    chance = random.Random(0)
    with Client(stack.address) as client:
        jobs = client.submit_many(
            tiny_spec(
                seed=index % 2,
                experiment="storm",
                model={"mlp": {"hidden": [8], "batch_norm": True, "dropout": 0.1}},
                training={
                    "steps": STEPS,
                    "seed": index % 2,
                    "evaluate_every_epochs": 100,
                    "log_every_steps": 100,
                    "checkpoints": {"every_steps": 700},
                },
                outputs={"model": True, "plots": False},
            )
            for index in range(NUM_JOBS)
        )
        for _ in range(NUM_FAULTS):
            wait_until(lambda: stack.worker_child(), timeout=60, what="a child trains")
            # When in a job's life the fault comes is the chance that is wanted here.
            time.sleep(chance.uniform(0.2, 4))
            chance.choice(FAULTS)(stack)
        results = [job.wait(5400).result() for job in jobs]
        for seed in range(2):
            assert len({result.metrics["test/mae"] for result in results[seed::2]}) == 1
        for job in jobs:
            kinds = [event.WhichOneof("kind") for event in job.watch()]
            assert kinds.count("finished") == 1
        wait_until(
            lambda: all(job.refresh().message.tracking.complete for job in jobs),
            timeout=600,
            what="all are delivered",
        )
        assert max(job.message.attempt for job in jobs) > 1
    tracking = mlflow.MlflowClient(stack.tracking)
    experiment = tracking.get_experiment_by_name("storm")
    assert experiment is not None
    runs = tracking.search_runs([experiment.experiment_id], max_results=1000)
    assert sorted(run.data.tags["talweg.job"] for run in runs) == sorted(job.id for job in jobs)
    first: dict[str, tuple[str, dict[int, float], bytes]] = {}
    for run in runs:
        run_id = run.info.run_id
        history = tracking.get_metric_history(run_id, "train/loss")
        points = {point.step: point.value for point in history}
        assert len(points) == len(history)
        weights = tracking.download_artifacts(run_id, "weights/weights.safetensors", str(tmp_path))
        # The same points and the same weights, bit for bit, however often a job was stopped.
        mine = (run.data.tags["talweg.job"], points, Path(weights).read_bytes())
        name, wanted, wanted_weights = first.setdefault(run.data.params["training.seed"], mine)
        differing = sorted(step for step, _ in points.items() ^ wanted.items())
        assert not differing, f"{mine[0]} and {name} differ in steps {differing[:10]}"
        assert mine[2] == wanted_weights, f"{mine[0]} and {name} differ in their weights"
    assert first.keys() == {"0", "1"}
