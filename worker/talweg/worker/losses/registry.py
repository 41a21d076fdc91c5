"""From a `Loss` message to its module."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses.base import LossModule
from talweg.worker.losses.composed import multitask
from talweg.worker.losses.composed.expression import Expression
from talweg.worker.losses.composed.plugin import Plugin
from talweg.worker.losses.composed.sum import Sum
from talweg.worker.losses.families import (
    binary,
    boxes,
    classification,
    detection,
    distillation_ctc,
    generative,
    images,
    likelihoods,
    long_tailed,
    ordinal,
    regions,
    regression,
)
from talweg.worker.losses.families.embedding import (
    angular,
    contrastive,
    pairs_triplets,
    redundancy,
)

Builder = Callable[[Any], LossModule]
"""Makes a loss of its filled message; Any, for each takes the message of its own member."""


def _sum(message: pb.Sum) -> Sum:
    terms = [build(term.loss) for term in message.terms]
    return Sum(terms, [term.weight for term in message.terms])


BUILDERS: Mapping[str, Builder] = {
    **regression.BUILDERS,
    **likelihoods.BUILDERS,
    **binary.BUILDERS,
    **classification.BUILDERS,
    **long_tailed.BUILDERS,
    **ordinal.BUILDERS,
    **distillation_ctc.BUILDERS,
    **pairs_triplets.BUILDERS,
    **contrastive.BUILDERS,
    **angular.BUILDERS,
    **redundancy.BUILDERS,
    **regions.BUILDERS,
    **boxes.BUILDERS,
    **detection.BUILDERS,
    **generative.BUILDERS,
    **images.BUILDERS,
    **multitask.BUILDERS,
    "sum": _sum,
    "expression": Expression,
    "plugin": Plugin,
}
"""One builder a member of `Loss`, by the member's name; each family has a table of its own."""


def build(loss: pb.Loss) -> LossModule:
    """Make the module of a loss.

    Args:
        loss: The loss. Absent parameters take their defaults; bounds are not checked.

    Returns:
        The module; move it to the outputs' device when it holds weights.

    Raises:
        ValueError: No loss is chosen.
    """
    name, message = spec.kind(spec.fill_message(loss))
    module = BUILDERS[name](message)
    module.pools_batch |= spec.pools_batch(message)
    return module


def evaluate(loss: pb.Loss | Mapping[str, Any] | str, inputs: Mapping[str, Tensor]) -> Tensor:
    """Compute a loss once, checking everything.

    Args:
        loss: A `Loss` message or its JSON form, such as `{"huber": {"delta": 2}}` or `"mse"`.
            Absent parameters take their defaults.
        inputs: The tensors by name, such as pred and target.

    Returns:
        The loss, joined to its inputs: a scalar, or the unreduced shape for reduction none.

    Raises:
        ValueError: The loss breaks a bound (then a `talweg.spec.SpecError`), or an input is
            missing, unknown, or of a wrong shape, dtype or value.
    """
    message = loss if isinstance(loss, pb.Loss) else spec.from_dict(loss, pb.Loss, path="loss")
    filled = spec.fill_message(message)
    violations = spec.check_message(filled, "loss")
    if violations:
        raise spec.SpecError(violations)
    for name, tensor in inputs.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name} must be a tensor, but got {type(tensor).__name__}")
    module = build(filled)
    module.check_inputs(inputs)
    module.check_values(inputs)
    return module(inputs)
