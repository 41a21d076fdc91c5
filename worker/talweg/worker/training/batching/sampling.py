"""Draws the samples of an epoch by weight: class-balanced, or by a column of weights.

An order is a function of the random state that `Order` keeps, as the order of a plain epoch is: a
run that was stopped draws the same samples again.
"""

import torch
from torch import Tensor

from talweg.spec import kind
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle
from talweg.worker.errors import UserSpecError
from talweg.worker.training.batching.batches import Draw


class Sampler:
    """Draws samples with replacement, each in proportion to its weight."""

    def __init__(self, *, weights: Tensor | None = None, classes: Tensor | None = None) -> None:
        """Take what to draw by: one of the two.

        Args:
            weights: Of each training sample (N,), float64, none below 0.
            classes: Of each training sample (N,), int64, all of which are drawn equally often.
        """
        self._weights = weights
        self._classes = classes

    def among(self, samples: Tensor | None) -> Draw:
        """Return what draws from some of the samples.

        Args:
            samples: Indices into the training samples (n,), or None for all.

        Returns:
            Gives n places below n.

        Raises:
            UserSpecError: None of them has a weight above 0.
        """
        classes, weights = (
            each if each is None or samples is None else each[samples]
            for each in (self._classes, self._weights)
        )
        if classes is not None:
            weights = 1 / torch.bincount(classes).double()[classes]
        assert weights is not None
        if not bool((weights > 0).any()):
            raise UserSpecError(
                f"training.sampling.weighted.column must have weights above 0 among the "
                f"{len(weights)} samples that are drawn from, but all are 0: give them weights, "
                "or change the split"
            )
        chosen = weights

        def draw(count: int, generator: torch.Generator) -> Tensor:
            assert count == len(chosen)
            return drawn_by_weight(chosen, classes, generator)

        return draw


def sampler_of(spec: JobSpec, bundle: DataBundle) -> Sampler | None:
    """Return what draws the samples of a filled spec; None where each is taken once an epoch."""
    if not spec.training.HasField("sampling"):
        return None
    if kind(spec.training.sampling)[0] == "balanced":
        return Sampler(classes=bundle.train.y.long())
    assert bundle.weights is not None
    return Sampler(weights=bundle.weights)


def drawn_by_weight(weights: Tensor, classes: Tensor | None, generator: torch.Generator) -> Tensor:
    """Draw as many samples as there are, by systematic sampling.

    Samples lie in random order on a line, each as long as its weight says, and are taken at N
    points of equal distance, the first of which is random. So a sample is taken in proportion to
    its weight, and its number of times is the expected one, rounded up or down. Where the samples
    of a class lie beside each other, the same holds for the class.

    Args:
        weights: Of each sample (N,), float64, none below 0 and not all 0.
        classes: Of each sample (N,), or None.
        generator: On the CPU; nothing else decides what is drawn.

    Returns:
        Indices below N, in random order (N,).

    Reference: Madow 1949, On the theory of systematic sampling, II
    """
    count = len(weights)
    order = torch.randperm(count, generator=generator)
    if classes is not None:
        order = order[torch.argsort(classes[order], stable=True)]
    if not weights.sum().isfinite():
        weights = weights / weights.max() / count
    ends = weights[order].cumsum(0)
    first = torch.rand(1, dtype=torch.float64, generator=generator)
    # Divided first, the last end is exactly N, and nothing of weight 0 makes up for rounding.
    places = (ends / ends[-1] * count + first).floor().long().clamp(max=count)
    times = places.diff(prepend=torch.zeros(1, dtype=torch.long))
    drawn = order.repeat_interleave(times)
    return drawn[torch.randperm(count, generator=generator)]
