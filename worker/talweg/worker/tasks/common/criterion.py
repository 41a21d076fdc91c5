"""Puts the loss behind the model's outputs, and tells what a loss is made of."""

from collections.abc import Callable
from dataclasses import dataclass

from talweg.spec import kind, loss_facts, output_of
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import OutputFacts
from talweg.worker import losses
from talweg.worker.losses import LossModule
from talweg.worker.tasks.common.adapters import (
    AfterExp,
    AfterSigmoid,
    ByCosine,
    ByPixel,
    ByQuantile,
    MeanAndVariance,
    NormalInverseGamma,
)

Adapt = Callable[[Loss, LossModule], LossModule | None]


@dataclass(frozen=True)
class Outputs:
    """What a criterion must know of the model before it."""

    ends_in: str
    """What the model's last layer applies: "none", "sigmoid" or "softmax"."""
    num_classes: int
    """Classes or labels, or numbers to predict."""
    seed: int
    """Decides the first weights that a loss itself has."""
    of_pixels: bool = False
    """Whether there are outputs for each pixel, (N, C, H, W)."""


def criterion(loss: Loss, outputs: Outputs, adapt: Adapt) -> LossModule:
    """Build a loss that takes a model's outputs as they are.

    Args:
        loss: A filled loss, of which nothing is left to be counted in the training split.
        outputs: The model's outputs.
        adapt: Adapts losses as the task alone does; see `TaskRunner.adapted`.
    """
    name, message = kind(loss)
    if name == "sum":
        terms = [criterion(term.loss, outputs, adapt) for term in loss.sum.terms]
        return losses.Sum(terms, [term.weight for term in loss.sum.terms])
    module = losses.build(loss)
    module.num_classes = outputs.num_classes
    adapted = adapt(loss, module)
    if adapted is not None:
        return adapted
    facts, output = loss_facts(message.DESCRIPTOR), output_of(loss)
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
    if facts.activation == options_pb2.EXP:
        return AfterExp(module)
    if facts.activation == options_pb2.SIGMOID and outputs.ends_in == "none":
        return AfterSigmoid(module)
    return module
