"""Each family's example, submitted as people do, against a simple baseline on the same split."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.integration.stack import Stack

from talweg.client import Job
from talweg.worker import data

EXAMPLES = Path(__file__).parents[2] / "client/examples"

Submit = Callable[[str], Job]


@pytest.fixture(scope="module")
def ended(stack: Stack) -> Iterator[Submit]:
    """Submits an example and waits for its end, which must be a good one."""
    with stack.client() as client:

        def submit(name: str) -> Job:
            job = client.submit(EXAMPLES / name).wait(180)
            assert job.state == "SUCCEEDED", job.message
            return job

        yield submit


def test_ordinal_is_nearer_than_the_median_grade(ended: Submit) -> None:
    job = ended("ordinal_diabetes.yaml")
    bundle = data.load(job.spec)
    median = np.median(bundle.train.y.numpy())
    baseline = np.abs(bundle.test.y.numpy() - median).mean()
    assert job.result().metrics["test/mae"] < baseline - 0.2
