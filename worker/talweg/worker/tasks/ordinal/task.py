"""Ordinal: the outputs are logits of yes-or-no answers, one at each step from rank to rank."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from talweg.spec import kind, output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts
from talweg.worker.models import share_answers
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import Floats, Predictions
from talweg.worker.tasks.common.class_counts import count_classes
from talweg.worker.tasks.common.single_target import OneTarget


def is_conditional(spec: JobSpec) -> bool:
    """Return whether each answer, rank > k, is given rank ≥ k; else each stands alone."""
    return output_of(spec.loss).kind == OutputFacts.CONDITIONAL_RANK_LOGITS


def shares_answers(spec: JobSpec) -> bool:
    """Return whether all answers come from one score, so that they never contradict each other."""
    return kind(spec.task)[0] == "ordinal" and not is_conditional(spec)


class Ordinal(OneTarget):
    """One rank out of several, whose order counts."""

    contract = {"x": Array(("N …",), "the inputs"), "y": Array(("N",), "ranks", whole=True)}

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data."""
        super().__init__(spec, bundle)
        self._conditional = is_conditional(spec)

    def class_counts(self, bundle: DataBundle) -> ClassCounts:
        """Count the ranks."""
        return count_classes(bundle.train.y, bundle.num_targets)

    def start(self, network: nn.Module) -> None:
        """Let the answers share their weights, except under corn."""
        if not self._conditional and isinstance(network, nn.Sequential):
            share_answers(network)

    def targets(self, y: Tensor) -> Tensor:
        """Return ranks (N,)."""
        return y

    def predict(self, outputs: Tensor, y: Tensor) -> Predictions:
        """Read the outputs as probabilities of rank > k; see `TaskRunner.predict`.

        The answer is the number of steps that are more likely taken than not.
        """
        values = outputs.to("cpu", torch.float64)
        above = values if self._ends_in == "sigmoid" else values.sigmoid()
        if self._conditional:
            above = above.cumprod(dim=1)
        answers = (above > 0.5).sum(dim=1)
        return Predictions(y.numpy(), answers.numpy(), rank_probabilities(above).numpy())

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Return mae, in ranks, and accuracy."""
        error: Floats = np.abs(predictions.y_pred - predictions.y_true).astype(np.float64)
        return {"mae": float(error.mean()), "accuracy": float((error == 0).mean())}


def rank_probabilities(above: Tensor) -> Tensor:
    """Turn probabilities of rank > k (N, K-1) into those of each rank (N, K).

    Where a later step is more likely than an earlier one, it counts as just as likely.
    """
    falling = above.cummin(dim=1).values
    ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([ones, falling], dim=1) - torch.cat([falling, zeros], dim=1)
