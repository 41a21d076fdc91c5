"""Embeddings, which the outputs are, as under metric learning."""

from talweg.worker.tasks.metric_learning.predictions import POSTPROCESSORS, postprocessor

__all__ = ["POSTPROCESSORS", "postprocessor"]
