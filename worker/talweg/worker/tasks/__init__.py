"""The tasks: what the network's outputs mean, which loss sees them, how they are judged."""

from talweg.worker.tasks._base import Predictions, TaskRunner
from talweg.worker.tasks._losses import ByVectors, leaves
from talweg.worker.tasks._make import TASKS, make

__all__ = ["TASKS", "ByVectors", "Predictions", "TaskRunner", "leaves", "make"]
