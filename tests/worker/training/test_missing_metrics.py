"""A metric without a value decides nothing: it is said, and neither better nor worse."""

import math
from dataclasses import asdict
from typing import Any

import pytest

from talweg.spec import from_dict, undefined_when
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.worker.training import NeverStop, RecordingReporter, Result, run
from talweg.worker.training.monitors.recorder import Recorder
from talweg.worker.training.state.training_state import BestValue

NAN = math.nan


def detection(**fields: Any) -> dict[str, Any]:
    """Return a job that finds no right box as long as it lasts."""
    return {
        "task": "detection",
        "dataset": {"digit_scenes": {"num_samples": 20}},
        "model": {"detector": {"channels": [4], "stride": 8}},
        "loss": "detection",
        "optimizer": {"adamw": {"learning_rate": 1e-7}},
        "outputs": {"model": False, "plots": False},
        **fields,
    }


def trained(spec: dict[str, Any]) -> tuple[Result, RecordingReporter]:
    report = RecordingReporter()
    result = run(from_dict(spec), report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


def undefined(report: RecordingReporter) -> list[Warning]:
    return [found for found in report.warnings if found.kind == Warning.METRIC_UNDEFINED]


def test_early_stopping_does_not_count_evaluations_without_a_value() -> None:
    early = {"metric": "val/mean_iou", "patience": 3}
    result, report = trained(detection(training={"epochs": 12, "early_stopping": early}))

    assert not report.series("val/mean_iou")
    assert len(report.series("val/loss")) == 12
    assert result.steps == 12
    said = [line for line in report.lines if "val/mean_iou has no value" in line]
    assert len(said) == 1
    assert "no predicted box is correct yet" in said[0]
    assert any("The last weights are taken: val/mean_iou never" in line for line in report.lines)
    (warning,) = undefined(report)
    assert warning.field == "training.early_stopping.metric"
    assert "val/mean_iou has never had a value in 10 evaluations in a row" in warning.message
    assert "no predicted box is correct yet" in warning.message
    assert "val/loss" in warning.message


def test_a_short_training_is_not_warned_of() -> None:
    early = {"metric": "val/mean_iou", "patience": 3}
    _, report = trained(detection(training={"epochs": 9, "early_stopping": early}))
    assert not undefined(report)


def test_a_plateau_and_the_best_checkpoint_do_not_count_them_either() -> None:
    spec = detection(
        schedule={"plateau": {"metric": "val/mean_iou", "patience": 1}},
        training={"epochs": 11, "log_every_steps": 1, "checkpoints": {"keep_best": True}},
    )
    _, report = trained(spec)
    assert {rate for _, rate in report.series("lr")} == {1e-7}
    fields = {warning.field for warning in undefined(report)}
    assert fields == {"schedule.plateau.metric", "training.checkpoints.keep_best"}


@pytest.mark.parametrize("maximise", [True, False])
def test_what_is_no_number_is_neither_better_nor_worse(maximise: bool) -> None:
    sign = 1.0 if maximise else -1.0
    best = BestValue()

    def see(value: float, step: int) -> tuple[bool, int, int]:
        better = best.see(sign * value, step=step, maximise=maximise)
        return better, best.waited, best.missing

    assert see(NAN, 1) == (False, 0, 1)
    assert see(NAN, 2) == (False, 0, 2)
    assert see(1.0, 3) == (True, 0, 0)
    assert see(0.5, 4) == (False, 1, 0)
    assert see(NAN, 5) == (False, 1, 1)
    assert see(0.7, 6) == (False, 2, 0)
    assert see(-math.inf, 7) == (False, 3, 0)
    assert see(1.5, 8) == (True, 0, 0)
    assert (best.best, best.step) == (sign * 1.5, 8)


def test_a_checkpoint_of_an_earlier_version_still_says_what_was_best() -> None:
    values = asdict(BestValue(0.5, 7, 2))
    values.pop("missing")
    assert BestValue(**values) == BestValue(0.5, 7, 2)


def test_what_is_not_finite_is_said_once() -> None:
    report = RecordingReporter()
    recorder = Recorder(report, every_steps=None, clips=False)
    for step in (1, 2):
        recorder.evaluation(step, "val", {"loss": NAN, "mae": 1.0, "rmse": math.inf})
    kept = Recorder(report, every_steps=None, clips=False)
    kept.restore({}, recorder.values())
    kept.evaluation(3, "val", {"loss": NAN, "mae": 1.0})

    assert [value for _, value in report.series("val/mae")] == [1.0, 1.0, 1.0]
    assert not report.series("val/loss")
    assert len([line for line in report.lines if "val/loss is nan at step 1" in line]) == 1
    assert len([line for line in report.lines if "val/rmse is inf at step 1" in line]) == 1
    assert len(report.lines) == 2


def test_metrics_say_when_they_have_no_value() -> None:
    spec = from_dict(detection())
    assert undefined_when(spec, "val/mean_iou") == "no predicted box is correct yet"
    assert undefined_when(spec, "val/map_50") == "the split has no object"
    assert undefined_when(spec, "val/loss") == ""
    binary = from_dict({"task": "binary"})
    assert "one class only" in undefined_when(binary, "test/auroc")
