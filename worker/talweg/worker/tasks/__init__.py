"""The tasks: what the network's outputs mean, which loss sees them, how they are evaluated.

A task is a `TaskRunner`. It says which named arrays it reads and what batches carry of them, gives
the loss of a batch, and evaluates a model by a `MetricAccumulator`, batch by batch. `OneTarget` is
the base of tasks whose samples have one target each. To add a task: a folder, and its row in
`TASKS`.
"""

from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import (
    Batch,
    DryRun,
    EvalResult,
    MetricAccumulator,
    Predictions,
    StepInfo,
    TaskRunner,
    shuffled,
)
from talweg.worker.tasks.common.criterion import ByVectors, leaves
from talweg.worker.tasks.common.single_target import OneTarget
from talweg.worker.tasks.detection.predictions import COLUMNS, Choice, find_boxes
from talweg.worker.tasks.ordinal.task import is_conditional, rank_probabilities, shares_answers
from talweg.worker.tasks.registry import TASKS, make
from talweg.worker.tasks.vae.task import gives_probabilities

__all__ = [
    "COLUMNS",
    "TASKS",
    "Array",
    "Batch",
    "ByVectors",
    "Choice",
    "EvalResult",
    "MetricAccumulator",
    "StepInfo",
    "OneTarget",
    "Predictions",
    "TaskRunner",
    "DryRun",
    "find_boxes",
    "gives_probabilities",
    "is_conditional",
    "leaves",
    "make",
    "rank_probabilities",
    "shares_answers",
    "shuffled",
]
