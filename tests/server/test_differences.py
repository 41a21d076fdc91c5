"""What of specs decides what comes of a job."""

from typing import Any

import pytest
from tests.server.samples import spec

from talweg.server.differences import differing, is_repetition, num_repeats
from talweg.spec import fill
from talweg.v1.spec_pb2 import JobSpec


def given(**fields: Any) -> JobSpec:
    return fill(spec(**fields))


@pytest.mark.parametrize(
    ("one", "other", "paths"),
    [
        ({"training": {"seed": 1}}, {"training": {"seed": 2}}, ["training.seed"]),
        ({"loss": "mse"}, {"loss": "huber"}, ["loss"]),
        ({"loss": "huber"}, {"loss": {"huber": {"delta": 2}}}, ["loss.huber.delta"]),
        ({"training": {"epochs": 3}}, {"training": {"steps": 3}},
         ["training.epochs", "training.steps"]),
        ({"training": {"epochs": 9, "curriculum": {}}}, {"training": {"epochs": 9}},
         ["training.curriculum"]),
        ({"training": {"curriculum": {}}}, {"training": {"curriculum": {"start_share": 0.5}}},
         ["training.curriculum.start_share"]),
        ({"training": {"log_every_steps": 1}}, {"training": {"log_every_steps": 7}}, []),
        ({"training": {"checkpoints": {"every_steps": 5}}},
         {"training": {"checkpoints": {"every_steps": 9}}}, []),
        ({"display_name": "a", "tags": {"k": "v"}, "experiment": "e"}, {"priority": 3}, []),
        ({"continued_from": {"job": "jobs/a"}}, {}, ["continued_from"]),
    ],
)  # fmt: skip
def test_paths(one: dict[str, Any], other: dict[str, Any], paths: list[str]) -> None:
    assert differing([given(**one), given(**other), given(**one)]) == paths
    assert num_repeats([given(**one), given(**other), given(**one)]) == (1 if paths else 2)


def test_each_seed_goes_on_with_a_job_of_its_own() -> None:
    jobs = [
        given(continued_from={"job": f"jobs/{seed}"}, training={"seed": seed}) for seed in (1, 2)
    ]
    assert differing(jobs) == ["training.seed"]
    same_seed = [given(continued_from={"job": f"jobs/{name}"}) for name in "ab"]
    assert num_repeats(same_seed) == 0


def test_seeds_of_split_and_data_are_seeds_too() -> None:
    batch = [
        given(
            split={"seed": seed},
            preprocessing={"target_outliers": {"seed": seed}},
            training={"seed": seed, "epochs": 1 + seed},
        )
        for seed in (1, 2)
    ]
    assert [path for path in differing(batch) if not is_repetition(path)] == ["training.epochs"]
