"""The picture of embeddings, as under metric learning."""

from talweg.worker.tasks.common.plots.task_plots import TaskPlots
from talweg.worker.tasks.metric_learning.plots import embeddings

PLOTS = TaskPlots(embeddings)
