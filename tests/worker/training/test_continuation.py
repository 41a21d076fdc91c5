"""Jobs that go on where others have ended."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import job, run
from tests.worker.training.killing import Disk, assert_same_weights, points_of
from tests.worker.training.resumable import BATCH_NORM

from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec, Training
from talweg.worker import diagnostics, training
from talweg.worker.training import NeverStop, RecordingReporter, Result, Snapshot


class Continuing(Disk):
    """Gives a state of another job."""

    def __init__(self, folder: Path, report: RecordingReporter, start: Snapshot) -> None:
        super().__init__(folder, report)
        self._start = start

    def load(self) -> Snapshot | None:
        return self._start


def end_of(spec: JobSpec, folder: Path) -> Snapshot:
    """Return the state in which a job ends."""
    report = RecordingReporter()
    disk = Disk(folder, report)
    diagnostics.run(spec, report=report, control=NeverStop(), device="cpu", store=disk)
    end = disk.load()
    assert end is not None
    return end


def continued(before: JobSpec, after: JobSpec, folder: Path) -> tuple[Result, RecordingReporter]:
    start = training.continued(end_of(before, folder), before, after)
    report = RecordingReporter()
    store = Continuing(folder, report, start)
    result = diagnostics.run(after, report=report, control=NeverStop(), device="cpu", store=store)
    return result, report


def longer(epochs: int = 0, *, steps: int = 0, **fields: Any) -> JobSpec:
    length = {"steps": steps} if steps else {"epochs": epochs}
    early = fields.pop("early_stopping", None)
    more = {"early_stopping": early} if early else {}
    return job(
        model=BATCH_NORM,
        training={**length, "log_every_steps": 1, "accumulation": 2, **more},
        **{"optimizer": {"adamw": {"learning_rate": 0.02}}, **fields},
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"schedule": {"plateau": {"patience": 1}}},
        {"early_stopping": {"patience": 100}},
        {"optimizer": {"sgd": {"learning_rate": 0.01, "momentum": 0.9}}},
    ],
    ids=["constant", "plateau", "early stopping", "momentum"],
)
def test_more_epochs_are_as_if_they_had_been_asked_for_at_once(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    whole, undisturbed = run(longer(9, **fields))
    result, report = continued(longer(4, **fields), longer(9, **fields), tmp_path)
    assert_same_weights(result, whole)
    # Five optimizer steps of two batches each in an epoch.
    steps = 4 * 5
    assert points_of(report) == [each for each in points_of(undisturbed) if each[0] > steps]


def test_more_steps_are_as_if_they_had_been_asked_for_at_once(tmp_path: Path) -> None:
    stopping: dict[str, Any] = {"early_stopping": {"patience": 100}}
    whole, undisturbed = run(longer(steps=23, **stopping))
    # With the end of an epoch.
    result, report = continued(
        longer(steps=10, **stopping), longer(steps=23, **stopping), tmp_path
    )
    assert_same_weights(result, whole)
    assert points_of(report) == [each for each in points_of(undisturbed) if each[0] > 10]


def test_the_points_that_are_logged_are_those_of_the_longer_job(tmp_path: Path) -> None:
    whole, short = longer(9), longer(4)
    whole.training.log_every_steps = short.training.log_every_steps = 3
    _, undisturbed = run(whole)
    _, report = continued(short, whole, tmp_path)
    # The 20th step, with which the first part ends, has a point there alone.
    after = [each for each in points_of(undisturbed) if each[0] > 20]
    assert points_of(report) == after
    assert 22 in [step for step, _ in after]


@pytest.mark.parametrize(("was", "now"), [("fp32", "fp16"), ("fp16", "fp32"), ("fp16", "bf16")])
def test_it_goes_on_in_another_precision(was: str, now: str, tmp_path: Path) -> None:
    before, after = longer(2), longer(3)
    before.training.precision = Training.Precision.Value(was)
    after.training.precision = Training.Precision.Value(now)
    result, report = continued(before, after, tmp_path)
    assert result.state == Job.SUCCEEDED, result.message
    scales = [values for _, values in points_of(report) if "guard/loss_scale" in values]
    assert bool(scales) == (now == "fp16")


def test_it_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    whole, _ = run(longer(steps=40))
    result, report = continued(longer(steps=13), longer(steps=40), tmp_path)
    assert_same_weights(result, whole)
    assert report.points[0][0] == 14


def test_another_rate_holds_at_once(tmp_path: Path) -> None:
    # The rate of the first has fallen several times by its end.
    falling = {"plateau": {"patience": 1, "metric": "val/mae", "factor": 0.1}}
    before = longer(20, schedule=falling, optimizer={"adamw": {"learning_rate": 1.0}})
    assert end_of(before, tmp_path).values["state"]["falls"] > 0
    after = longer(22, schedule=falling, optimizer={"adamw": {"learning_rate": 0.001}})
    _, report = continued(before, after, tmp_path)
    assert report.series("lr")[0] == (101, 0.001)


def test_what_stopped_early_goes_on(tmp_path: Path) -> None:
    early = {"metric": "val/loss", "patience": 1}
    before = longer(40, early_stopping=early, optimizer={"adamw": {"learning_rate": 0.3}})
    start = end_of(before, tmp_path)
    assert start.values["state"]["stopped_early"]
    stopped = start.values["state"]["step"]
    after = longer(41, early_stopping={**early, "patience": 3})
    result, _ = continued(before, after, tmp_path)
    assert result.steps > stopped
    # Without early stopping the last weights are taken, and not those of a best evaluation.
    without = longer(stopped // 5 + 2)
    result, report = continued(before, without, tmp_path)
    assert result.steps == stopped + 10
    assert not any("are restored" in line for line in report.lines)


def test_another_metric_is_watched_from_the_beginning(tmp_path: Path) -> None:
    before = longer(6, early_stopping={"metric": "val/loss", "patience": 50})
    after = longer(8, early_stopping={"metric": "val/r2", "patience": 50})
    start = training.continued(end_of(before, tmp_path), before, after)
    assert start.values["state"]["stopping"]["step"] == 0
    assert not any(name.startswith("state/best") for name in start.tensors)
    result, _ = continued(before, after, tmp_path)
    assert result.model is not None
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
