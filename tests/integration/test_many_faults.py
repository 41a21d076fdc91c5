"""Parts are killed again and again, at random, under load. Minutes long: `make faults`."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.faults import kill_child, kill_server, kill_worker, wipe_broker
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client

pytestmark = pytest.mark.faults

NUM_JOBS = 24
NUM_FAULTS = 24
STEPS = 8_000


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    settings = {"TALWEG_LEASE_SECONDS": "5", "TALWEG_MAX_LOST_ATTEMPTS": str(NUM_FAULTS)}
    stack = start_stack(tmp_path, **settings)
    yield stack
    stack.stop()


def test_all_jobs_end_once_and_alike(stack: Stack) -> None:
    chance = random.Random(0)
    with Client(stack.address) as client:
        jobs = client.submit_many(
            tiny_spec(
                seed=index % 2,
                experiment="storm",
                training={"steps": STEPS, "seed": index % 2, "evaluate_every_epochs": 100},
            )
            for index in range(NUM_JOBS)
        )
        for _ in range(NUM_FAULTS):
            wait_until(lambda: stack.worker_child(), timeout=60, what="a child trains")
            # When in a job's life the fault comes is the chance that is wanted here.
            time.sleep(chance.uniform(0.2, 4))
            chance.choice([kill_child, kill_worker, kill_server, wipe_broker])(stack)
        results = [job.wait(900).result() for job in jobs]
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
    for run in runs:
        steps = [p.step for p in tracking.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(steps) == sorted(set(steps))
