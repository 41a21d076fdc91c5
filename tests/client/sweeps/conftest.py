"""One server for the tests of sweeps: the others show that it does not matter which."""

from collections.abc import Callable, Iterator

import pytest
from tests.client.faulty import FaultyServer
from tests.client.sweeps.training import Training, Value
from tests.client.worker import Worker


@pytest.fixture
def service(faulty: FaultyServer) -> FaultyServer:
    """The server in this process."""
    return faulty


@pytest.fixture
def train(worker: Worker) -> Iterator[Callable[[Value], Training]]:
    """Begins to train all jobs, until the test has ended."""
    trainings: list[Training] = []

    def begin(value: Value) -> Training:
        trainings.append(Training(worker, value))
        return trainings[-1]

    yield begin
    for training in trainings:
        training.stop()
