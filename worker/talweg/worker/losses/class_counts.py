"""Class weights and class counts, found from how often each class is seen in training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from google.protobuf.message import Message
from torch import Tensor

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses.functional import gradients

_COUNTS = "class_counts"
_OF_YES = "pos_weight"


@dataclass(frozen=True)
class ClassCounts:
    """How often each class is seen in training."""

    seen: tuple[int, ...]
    """Samples of each class, or with each label."""
    unseen: tuple[int, ...] = ()
    """For answers of yes or no, samples without each label; else empty."""


def class_weights(
    counts: Tensor | Sequence[float],
    weights: pb.ClassWeights | Mapping[str, Any] | Sequence[float] | str = "balanced",
) -> Tensor:
    """Give the weights of classes, as a loss with these `ClassWeights` has them.

    Args:
        counts: How often each class is seen (C,), at least 0.
        weights: A `ClassWeights` message or its JSON form: `balanced` for N/(C n),
            `{"effective_number": {"beta": 0.99}}` for (1-beta)/(1-beta^n) scaled to sum to C, or
            the weights themselves. A class that is never seen weighs 0 by counting.

    Returns:
        float64 weights (C,).

    Raises:
        ValueError: Counts are not numbers (C,) of at least 0, or the weights break a bound (then
            a `talweg.spec.SpecError`) or are not one a class.
    """
    n = torch.as_tensor(counts, dtype=torch.float64)
    if n.dim() != 1:
        raise ValueError(f"counts must have 1 dimension (C,), but got shape {tuple(n.shape)}")
    if not bool((n >= 0).all()):
        raise ValueError(f"counts must be at least 0, but got {n[~(n >= 0)][0].item():g}")
    message = spec.fill_message(
        weights
        if isinstance(weights, pb.ClassWeights)
        else spec.from_dict(weights, pb.ClassWeights, path="weights")
    )
    violations = spec.check_message(message, "weights")
    if violations:
        raise spec.SpecError(violations)
    computed = message.WhichOneof("computed")
    if computed == "balanced":
        return gradients.balanced_weights(n)
    if computed == "effective_number":
        return gradients.effective_number_weights(n, message.effective_number.beta)
    if len(message.values) != len(n):
        raise ValueError(
            f"weights must have one value per class, {len(n)}, but got {len(message.values)}"
        )
    return torch.tensor(list(message.values), dtype=torch.float64)


def with_counts(loss: pb.Loss, counts: ClassCounts) -> pb.Loss:
    """Give a copy of a loss in which what follows from the training split stands as numbers.

    Weights that are to be computed become values, and absent class counts become those of the
    split, where a class that is never seen counts as seen once. The weight of yes is that of yes
    divided by that of no, or 1 for a label that is always or never there.

    Args:
        loss: A filled loss, sums of losses included.
        counts: How often each class is seen.
    """
    resolved = pb.Loss()
    resolved.CopyFrom(loss)
    for leaf in _class_losses(resolved):
        for descriptor in leaf.DESCRIPTOR.fields:
            if descriptor.name == _COUNTS and not getattr(leaf, _COUNTS):
                getattr(leaf, _COUNTS).extend(max(n, 1) for n in counts.seen)
        for descriptor, value in leaf.ListFields():
            if isinstance(value, pb.ClassWeights) and value.WhichOneof("computed"):
                computed = (_of_yes if descriptor.name == _OF_YES else _of_classes)(counts, value)
                value.Clear()
                value.values.extend(computed)
    return resolved


def _of_classes(counts: ClassCounts, weights: pb.ClassWeights) -> list[float]:
    computed: list[float] = class_weights(counts.seen, weights).tolist()
    return computed


def _of_yes(counts: ClassCounts, weights: pb.ClassWeights) -> list[float]:
    computed = []
    for yes, no in zip(counts.seen, counts.unseen, strict=True):
        of_no, of_yes = class_weights([no, yes], weights).tolist()
        computed.append(of_yes / of_no if of_yes and of_no else 1.0)
    return computed


def _class_losses(loss: pb.Loss) -> Iterator[Message]:
    """Give each loss that may carry weights or counts of classes."""
    for *_, leaf in spec.leaves(loss):
        yield spec.kind(leaf.class_loss)[1] if isinstance(leaf, pb.Detection) else leaf
