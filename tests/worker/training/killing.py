"""Runs that are killed or sent away in the middle, and what they leave."""

import random
from pathlib import Path
from typing import Any

import torch

from talweg.blobs import Blobs
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.training import NeverStop, RecordingReporter, Result, Snapshot, Stop
from talweg.worker.training.state import checkpoint_files


class Killed(BaseException):
    """Stands for kill -9: nothing of the training catches it."""


class Disk:
    """Keeps snapshots in files, and what was told before each."""

    def __init__(self, folder: Path, report: RecordingReporter) -> None:
        self._blobs, self._report = Blobs(str(folder)), report
        self.steps: list[int] = []
        self.epochs: list[int] = []
        self.best: list[int] = []
        self._told = 0

    def load(self) -> Snapshot | None:
        # A spool is read up to what the checkpoint stands on; MLflow drops the steps after it.
        del self._report.points[self._told :]
        return checkpoint_files.read(self._blobs, "last").snapshot if self.steps else None

    def save(
        self, snapshot: Snapshot, *, step: int, epoch: int, best: tuple[int, Snapshot] | None
    ) -> bool:
        checkpoint_files.write(self._blobs, "last", snapshot, {})
        if best is not None:
            checkpoint_files.write(self._blobs, "best", best[1], {})
            self.best.append(best[0])
        self.steps.append(step)
        self.epochs.append(epoch)
        self._told = len(self._report.points)
        return True


class DiesAt(RecordingReporter):
    """Is killed at some steps of a run, or after some."""

    def __init__(self, drawn: random.Random) -> None:
        super().__init__()
        self._drawn = drawn
        self.next_death = 0
        self.deaths = 0

    def live_on(self) -> None:
        self.next_death = self.steps + self._drawn.randrange(2, 12)

    def progress(self, step: int, total_steps: int, epoch: int, total_epochs: int) -> None:
        super().progress(step, total_steps, epoch, total_epochs)
        if step >= self.next_death:
            self.deaths += 1
            raise Killed


class SendsAwayAt:
    """A worker that shuts down after some steps."""

    def __init__(self, count: int) -> None:
        self._left = count

    def check(self) -> Stop | None:
        self._left -= 1
        return Stop("shutdown") if self._left == 0 else None


def points_of(report: RecordingReporter) -> list[tuple[int, dict[str, float]]]:
    return [
        (step, {name: v for name, v in values.items() if not name.startswith("throughput/")})
        for step, values in report.points
    ]


def with_checkpoints(spec: JobSpec, **settings: Any) -> JobSpec:
    changed = JobSpec()
    changed.CopyFrom(spec)
    for name, value in settings.items():
        setattr(changed.training.checkpoints, name, value)
    return changed


def assert_same_weights(one: Result, other: Result) -> None:
    assert one.state == other.state == Job.SUCCEEDED, (one.message, other.message)
    assert one.steps == other.steps
    assert one.model is not None
    assert other.model is not None
    mine, theirs = one.model.state_dict(), other.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def run_killed(
    spec: JobSpec, folder: Path, seed: int | str, *, at_least: int = 2
) -> tuple[Result, DiesAt, Disk]:
    """Run a job that is killed again and again, and goes on from its last checkpoint each time.

    Args:
        spec: Filled.
        folder: For its checkpoints, one every third step.
        seed: Decides when it is killed.
        at_least: How often it must have been.
    """
    report = DiesAt(random.Random(seed))
    disk = Disk(folder, report)
    spec = with_checkpoints(spec, every_steps=3)
    while True:
        report.live_on()
        try:
            result = diagnostics.run(
                spec, report=report, control=NeverStop(), device="cpu", store=disk
            )
        except Killed:
            continue
        assert report.deaths >= at_least
        return result, report, disk


def assert_exact_when_killed(
    spec: JobSpec,
    folder: Path,
    seed: int | str,
    undisturbed: tuple[Result, RecordingReporter],
    *,
    at_least: int = 2,
) -> None:
    """Killed again and again, a job ends bit for bit as it does undisturbed, with its points."""
    result, report, _ = run_killed(spec, folder, seed, at_least=at_least)
    whole, reported = undisturbed
    assert_same_weights(result, whole)
    assert points_of(report) == points_of(reported)
