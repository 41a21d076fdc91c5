"""Whole runs that are killed or sent away again and again, and end as if they never had been."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job
from tests.worker.training.killing import (
    Disk,
    Killed,
    SendsAwayAt,
    assert_same_weights,
    points_of,
    run_killed,
    with_checkpoints,
)
from tests.worker.training.resumable import every_case, resumable, undisturbed

from talweg.blobs import Blobs
from talweg.v1.jobs_pb2 import Job
from talweg.worker import diagnostics
from talweg.worker.training import NeverStop, RecordingReporter, Stop
from talweg.worker.training.guard.overflow import LARGEST_WEIGHT
from talweg.worker.training.state import checkpoint_files


@every_case
def test_killed_again_and_again_it_ends_the_same(name: str, tmp_path: Path) -> None:
    spec = resumable(name)
    whole, expected = undisturbed(name)

    result, report, disk = run_killed(spec, tmp_path, name)
    assert_same_weights(result, whole)
    assert points_of(report) == points_of(expected)
    assert report.tables == expected.tables
    # The last is that of the end; those between stand where they were asked for.
    assert disk.steps[-1] == result.steps
    assert {step % 3 for step in disk.steps[:-1]} == {0}
    assert disk.epochs == sorted(disk.epochs)


@every_case
def test_given_back_in_order_it_loses_no_step(name: str, tmp_path: Path) -> None:
    spec = resumable(name)
    whole, expected = undisturbed(name)

    drawn = random.Random(name)
    report = RecordingReporter()
    disk = Disk(tmp_path, report)
    stopped: list[int] = []
    while True:
        control = SendsAwayAt(drawn.randrange(1, 8))
        result = diagnostics.run(spec, report=report, control=control, device="cpu", store=disk)
        if result.state != Job.QUEUED:
            break
        assert disk.steps[-1] == result.steps
        stopped.append(result.steps)
    assert len(stopped) >= 2
    assert_same_weights(result, whole)
    assert points_of(report) == points_of(expected)
    assert report.tables == expected.tables


@pytest.mark.parametrize("name", ["binary, RMSprop, early stopping", "multilabel, Adagrad"])
def test_killed_after_its_last_step_it_only_tests_again(name: str, tmp_path: Path) -> None:
    class DiesInTheEnd(RecordingReporter):
        has_died = False

        def metrics(self, step: int, values: Any) -> None:
            if any(metric.startswith("test/") for metric in values) and not self.has_died:
                self.has_died = True
                raise Killed
            super().metrics(step, values)

    spec = resumable(name)
    whole, expected = undisturbed(name)
    report = DiesInTheEnd()
    disk = Disk(tmp_path, report)
    with pytest.raises(Killed):
        diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    report.steps = 0
    result = diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    assert report.steps == 0
    assert_same_weights(result, whole)
    assert points_of(report) == points_of(expected)
    assert report.tables == expected.tables


def test_a_short_job_keeps_its_end_alone(tmp_path: Path) -> None:
    for model, kept in ((True, 1), (False, 0)):
        report = RecordingReporter()
        disk = Disk(tmp_path, report)
        spec = job(outputs={"model": model})
        assert spec.outputs.checkpoint is model
        diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
        assert len(disk.steps) == kept


def test_time_alone_asks_for_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of this test goes a second a step."""
    report = RecordingReporter()
    now = [0.0]
    monkeypatch.setattr("talweg.worker.training.state.checkpoints.time.monotonic", lambda: now[0])

    class Ticks:
        def check(self) -> Stop | None:
            now[0] += 1
            return None

    disk = Disk(tmp_path, report)
    spec = with_checkpoints(job(training={"steps": 50}), every_seconds=20)
    diagnostics.run(spec, report=report, control=Ticks(), device="cpu", store=disk)
    assert disk.steps == [21, 41, 50]


def test_slow_writing_makes_them_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = RecordingReporter()
    now = [0.0]
    monkeypatch.setattr("talweg.worker.training.state.checkpoints.time.monotonic", lambda: now[0])

    class Ticks:
        def check(self) -> Stop | None:
            now[0] += 1
            return None

    class Slow(Disk):
        def save(self, *args: Any, **kwargs: Any) -> bool:
            now[0] += 2
            return super().save(*args, **kwargs)

    disk = Slow(tmp_path, report)
    spec = with_checkpoints(job(training={"steps": 300}), every_seconds=20)
    diagnostics.run(spec, report=report, control=Ticks(), device="cpu", store=disk)
    assert disk.steps == [21, 121, 221, 300]


