"""Which experiment in MLflow a run is in."""

import pytest

from talweg.worker.tracking.experiments import experiment_name


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("default", "losses"),
        ("", "losses"),
        # A spool of a version without projects.
        (None, "losses"),
        ("vision", "vision/losses"),
    ],
)
def test_experiments_of_two_projects_are_never_one(project: str | None, name: str) -> None:
    assert experiment_name("losses", project) == name
