"""Which experiment in MLflow a job's run is in."""

import pytest

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.job_delivery.home import experiment_of


@pytest.mark.parametrize(
    ("begin", "experiment"),
    [
        ({"project": "default"}, "losses"),
        ({"project": ""}, "losses"),
        # A spool of a version without projects.
        ({}, "losses"),
        ({"project": "vision"}, "vision/losses"),
    ],
)
def test_experiments_of_two_projects_are_never_one(begin: dict[str, str], experiment: str) -> None:
    assert experiment_of(begin, JobSpec(experiment="losses")) == experiment
