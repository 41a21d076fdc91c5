"""Puts the loss behind the model's outputs, and tells what a loss is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.message import Message

from talweg.spec import kind, loss_facts, output_of
from talweg.v1 import losses_pb2, options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import LossFacts, OutputFacts
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
    NormalInverseGamma,
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

# What a loss of pairs is told of those of two classes, by the name of that input.
_OF_TWO_CLASSES = {"similar": 0, "sign": -1}

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
    facts, output = loss_facts(message.DESCRIPTOR), output_of(loss)
    if output.kind == OutputFacts.BOXES:
        return ByLocation(loss)
    module = losses.build(loss)
    if output.kind == OutputFacts.QUANTILES:
        return ByQuantile(module, output.per_target)
    if output.kind == OutputFacts.MEAN_AND_VARIANCE:
        return MeanAndVariance(module)
    if output.kind == OutputFacts.NORMAL_INVERSE_GAMMA:
        return NormalInverseGamma(module)
    if output.kind == OutputFacts.CLASS_EMBEDDING:
        return ByCosine(
            module,
            num_classes=outputs.num_classes,
            embedding_size=output.embedding_size,
            scale=output.scale,
            takes_cosines="class_weight" not in module.input_names,
            seed=outputs.seed,
        )
    if outputs.of_pixels and module.weighs_last_dimension:
        return ByPixel(module)
    if isinstance(module, Perceptual) and module.learned:
        return LearnedLayers(module)
    if facts.groups:
        return _grouped(module, facts, outputs.given)
    if module.input_names == ("embeddings", "labels"):
        return ByClass(module)
    if facts.activation == options_pb2.EXP:
        return AfterExp(module)
    if facts.activation == options_pb2.SIGMOID and outputs.ends_in == "none":
        return AfterSigmoid(module)
    return module


def _grouped(
    module: LossModule, facts: LossFacts, given: MetricLearning.Given.ValueType
) -> LossModule:
    """Give a loss its pairs or triplets: those of the data, or made of labels."""
    are_given = facts.groups == MetricLearning.Given.Name(given)
    *_, answer = module.input_names
    if facts.groups == "pairs":
        pairs = OfPairs if are_given else InPairs
        return pairs(module, answer=answer, other=_OF_TWO_CLASSES[answer])
    if module.input_names == ("anchor", "positive", "negative"):
        return module if are_given else InTriplets(module)
    return OfOrder(module) if are_given else InOrder(module)
