"""Parts are killed in mid-job; every job still ends SUCCEEDED, once, with the same result."""

from collections.abc import Iterator

import mlflow
import pytest
from tests._parts import wait_until
from tests.integration.faults import kill_child, kill_server, kill_worker, wipe_broker
from tests.integration.stack import Stack, tiny_spec

from talweg.client import Client, Job

# Long enough on any machine to be killed in the middle.
STEPS = 12_000


def long_spec(name: str) -> dict[str, object]:
    return tiny_spec(
        display_name=name,
        experiment="faults",
        training={"steps": STEPS, "seed": 7, "evaluate_every_epochs": 50, "log_every_steps": 500},
    )


@pytest.fixture
def client(fragile_stack: Stack) -> Iterator[Client]:
    with Client(fragile_stack.address) as client:
        yield client


@pytest.fixture(scope="module")
def undisturbed(fragile_stack: Stack) -> dict[str, float]:
    """What the job gives when nobody disturbs it."""
    with Client(fragile_stack.address) as client:
        job = client.submit(long_spec("undisturbed"))
        return dict(job.wait(120).result().metrics)


def running(job: Job) -> None:
    """Waits until the job is in the middle of its steps."""
    wait_until(
        lambda: job.refresh().state == "RUNNING" and job.message.progress.step > STEPS // 20,
        timeout=60,
        what="the job is in the middle of its steps",
    )
    assert job.message.progress.step < STEPS


@pytest.mark.parametrize("fault", [kill_child, kill_worker, kill_server, wipe_broker])
def test_job_survives(fault, fragile_stack: Stack, client: Client, undisturbed) -> None:  # type: ignore[no-untyped-def]
    job = client.submit(long_spec(fault.__name__))
    waiting = client.submit(tiny_spec(experiment="faults"))
    running(job)
    fault(fragile_stack)
    metrics = job.wait(180).result().metrics
    comparable = {name for name in undisturbed if not name.startswith("throughput/")}
    assert {name: metrics[name] for name in comparable} == {
        name: undisturbed[name] for name in comparable
    }
    kinds = [event.WhichOneof("kind") for event in job.watch()]
    assert kinds.count("finished") == 1
    waiting.wait(60).result()
    if fault in (kill_child, kill_worker):
        assert job.message.attempt >= 2
    assert one_run_with_each_step_once(fragile_stack, job)


def one_run_with_each_step_once(stack: Stack, job: Job) -> bool:
    tracking = mlflow.MlflowClient(stack.tracking)
    wait_until(lambda: job.refresh().message.tracking.complete, timeout=90, what="delivered")
    experiment = tracking.get_experiment_by_name("faults")
    assert experiment is not None
    (run,) = tracking.search_runs([experiment.experiment_id], f"tags.`talweg.job` = '{job.id}'")
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "val/mae", "lr"):
        steps = [point.step for point in tracking.get_metric_history(run.info.run_id, metric)]
        assert steps
        assert sorted(steps) == sorted(set(steps))
    return True
