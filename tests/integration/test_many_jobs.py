"""Many small jobs in one call: none lost, none doubled, one run each."""

from collections import Counter

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client, Job

NUM_JOBS = 50


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> list[Job]:
    with Client(stack.address) as client:
        specs = [tiny_spec(seed, experiment="many") for seed in range(NUM_JOBS)]
        jobs = client.submit_many(specs)
        names = {job.name for job in jobs}
        assert len(names) == NUM_JOBS

        for job in jobs:
            assert job.wait(720).state == "SUCCEEDED"
        return [client.job(job.name).refresh() for job in jobs]


def test_each_runs_once(jobs: list[Job], stack: Stack) -> None:
    assert Counter(job.message.attempt for job in jobs) == {1: NUM_JOBS}
    with Client(stack.address) as client:
        for job in jobs[::5]:
            kinds = [event.WhichOneof("kind") for event in client.job(job.name).watch()]
            assert kinds.count("finished") == 1
            assert kinds[-1] == "finished"


def test_different_seeds_give_different_results(jobs: list[Job], stack: Stack) -> None:
    with Client(stack.address) as client:
        comparison = client.compare(jobs[:10], metric="test/mae", group_by=["training.seed"])
    assert len({group.mean for group in comparison.groups}) == 10


def test_tracking_holds_one_run_a_job(jobs: list[Job], stack: Stack) -> None:
    with Client(stack.address) as client:

        def delivered() -> bool:
            found = client.jobs(filter='experiment = "many"')
            return all(job.message.tracking.complete for job in found)

        wait_until(delivered, timeout=240, what="all runs are in MLflow")
    tracking = mlflow.MlflowClient(stack.tracking)
    experiment = tracking.get_experiment_by_name("many")
    assert experiment is not None
    runs = tracking.search_runs(
        [experiment.experiment_id], "attributes.status = 'FINISHED'", max_results=1000
    )
    assert sorted(run.data.tags["talweg.job"] for run in runs) == sorted(job.id for job in jobs)
