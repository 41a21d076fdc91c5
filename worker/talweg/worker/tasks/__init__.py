"""The tasks: what the network's outputs mean, which loss sees them, how they are evaluated.

A task is a `TaskRunner`. It says which named arrays it reads and what batches carry of them, gives
the loss of a batch, and evaluates a model by a `MetricAccumulator`, batch by batch. `OneTarget` is
the base of tasks whose samples have one target each. To add a task, see `registry`.
"""

from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import (
    DryRun,
    EvalResult,
    MetricAccumulator,
    Predictions,
    StepInfo,
    TaskRunner,
    shuffled,
)
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.single_target import OneTarget
from talweg.worker.tasks.measure import measure
from talweg.worker.tasks.registry import TASKS, TaskEntry, make

__all__ = [
    "TASKS",
    "Array",
    "Batch",
    "EvalResult",
    "MetricAccumulator",
    "StepInfo",
    "OneTarget",
    "Predictions",
    "TaskEntry",
    "TaskRunner",
    "DryRun",
    "make",
    "measure",
    "shuffled",
]
