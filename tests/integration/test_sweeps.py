"""Sweeps on a whole stack: real jobs, and parts that are killed meanwhile."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tests._parts import wait_until
from tests.integration.faults import kill_child, kill_server, kill_worker, wipe_broker
from tests.integration.stack import Stack, start_stack, tiny_spec

from talweg.client import Client, Job, SweepState

# It tells of the machine.
CLOCKED = ("throughput/samples_per_second",)


def sweep_spec(steps: int, **fields: Any) -> dict[str, Any]:
    """Three losses at two rates."""
    base = tiny_spec(training={"steps": steps, "evaluate_every_epochs": 1})
    return {
        "base": base,
        "space": [
            {"path": "loss", "values": ["mse", "mae", "log_cosh"]},
            {"path": "optimizer.adamw.learning_rate", "values": [0.001, 0.01]},
        ],
        "objective": "val/mae",
        "cache": "off",
        **fields,
    }


def outcome(client: Client, name: str) -> list[Any]:
    """Return what a sweep has come to: its trials, and how they are ranked."""
    sweep = client.get_sweep(name)
    listed = list(sweep.trials())
    ranked = [trial.number for trial in sweep.trials(best=True)]
    found = [
        (trial.number, trial.label, trial.is_final, str(trial.state), trial.value, trial.sd)
        for trial in listed
    ]
    return [found, ranked]


def test_values_are_compared_by_jobs_that_are_trained(stack: Stack) -> None:
    spec = sweep_spec(5, compare={"path": "loss", "baseline": "mse", "final_seeds": 2})
    with Client(stack.address) as client:
        sweep = client.sweep(spec)
        sweep.wait()
        assert sweep.state == SweepState.SUCCEEDED
        trials = list(sweep.trials())
        assert len(trials) == 6 + 3
        # What decided is the best evaluation of the weights that were kept.
        for trial in trials[:6]:
            (job,) = (client.job(name) for name in trial.jobs)
            best = job.message.outcome.weights_step
            values = dict(job.metrics(points=True).series("val/mae"))
            assert trial.value == pytest.approx(values[best or max(values)])
        answer = sweep.answer()
        assert not answer.is_provisional
        assert "test/mae over fresh seeds" in answer.text
        assert answer.comparison is not None
        assert [group.count for group in answer.comparison.groups] == [2, 2, 2]
        wait_until(
            lambda: sweep.refresh().message.tracking.complete,
            timeout=60,
            what="its summary is in MLflow",
        )
        tracking = sweep.message.tracking
        assert sweep.tracking_url == tracking.url
        run = MlflowClient(stack.tracking).get_run(tracking.run_id)
        assert run.data.tags["talweg.sweep"] == sweep.id
        compared = {f"mean/test/mae of {loss}" for loss in ("mse", "mae", "log_cosh")}
        assert compared <= run.data.metrics.keys()


def longer(epochs: int, **fields: Any) -> dict[str, Any]:
    """Two settings, of a network that draws dropout and keeps running statistics."""
    base = {
        "task": "multiclass",
        "dataset": "wine",
        "model": {"mlp": {"hidden": [8], "dropout": 0.2}},
        "loss": "cross_entropy",
        "outputs": {"plots": False},
        "training": {"epochs": epochs, "log_every_steps": 3},
    }
    space = [{"path": "optimizer.adamw.learning_rate", "values": [0.003, 0.03]}]
    return {"base": base, "space": space, **fields}


def result_of(job: Job) -> list[Any]:
    """Return all that a job has come to."""
    outcome = job.message.outcome
    found = job.metrics(points=True)
    summaries = [
        (name, each.first, each.last, each.best, each.best_step, each.count)
        for name, each in sorted(found.summaries.items())
        if name not in CLOCKED
    ]
    # Of the training's points the record keeps some, by the clock; of evaluations all.
    names = [name for name, *_ in summaries if name.startswith(("val/", "test/"))]
    series = {name: list(found.series(name)) for name in names}
    return [outcome.weights_sha256, outcome.weights_step, summaries, series]


def test_jobs_with_more_epochs_go_on_and_end_as_if_trained_from_the_beginning(
    stack: Stack,
) -> None:
    with Client(stack.address) as client:
        short = client.sweep(longer(3)).wait()
        asked = client.sweep(longer(7), edits=short.name, validate_only=True)
        found = asked.difference
        assert found is not None
        assert (found.num_again, found.num_continued, found.num_taken_over) == (2, 2, 0)
        assert all("training.epochs 3 -> 7" in each.why for each in found.settings)
        going_on = client.sweep(longer(7)).wait()
        anew = client.sweep(longer(7, cache="off")).wait()
        assert [each.message.num_continued for each in (going_on, anew)] == [2, 0]
        for one, other in zip(going_on.jobs(), anew.jobs(), strict=True):
            assert one.message.spec.continued_from.as_whole
            assert result_of(one) == result_of(other)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    stack = start_stack(tmp_path, TALWEG_LEASE_SECONDS="3", TALWEG_MAX_LOST_ATTEMPTS="20")
    yield stack
    stack.stop()


FAULTS: list[Callable[[Stack], None]] = [
    kill_server,
    kill_child,
    wipe_broker,
    kill_server,
    kill_worker,
    kill_server,
]


@pytest.mark.faults
def test_a_sweep_whose_parts_are_killed_ends_as_an_undisturbed_one(own_stack: Stack) -> None:
    spec = sweep_spec(
        3_000, seeds=3, parallel=4, compare={"path": "loss", "final_seeds": 4}, failure_budget=0
    )
    with Client(own_stack.address) as client:
        calm = client.sweep(spec)
        calm.wait()
        assert calm.state == SweepState.SUCCEEDED
        expected = outcome(client, calm.name)
        assert len(expected[0]) == 6 + 3
        stormy = client.sweep(spec)
        num_ended = 0
        for fault in FAULTS:

            def more_have_ended(last: int = num_ended) -> int:
                counts = stormy.refresh().message.jobs
                ended = sum(each.count for each in counts if each.state >= 4)
                return ended if ended > last else 0

            # In each part of its life.
            num_ended = wait_until(more_have_ended, timeout=90, what="another job has ended")
            wait_until(own_stack.worker_child, timeout=60, what="a child trains")
            fault(own_stack)
            time.sleep(0.5)
        stormy.wait()
        assert stormy.state == SweepState.SUCCEEDED
        assert outcome(client, stormy.name) == expected
        jobs = client.jobs(filter=f'tags.sweep = "{stormy.id}"', limit=1000)
        assert len(list(jobs)) == 6 * 3 + 3 * 4
