"""What MLflow shows of a job's data is that job's own."""

import json
from typing import Any

import mlflow
import pytest
from mlflow.entities import Dataset
from tests.worker._jobs import Jobs, tiny_spec
from tests.worker.tracking.spools import SUCCEEDED, runs_of, writer_of

from talweg.worker.settings import Settings
from talweg.worker.tracking.delivery import Delivery
from talweg.worker.tracking.outputs.training_data import training_data

FACTS: dict[str, Any] = {
    "kind": "data",
    "name": "diabetes",
    "digest": "0123456789abcdef" * 4,
    "num_train": 265,
    "num_targets": 1,
    "target_names": ["score"],
}
ORDINAL = {
    "task": "ordinal",
    "loss": "coral",
}


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        (ORDINAL, {}),
        ({"split": {"seed": 1}}, {}),
        ({"split": {"train": 0.5, "validation": 0.3}}, {}),
        ({"preprocessing": {"standardise_inputs": False}}, {}),
        ({"preprocessing": {"target_outliers": {}}}, {}),
        ({"preprocessing": {"target_outliers": {"seed": 3}}}, {}),
        ({"dataset": {"synthetic_regression": {"seed": 2}}}, {}),
        ({}, {"num_targets": 5}),
        ({}, {"digest": "f" * 64}),
    ],
)
def test_the_digest_covers_what_the_job_sees(
    fields: dict[str, Any], facts: dict[str, Any]
) -> None:
    base = training_data(tiny_spec(), FACTS)
    other = training_data(tiny_spec(**fields), {**FACTS, **facts})
    assert other.digest != base.digest
    assert other.name == base.name == "diabetes"
    assert len(base.digest) == 8


@pytest.mark.parametrize(
    "fields",
    [
        {"loss": "mse"},
        {"training": {"steps": 7, "seed": 4}},
        {"display_name": "another", "tags": {"a": "b"}},
    ],
)
def test_jobs_that_see_the_same_share_a_data_set(fields: dict[str, Any]) -> None:
    assert training_data(tiny_spec(**fields), FACTS) == training_data(tiny_spec(), FACTS)


def test_each_run_shows_the_data_of_its_own_job(
    jobs: Jobs, settings: Settings, delivery: Delivery, tracking: mlflow.MlflowClient
) -> None:
    specs = [
        tiny_spec(experiment="own data", split={"seed": 0}),
        tiny_spec(experiment="own data", split={"seed": 1}),
        tiny_spec(experiment="own data", **ORDINAL),
    ]
    names = []
    for spec in specs:
        assignment = jobs.begin(spec)
        with writer_of(assignment, settings.spool_dir) as writer:
            jobs.finish(assignment, SUCCEEDED)
            writer.end(state="SUCCEEDED")
        names.append(assignment.lease.job)
    delivery.deliver()

    def data_of(job: str) -> Dataset:
        (run,) = runs_of(tracking, specs[0], job)
        assert run.inputs is not None
        (data,) = run.inputs.dataset_inputs
        return data.dataset

    first, second, ordinal = (data_of(name) for name in names)
    assert json.loads(first.source)["split"]["seed"] == 0
    assert json.loads(second.source)["split"]["seed"] == 1
    assert "ordinal" in json.dumps(json.loads(ordinal.source)["task"])
    assert len({first.digest, second.digest, ordinal.digest}) == 3


def test_a_users_data_set_is_named_by_its_own_digest_whatever_a_job_makes_of_it() -> None:
    stored = {"label": "houses@01234567", "num_samples": 442, "columns": {"age": "number"}}
    facts = {**FACTS, "name": "houses", "stored": stored}
    one = training_data(tiny_spec(), facts)
    other = training_data(tiny_spec(split={"seed": 1}), {**facts, "num_targets": 3})
    assert one == other
    assert (one.name, one.digest) == ("houses", "01234567")
    profile = json.loads(one.profile)
    assert profile["columns"] == {"age": "number"}
    assert profile["num_samples"] == 442
    assert json.loads(one.source) == {"stored": f"datasets/houses@{FACTS['digest']}"}