def test_the_best_evaluation_is_kept(tmp_path: Path) -> None:
    report = RecordingReporter()
    disk = Disk(tmp_path, report)
    spec = job(
        optimizer={"adamw": {"learning_rate": 0.05}},
        training={"epochs": 12, "checkpoints": {"keep_best": True, "every_steps": 30}},
    )
    diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    losses = report.series("val/loss")
    best_step, _ = min(losses, key=lambda point: point[1])
    assert 0 < best_step < 12 * 9, "a job whose best evaluation is its last tells nothing"
    assert disk.best[-1] == best_step
    best = checkpoint_files.read(Blobs(str(tmp_path)), "best").snapshot
    assert best.values["state"]["step"] == best_step
    assert best.values["state"]["leading"]["step"] == best_step
    last = checkpoint_files.read(Blobs(str(tmp_path)), "last").snapshot
    name = "model/linear1.weight"
    assert not torch.equal(best.tensors[name], last.tensors[name])


class FullAtFirst(Disk):
    """A disk that does not take what it is offered first."""

    def __init__(self, folder: Path, report: RecordingReporter, refusals: int) -> None:
        super().__init__(folder, report)
        self._refusals = refusals
        self.offered: list[int | None] = []

    def save(self, *args: Any, **kwargs: Any) -> bool:
        best = kwargs["best"]
        self.offered.append(best and best[0])
        return len(self.offered) > self._refusals and super().save(*args, **kwargs)


def test_the_best_is_offered_until_it_is_taken(tmp_path: Path) -> None:
    def disk_after(refusals: int) -> FullAtFirst:
        report = RecordingReporter()
        disk = FullAtFirst(tmp_path, report, refusals)
        spec = job(
            optimizer={"adamw": {"learning_rate": 0.05}},
            training={"epochs": 12, "checkpoints": {"keep_best": True, "every_steps": 20}},
        )
        diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
        return disk

    offered = disk_after(0).offered
    last = max(number for number, best in enumerate(offered) if best)
    assert last + 1 < len(offered), "a job whose last checkpoint holds the best tells nothing"
    disk = disk_after(last + 1)
    assert disk.offered[last + 1] == offered[last]
    assert disk.best == [offered[last]]


def test_weights_that_run_away_are_not_kept(tmp_path: Path) -> None:
    # Decay multiplies the weights by 1 - 10,000 in each step, and mae stays finite for long.
    optimizer = {"adamw": {"learning_rate": 1000, "weight_decay": 10}}
    lines: list[str] = []
    for last in range(3, 9):
        report = RecordingReporter()
        disk = Disk(tmp_path, report)
        spec = job(
            model="linear",
            loss="mae",
            optimizer=optimizer,
            training={"steps": last, "checkpoints": {"every_steps": 1}},
        )
        result = diagnostics.run(
            spec, report=report, control=NeverStop(), device="cpu", store=disk
        )
        kept = checkpoint_files.read(Blobs(str(tmp_path)), "last").snapshot
        assert kept.values["state"]["step"] == disk.steps[-1]
        assert kept.tensors["model/linear1.weight"].abs().max() <= LARGEST_WEIGHT
        if result.state == Job.DIVERGED:
            assert disk.steps[-1] < last
        lines += report.lines
    assert any("weights have diverged in linear1.weight" in line for line in lines)


def test_a_divergence_names_the_last_checkpoint(tmp_path: Path) -> None:
    spec = job(optimizer={"sgd": {"learning_rate": 2.0}}, training={"steps": 400})
    report = RecordingReporter()
    result = diagnostics.run(spec, report=report, control=NeverStop())
    assert result.divergence is not None
    assert not result.divergence.HasField("good_step")
    disk = Disk(tmp_path, report := RecordingReporter())
    again = diagnostics.run(
        with_checkpoints(spec, every_steps=2), report=report, control=NeverStop(), store=disk
    )
    assert again.divergence is not None
    assert again.divergence.good_step == disk.steps[-1] > 0
    full = FullAtFirst(tmp_path, report := RecordingReporter(), refusals=1000)
    nowhere = diagnostics.run(
        with_checkpoints(spec, every_steps=2), report=report, control=NeverStop(), store=full
    )
    assert full.offered
    assert nowhere.divergence is not None
    assert not nowhere.divergence.HasField("good_step")
    assert again.divergence.step == result.divergence.step
