"""What may change where a job continues another."""

from typing import Any

import pytest

from talweg.spec import (
    check,
    check_continuation,
    continuation_changes,
    continuation_warnings,
    fill,
    from_dict,
)
from talweg.spec.checks.continuation import remaining_share
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec

CHECKPOINT = Checkpoint(step=90, epoch=10)


def spec(**fields: Any) -> JobSpec:
    whole = {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [8]}},
        "loss": "mse",
        "training": {"epochs": 10},
        **fields,
    }
    return fill(from_dict(whole))


def continuing(**fields: Any) -> JobSpec:
    return spec(**{"continued_from": "jobs/a", "training": {"epochs": 20}, **fields})


def test_a_job_file_names_the_job() -> None:
    after = continuing()
    assert after.continued_from.job == "jobs/a"
    assert check(after)[0] == []
    assert check_continuation(spec(), after, CHECKPOINT) == []
    (violation,) = check(continuing(continued_from="a"))[0]
    assert violation.field == "continued_from.job"
    assert "jobs/ID" in violation.allowed
    (violation,) = check(continuing(continued_from={"step": 3}))[0]
    assert violation.field == "continued_from"


@pytest.mark.parametrize(
    "fields",
    [
        {"training": {"steps": 91}},
        {"optimizer": {"adamw": {"learning_rate": 0.1}}},
        {"schedule": "cosine"},
        {"display_name": "longer", "experiment": "other", "tags": {"a": "b"}, "priority": 3},
        {"training": {"epochs": 11, "early_stopping": {}, "clip_norm": 1.0}},
        {"outputs": {"model": False}, "resources": {"time_limit_seconds": 5}},
    ],
)
def test_this_may_change(fields: dict[str, Any]) -> None:
    assert check_continuation(spec(), continuing(**fields), CHECKPOINT) == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": {"mlp": {"hidden": [9]}}}, "model.mlp.hidden"),
        ({"loss": "mae"}, "loss.mae"),
        ({"split": {"seed": 1}}, "split.seed"),
        ({"preprocessing": {"standardise_inputs": False}}, "preprocessing.standardise_inputs"),
        ({"training": {"epochs": 20, "batch_size": 16}}, "training.batch_size"),
        ({"training": {"epochs": 20, "accumulation": 2}}, "training.accumulation"),
        ({"training": {"epochs": 20, "seed": 1}}, "training.seed"),
        ({"training": {"epochs": 20, "guard": "skip"}}, "training.guard"),
        ({"training": {"epochs": 20, "spikes": "rollback"}}, "training.spikes"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"training": {"epochs": 10}}, "training.epochs"),
        ({"training": {"steps": 90}}, "training.steps"),
    ],
)
def test_this_may_not(fields: dict[str, Any], path: str) -> None:
    violations = check_continuation(spec(), continuing(**fields), CHECKPOINT)
    assert any(violation.field.startswith(path) for violation in violations), violations
    assert all("jobs/a" in violation.allowed for violation in violations)


def test_a_spec_of_before_there_were_spike_policies_warned_of_none() -> None:
    before = spec()
    before.training.ClearField("spikes")
    assert check_continuation(before, continuing(), CHECKPOINT) == []


def test_all_that_changed_is_told() -> None:
    after = continuing(optimizer={"adamw": {"learning_rate": 0.5}}, display_name="longer")
    changes = continuation_changes(spec(), after)
    assert changes["training.epochs"] == ("10", "20")
    assert changes["optimizer.adamw.learning_rate"][1] == "0.5"
    assert set(changes) == {"training.epochs", "optimizer.adamw.learning_rate"}
    steps = continuation_changes(spec(), continuing(training={"steps": 200}))
    assert steps == {"training.epochs": ("10", "nothing"), "training.steps": ("nothing", "200")}


def test_a_schedule_that_has_ended_at_0_trains_nothing_and_is_refused() -> None:
    after = continuing(schedule="cosine", training={"steps": 91})
    (violation,) = check_continuation(spec(schedule="cosine"), after, CHECKPOINT)
    assert violation.field == "schedule.cosine"
    assert "learning rate 0" in violation.found
    assert "train more steps" in violation.hint
    for way_out in (
        {"schedule": "constant", "training": {"steps": 91}},
        {"schedule": {"cosine": {"final_share": 0.1}}, "training": {"steps": 91}},
        {"schedule": "cosine", "training": {"steps": 180}},
    ):
        assert check_continuation(spec(), continuing(**way_out), CHECKPOINT) == []
        assert continuation_warnings(continuing(**way_out), CHECKPOINT) == []


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_remaining_learning_rates_near_0_are_warned_of(schedule: str) -> None:
    after = continuing(schedule=schedule, training={"epochs": 11})
    assert check_continuation(spec(), after, CHECKPOINT) == []
    (warning,) = continuation_warnings(after, CHECKPOINT)
    assert warning.field == f"schedule.{schedule}"
    assert "hardly change the weights" in warning.message
    assert "Train longer" in warning.message
    longer = continuing(schedule=schedule, training={"epochs": 30})
    assert continuation_warnings(longer, CHECKPOINT) == []


def test_a_schedule_without_an_end_is_not_judged() -> None:
    for schedule in ("constant", "step", "plateau"):
        after = continuing(schedule=schedule, training={"steps": 91})
        assert remaining_share(after, CHECKPOINT) is None
