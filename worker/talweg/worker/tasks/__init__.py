"""The tasks: what the network's outputs mean, which loss sees them, how they are judged.

A task is a `TaskRunner`: it says which named arrays it reads and what batches carry of them, gives
the loss of a batch, and judges a model by a `Meter`, batch by batch. `OneTarget` is the base of
tasks whose samples have one target each. To add a task: a class, and its row in `TASKS`.
"""

from talweg.worker.tasks._base import (
    Batch,
    Judged,
    Meter,
    Moment,
    Predictions,
    TaskRunner,
    Trial,
    shuffled,
)
from talweg.worker.tasks._boxes import COLUMNS, Choice, find_boxes
from talweg.worker.tasks._contract import Array
from talweg.worker.tasks._losses import ByVectors, leaves
from talweg.worker.tasks._make import TASKS, make
from talweg.worker.tasks._one_target import OneTarget
from talweg.worker.tasks._ordinal import is_conditional, rank_probabilities, shares_answers
from talweg.worker.tasks._vae import gives_probabilities

__all__ = [
    "COLUMNS",
    "TASKS",
    "Array",
    "Batch",
    "ByVectors",
    "Choice",
    "Judged",
    "Meter",
    "Moment",
    "OneTarget",
    "Predictions",
    "TaskRunner",
    "Trial",
    "find_boxes",
    "gives_probabilities",
    "is_conditional",
    "leaves",
    "make",
    "rank_probabilities",
    "shares_answers",
    "shuffled",
]
