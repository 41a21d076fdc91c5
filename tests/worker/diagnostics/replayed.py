"""Jobs whose every state is kept, and replays of their steps."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from talweg.v1.replay_pb2 import ReplayReport
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.diagnostics.replay.report import make_report
from talweg.worker.diagnostics.replay.steps import ReplaySteps
from talweg.worker.training import NeverStop, RecordingReporter, Result, Snapshot

JOB = "jobs/original"


@dataclass
class Kept:
    """A store that keeps every state in memory."""

    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    start: int | None = None

    def load(self) -> Snapshot | None:
        return None if self.start is None else self.snapshots[self.start]

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        tensors = {name: tensor.clone() for name, tensor in snapshot.tensors.items()}
        self.snapshots[step] = Snapshot(tensors, dict(snapshot.values))
        return True


class Original:
    """A job that was trained, with all that it told and went through."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = JobSpec()
        self.spec.CopyFrom(spec)
        self.spec.training.log_every_steps = 1
        self.spec.training.checkpoints.every_steps = 1
        self.store, self.report = Kept(), RecordingReporter()
        self.result = diagnostics.run(
            self.spec, report=self.report, control=NeverStop(), device="cpu", store=self.store
        )
        self.losses = dict(self.report.series("train/loss"))
        self.norms = dict(self.report.series("guard/grad_norm"))

    def weights(self, step: int) -> dict[str, Tensor]:
        """Return network, loss and optimizer after a step."""
        tensors = self.store.snapshots[step].tensors
        return {
            name: tensor
            for name, tensor in tensors.items()
            if name.partition("/")[0] in ("model", "loss", "optimizer", "random")
        }

    def replay(self, step: int, *, start: int = 0, without: tuple[int, ...] = ()) -> "Replayed":
        """Replay a step from the state after another; 0 for the initial one."""
        spec = JobSpec()
        spec.CopyFrom(self.spec)
        spec.replay.job, spec.replay.step = JOB, step
        spec.replay.without.extend(without)
        report = RecordingReporter()
        store = Kept(self.store.snapshots, start or None)
        result = diagnostics.run(
            spec, report=report, control=NeverStop(), device="cpu", store=store
        )
        return Replayed(result, report)


@dataclass
class Replayed:
    """A replay that is over."""

    result: Result
    told: RecordingReporter

    @property
    def report(self) -> ReplayReport:
        """What it has shown."""
        assert self.result.replay is not None, self.result.message
        return self.result.replay


class Watched:
    """Takes the state in which replays leave the training after their step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.weights: dict[str, Tensor] = {}

        def watch(spec: JobSpec, steps: ReplaySteps, **more: Any) -> ReplayReport:
            self.weights = dict(steps._undo.capture().tensors)
            return make_report(spec, steps, **more)

        monkeypatch.setattr("talweg.worker.diagnostics.replay.replayer.make_report", watch)

    def assert_is(self, weights: dict[str, Tensor]) -> None:
        """Check that they are the same to the last bit."""
        assert self.weights.keys() == weights.keys()
        # Buffers may be NaN before they hold anything.
        pairs = {name: (self.weights[name], tensor) for name, tensor in weights.items()}
        different = [
            name
            for name, (one, other) in pairs.items()
            if not torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
        ]
        assert not different
