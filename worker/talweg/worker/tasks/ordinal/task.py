"""Ordinal: the outputs are binary logits, one at each step from rank to rank."""

import numpy as np
import torch
from torch import Tensor, nn

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts
from talweg.worker.models import share_answers
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.class_counts import count_classes
from talweg.worker.tasks.common.single_target import OneTarget
from talweg.worker.tasks.ordinal.predictions import (
    Ranks,
    postprocessor,
    rank_probabilities,
    shares_weights,
)


class Ordinal(OneTarget):
    """One rank out of several, whose order counts."""

    postprocess: Ranks
    contract = {"x": Array(("N …",), "the inputs"), "y": Array(("N",), "ranks", whole=True)}

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        self._shares_weights = shares_weights(spec)

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the ranks."""
        return count_classes(bundle.train.y, bundle.num_targets)

    def start(self, network: nn.Module) -> None:
        """Let the outputs share their weights, except under corn."""
        if self._shares_weights and isinstance(network, nn.Sequential):
            share_answers(network)

    def targets(self, y: Tensor) -> Tensor:
        """Return ranks (N,)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of rank > k; see `TaskRunner.predict`.

        What is predicted is the number of steps that are more likely taken than not.
        """
        above = self.postprocess.above(outputs.to("cpu", torch.float64))
        ranks = (above > 0.5).sum(dim=1)
        return Predictions(y.numpy(), ranks.numpy(), rank_probabilities(above).numpy())

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return mae, in ranks, and accuracy."""
        error: Floats = np.abs(predictions.y_pred - predictions.y_true).astype(np.float64)
        return {"mae": float(error.mean()), "accuracy": float((error == 0).mean())}
