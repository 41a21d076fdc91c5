"""The tasks: what the network's outputs mean, which loss sees them, how they are judged."""

from talweg.worker.tasks._base import Predictions, TaskRunner
from talweg.worker.tasks._losses import ByVectors, leaves
from talweg.worker.tasks._make import TASKS, make
from talweg.worker.tasks._ordinal import is_conditional, rank_probabilities, shares_answers

__all__ = [
    "TASKS",
    "ByVectors",
    "Predictions",
    "TaskRunner",
    "is_conditional",
    "leaves",
    "make",
    "rank_probabilities",
    "shares_answers",
]
