"""What a loss takes from the training split: how often each class is seen, and what follows."""

from typing import NamedTuple

import torch
from torch import Tensor

from talweg.spec import flatten
from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.losses import ClassCounts, with_counts

COUNTS = "train.class_counts"
"""The parameter that says how often each class is seen in training; where binary, how often
class 1 is."""


class Counted(NamedTuple):
    """A loss of which nothing is left to be counted."""

    loss: Loss
    """The loss, with numbers for what was to be computed."""
    parameters: dict[str, str]
    """What was counted and computed, by name, as a run's parameters."""


def counted(spec: JobSpec, counts: ClassCounts | None) -> Counted:
    """Return a filled spec's loss its numbers.

    Args:
        spec: Filled.
        counts: How often each class is seen in training; None where there are no classes.
    """
    if counts is None:
        return Counted(spec.loss, {})
    loss = with_counts(spec.loss, counts)
    named = flatten(spec)
    parameters = {
        name: text for name, text in flatten(JobSpec(loss=loss)).items() if name not in named
    }
    return Counted(loss, {COUNTS: str(list(counts.seen)), **parameters})


def count_classes(indices: Tensor, num_classes: int) -> ClassCounts:
    """Count class indices of any shape."""
    return ClassCounts(tuple(torch.bincount(indices.flatten(), minlength=num_classes).tolist()))


def count_binary(y: Tensor) -> ClassCounts:
    """Count the 1s and 0s of each label, from (N,) or (N, L)."""
    ones = [round(n) for n in y.double().reshape(len(y), -1).sum(0).tolist()]
    return ClassCounts(tuple(ones), tuple(len(y) - n for n in ones))
