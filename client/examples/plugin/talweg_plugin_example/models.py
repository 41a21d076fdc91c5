"""A multilayer perceptron with gated linear units."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from talweg.plugins import ModelContext, Parameter, declare


@declare(
    Parameter(
        "hidden",
        list[int],
        default=[64, 64],
        ge=1,
        le=8192,
        description="Units of each hidden layer, starting at the input.",
    ),
    Parameter(
        "dropout", float, default=0.0, ge=0, lt=1, description="Dropout rate after each layer."
    ),
    when="Tabular data in which some features switch others on and off",
    reference="Dauphin et al. 2017, https://arxiv.org/abs/1612.08083",
    tasks=["regression", "binary", "multiclass", "multilabel", "ordinal"],
)
def gated(parameters: Mapping[str, Any], context: ModelContext) -> nn.Module:
    """Multilayer perceptron with gated linear units: each hidden unit is multiplied by a gate."""
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(context.input_shape)
    for units in parameters["hidden"]:
        # GLU halves what it gets: a value and a gate for each unit.
        layers += [nn.Linear(features, 2 * units), nn.GLU(dim=1)]
        layers.append(nn.Dropout(parameters["dropout"]))
        features = units
    layers.append(nn.Linear(features, context.num_outputs))
    return nn.Sequential(*layers)
