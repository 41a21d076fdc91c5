"""Jobs in the sandbox, without a server."""

from collections.abc import Mapping
from typing import Any

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.sandbox.sandbox import Sandbox
from talweg.worker.training import Result, Snapshot, Stop, Store
from talweg.worker.training.interface import RecordingReporter


class Told(RecordingReporter):
    """What a job in the sandbox has told."""

    facts: Mapping[str, Any] | None = None

    def data_facts(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts


class StopAt:
    """Stops a run once it has told of so many steps."""

    def __init__(self, told: Told, step: int = 10**9) -> None:
        self._told, self._step = told, step

    @property
    def is_due(self) -> bool:
        return self._told.steps >= self._step

    def check(self) -> Stop | None:
        return Stop("shutdown", "as the test says") if self.is_due else None


class MemoryStore:
    """Keeps the last snapshot."""

    def __init__(self) -> None:
        self.kept: tuple[int, Snapshot] | None = None

    def load(self) -> Snapshot | None:
        return None if self.kept is None else self.kept[1]

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        tensors = {name: each.clone() for name, each in snapshot.tensors.items()}
        self.kept = step, Snapshot(tensors, dict(snapshot.values))
        return True


def run(
    sandbox: Sandbox,
    spec: JobSpec,
    *,
    report: Told | None = None,
    stop_at: int = 10**9,
    store: Store | None = None,
) -> Result:
    """Run a job to its end, or until it has told of a step."""
    report = report or Told()
    control = StopAt(report, stop_at)
    return sandbox.run(spec, report=report, control=control, device="cpu", store=store)
