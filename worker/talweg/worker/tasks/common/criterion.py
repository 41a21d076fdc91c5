"""Puts the loss behind the model's outputs, and tells what a loss is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from talweg.spec import kind
from talweg.v1 import losses_pb2, options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker import losses
from talweg.worker.losses import LossModule, Perceptual
from talweg.worker.tasks.common.adapters import (
    AfterExp,
    AfterSigmoid,
    ByCosine,
    ByPixel,
    ByQuantile,
    MeanAndVariance,
)
from talweg.worker.tasks.detection.criterion import ByLocation
from talweg.worker.tasks.image_translation.perceptual_layers import LearnedLayers
from talweg.worker.tasks.metric_learning.pairing import (
    ByClass,
    InOrder,
    InPairs,
    InTriplets,
    OfOrder,
    OfPairs,
)

ByVectors = losses_pb2.ArcFace | losses_pb2.CosFace | losses_pb2.Ldam
"""The losses that compare embeddings with one learned vector a class."""


@dataclass(frozen=True)
class Outputs:
    """What a criterion must know of the model before it."""

    ends_in: str
    """What the model's last layer applies: "none", "sigmoid" or "softmax"."""
    num_classes: int
    """Classes or labels, or numbers to predict."""
    seed: int
    """Decides the first weights that a loss itself has."""
    given: MetricLearning.Given.ValueType = MetricLearning.labels
    """Whether pairs or triplets are given; else they are made of labels."""
    of_pixels: bool = False
    """Whether there are outputs for each pixel, (N, C, H, W)."""


def leaves(loss: Loss) -> Iterator[tuple[str, Message]]:
    """Return each loss that is no sum: its name and its parameters."""
    name, message = kind(loss)
    if name == "sum":
        for term in loss.sum.terms:
            yield from leaves(term.loss)
    else:
        yield name, message


def criterion(loss: Loss, outputs: Outputs) -> LossModule:
    """Build a loss that takes a model's outputs as they are.

    Args:
        loss: A filled loss, of which nothing is left to be counted in the training split.
        outputs: The model's outputs.
    """
    name, message = kind(loss)
    if name == "sum":
        terms = [criterion(term.loss, outputs) for term in loss.sum.terms]
        return losses.Sum(terms, [term.weight for term in loss.sum.terms])
    if isinstance(message, losses_pb2.Detection):
        return ByLocation(loss)
    module = losses.build(loss)
    if isinstance(message, losses_pb2.MultiQuantile):
        return ByQuantile(module, len(message.quantiles))
    if isinstance(message, losses_pb2.GaussianNll):
        return MeanAndVariance(module)
    if isinstance(message, losses_pb2.BceWithLogits) and outputs.of_pixels:
        return ByPixel(module)
    if isinstance(message, ByVectors):
        return ByCosine(
            module,
            num_classes=outputs.num_classes,
            embedding_size=message.embedding_size,
            scale=message.scale,
            takes_cosines=isinstance(message, losses_pb2.Ldam),
            seed=outputs.seed,
        )
    if isinstance(module, Perceptual) and module.learned:
        return LearnedLayers(module)
    if isinstance(message, losses_pb2.Contrastive | losses_pb2.CosineEmbedding):
        answer, other = ("sign", -1) if name == "cosine_embedding" else ("similar", 0)
        if outputs.given == MetricLearning.pairs:
            return OfPairs(module, answer=answer, other=other)
        return InPairs(module, answer=answer, other=other)
    if isinstance(message, losses_pb2.Triplet):
        return module if outputs.given == MetricLearning.triplets else InTriplets(module)
    if isinstance(message, losses_pb2.MarginRanking):
        return OfOrder(module) if outputs.given == MetricLearning.triplets else InOrder(module)
    if module.input_names == ("embeddings", "labels"):
        return ByClass(module)
    facts = message.DESCRIPTOR.GetOptions().Extensions[options_pb2.loss]
    if facts.activation == options_pb2.EXP:
        return AfterExp(module)
    if facts.activation == options_pb2.SIGMOID and outputs.ends_in == "none":
        return AfterSigmoid(module)
    return module
