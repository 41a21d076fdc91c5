"""A worker that gives the jobs of sweeps the results that a test wants."""

import threading
from collections.abc import Callable
from typing import Any

from tests.client.samples import sample
from tests.client.worker import Worker

from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec

Value = Callable[[JobSpec], float | jobs_pb2.Job.State.ValueType]
"""The metric of a job; a state, which is an int, where it does not succeed."""


class Training:
    """Trains jobs in a thread until it is stopped."""

    def __init__(self, worker: Worker, value: Value) -> None:
        self._worker, self._value = worker, value
        self._stopped = threading.Event()
        self.num_trained = 0
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def stop(self) -> None:
        """Claim no further job."""
        self._stopped.set()
        self._thread.join(120)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopped.is_set():
            attempt = self._worker.try_claim()
            if attempt is None:
                self._stopped.wait(0.02)
                continue
            value = self._value(attempt.spec)
            if isinstance(value, int):
                attempt.finish(value, message="no luck")
            else:
                attempt.finish(metrics={"val/mae": value, "test/mae": value})
            self.num_trained += 1


def sweep(**fields: Any) -> dict[str, Any]:
    """Return a sweep of two losses and two learning rates in JSON form."""
    base = {name: value for name, value in sample().items() if name != "loss"}
    return {
        "base": base,
        "space": [
            {"path": "loss", "values": ["mse", "mae"]},
            {"path": "optimizer.adamw.learning_rate", "values": [0.01, 0.001]},
        ],
        "objective": "val/mae",
        **fields,
    }


def by_setting(spec: JobSpec) -> float:
    """Return a metric that follows the setting, and a little the seed: 10.1 is the least."""
    loss = 10.0 if spec.loss.WhichOneof("kind") == "mae" else 20.0
    return loss + 100 * spec.optimizer.adamw.learning_rate + spec.training.seed % 7 / 100
