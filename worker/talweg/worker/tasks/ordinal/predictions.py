"""Probabilities of ranks, of outputs that say at each step how likely a rank is beyond it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from talweg.spec import kind, output_activation, output_of
from talweg.v1.options_pb2 import OutputFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.tasks.common.postprocessing import ACTIVATIONS, Activation, Postprocessor


@dataclass(frozen=True)
class Ranks(Postprocessor):
    """Probabilities (N, K) of the ranks, of outputs (N, K-1)."""

    kind = "ranks"
    activation: Activation
    """What turns outputs into probabilities of rank > k; none where they are such already."""
    conditional: bool
    """Whether the probability of rank > k is given rank ≥ k."""

    def above(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of rank > k (N, K-1)."""
        above = ACTIVATIONS[self.activation](outputs)
        return above.cumprod(dim=1) if self.conditional else above

    def __call__(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of each rank."""
        return rank_probabilities(self.above(outputs))


POSTPROCESSORS = (Ranks,)


def postprocessor(spec: JobSpec, bundle: DataBundle) -> Ranks:
    """Make the postprocessor of a filled spec."""
    activation: Activation = "none" if output_activation(spec) == "sigmoid" else "sigmoid"
    return Ranks(activation, _is_conditional(spec))


def _is_conditional(spec: JobSpec) -> bool:
    """Return whether each output, rank > k, is given rank ≥ k; else each stands alone."""
    return output_of(spec.loss).kind == OutputFacts.CONDITIONAL_RANK_LOGITS


def shares_weights(spec: JobSpec) -> bool:
    """Return whether all outputs come from one score, so that they never contradict each other."""
    return kind(spec.task)[0] == "ordinal" and not _is_conditional(spec)


def rank_probabilities(above: Tensor) -> Tensor:
    """Turn probabilities of rank > k (N, K-1) into those of each rank (N, K).

    Where a later step is more likely than an earlier one, it counts as just as likely.
    """
    falling = above.cummin(dim=1).values
    ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([ones, falling], dim=1) - torch.cat([falling, zeros], dim=1)
