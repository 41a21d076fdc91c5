"""What a loss takes from the training split: how often each class is seen, and what follows."""

from __future__ import annotations

from typing import NamedTuple

import torch

from talweg.spec import flatten, task_kind
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import MULTICLASS, ORDINAL, REGRESSION
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.losses import ClassCounts, with_counts

COUNTS = "train.class_counts"
"""The parameter that says how often each class is seen in training; of yes or no, how often yes
is."""


class Counted(NamedTuple):
    """A loss of which nothing is left to be counted."""

    loss: Loss
    """The loss, with numbers for what was to be computed."""
    parameters: dict[str, str]
    """What was counted and computed, by name, as a run's parameters."""


def counted(spec: JobSpec, bundle: DataBundle) -> Counted:
    """Counts the classes of the training split for a filled spec's loss."""
    task = task_kind(spec)
    if task == REGRESSION:
        return Counted(spec.loss, {})
    y = bundle.train.y
    if task in (MULTICLASS, ORDINAL):
        seen = torch.bincount(y, minlength=bundle.num_targets).tolist()
        counts = ClassCounts(tuple(seen))
    else:
        yes = [round(n) for n in y.double().reshape(len(y), -1).sum(0).tolist()]
        counts = ClassCounts(tuple(yes), tuple(len(y) - n for n in yes))
    loss = with_counts(spec.loss, counts)
    given = flatten(spec)
    parameters = {
        name: text for name, text in flatten(JobSpec(loss=loss)).items() if name not in given
    }
    return Counted(loss, {COUNTS: str(list(counts.seen)), **parameters})
