"""Curricula in job files: what is filled in, and what is refused."""

from typing import Any

import pytest

from talweg.spec import check, check_continuation, fill, from_dict, to_dict
from talweg.v1.jobs_pb2 import Checkpoint
from talweg.v1.spec_pb2 import JobSpec

BY_ARRAY = {"difficulty": {"array": "count"}}


def job(curriculum: Any = None, **changes: Any) -> JobSpec:
    spec: dict[str, Any] = {
        "task": "multiclass",
        "dataset": "digits",
        "model": "mlp",
        "loss": "cross_entropy",
        "training": {"epochs": 10},
        **changes,
    }
    if curriculum is not None:
        spec["training"] = {**spec["training"], "curriculum": curriculum}
    return fill(from_dict(spec))


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert "curriculum" not in to_dict(job().training)


def test_defaults_are_filled_in() -> None:
    assert to_dict(job({}).training.curriculum) == {
        "start_share": 0.3,
        "rising_share": 0.5,
        "difficulty": {"first_pass": {"epochs": 1}},
    }
    assert job(BY_ARRAY).training.curriculum.difficulty.array.name == "count"


@pytest.mark.parametrize(
    ("curriculum", "changes", "field", "text"),
    [
        ({"start_share": 0}, {}, "training.curriculum.start_share", "a number > 0"),
        ({"rising_share": 1.5}, {}, "training.curriculum.rising_share", "<= 1"),
        ({"difficulty": {"array": {}}}, {}, "training.curriculum.difficulty.array.name", ""),
        (
            {}, {"task": "metric_learning", "model": "embedder", "loss": "triplet"},
            "training.curriculum", "a curriculum with task metric_learning; allowed none",
        ),
        (
            BY_ARRAY,
            {"task": "gan", "dataset": "gaussian_ring", "model": "adversarial", "loss": "gan"},
            "training.curriculum", "a curriculum with task gan; allowed none",
        ),
        (
            {}, {"task": "vae", "model": "autoencoder", "loss": "vae"},
            "training.curriculum.difficulty", "first_pass with task vae; allowed array",
        ),
        (
            {}, {"training": {"epochs": 2}}, "training.epochs",
            "2 epochs with a curriculum; allowed at least 3 epochs, so that 2 are left after",
        ),
        (BY_ARRAY, {"training": {"epochs": 1}}, "training.epochs", "1 epoch with a curriculum"),
        (
            # 1,079 samples: 17 steps an epoch.
            BY_ARRAY, {"training": {"steps": 17, "batch_size": 64}}, "training.steps",
            "1 epoch with a curriculum; allowed at least 2",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(
    curriculum: Any, changes: dict[str, Any], field: str, text: str
) -> None:
    (violation,) = check(job(curriculum, **changes))[0]
    assert violation.field == field
    assert text in str(violation)


@pytest.mark.parametrize(
    ("curriculum", "changes"),
    [
        ({}, {"training": {"epochs": 3}}),
        ({"difficulty": {"first_pass": {"epochs": 0}}}, {"training": {"epochs": 2}}),
        (BY_ARRAY, {"training": {"steps": 18, "batch_size": 64}}),
        (BY_ARRAY, {"task": "vae", "model": "autoencoder", "loss": "vae"}),
    ],
)
def test_what_can_be_is_not(curriculum: Any, changes: dict[str, Any]) -> None:
    assert check(job(curriculum, **changes)) == ([], [])


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({}, {"start_share": 0.5, "rising_share": 0.9}, []),
        (None, {}, ["training.curriculum.difficulty.first_pass.epochs"]),
        ({}, None, ["training.curriculum.difficulty.first_pass.epochs"]),
        (
            {}, BY_ARRAY,
            ["training.curriculum.difficulty.array.name",
             "training.curriculum.difficulty.first_pass.epochs"],
        ),
    ],
)  # fmt: skip
def test_a_job_goes_on_by_the_difficulties_that_it_has(
    before: Any, after: Any, fields: list[str]
) -> None:
    violations = check_continuation(
        job(before), job(after, training={"epochs": 20}), Checkpoint(step=340, epoch=10)
    )
    assert [violation.field for violation in violations] == fields
