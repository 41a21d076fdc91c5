"""Small jobs, and what tests ask of them."""

from typing import Any

import torch
from torch import nn

from talweg.spec import fill, from_dict
from talweg.v1.jobs_pb2 import Job, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import diagnostics
from talweg.worker.training import Control, NeverStop, RecordingReporter, Result

DATASETS = {
    "regression": "diabetes",
    "binary": "breast_cancer",
    "multiclass": "wine",
    "ordinal": "diabetes",
    "multilabel": {"synthetic_multilabel": {"num_samples": 300}},
}

# The diabetes data: 266 training samples, 9 batches of 32 the last of which has 10.
STEPS_AN_EPOCH = 9
OF_TRAINING = (
    Warning.ZERO_GRADIENT,
    Warning.VANISHING_GRADIENT,
    Warning.EXPLODING_GRADIENT,
    Warning.FIRST_LOSS_FAR,
    Warning.LOSS_CONSTANT,
    Warning.DEAD_UNITS,
)
"""Warnings of how training goes."""


def job(**fields: Any) -> JobSpec:
    """Return a regression on diabetes, but for the fields given."""
    spec = {
        "task": "regression",
        "dataset": "diabetes",
        "model": {"mlp": {"hidden": [16]}},
        "loss": "mse",
        "training": {"epochs": 3},
        **fields,
    }
    return fill(from_dict(spec))


def run(
    spec: JobSpec, control: Control | None = None, *, may_be_unwell: bool = False
) -> tuple[Result, RecordingReporter]:
    """Run a job on the CPU, and give its result and what it told.

    Unless it may be unwell, training must not warn of how it goes: none of these jobs deserves it.
    """
    report = RecordingReporter()
    result = diagnostics.run(spec, report=report, control=control or NeverStop(), device="cpu")
    alarms = [warning for warning in report.warnings if warning.kind in OF_TRAINING]
    assert may_be_unwell or not alarms
    return result, report


def trained(spec: JobSpec) -> nn.Module:
    """Return the model of a job that must succeed."""
    result, _ = run(spec)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.model is not None
    return result.model


def flat(model: nn.Module) -> torch.Tensor:
    """Return all weights and buffers in one tensor."""
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def rare(loss: Any, share: float, task: str = "binary") -> JobSpec:
    shares = {"class_shares": [1 - share, share], "label_noise": 0, "num_samples": 2000}
    dataset = {"synthetic_classification": shares}
    return job(task=task, dataset=dataset, loss=loss, training={"steps": 1})
