"""Cauchy's loss, log(1 + (e/scale)²)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from talweg.plugins import Parameter, declare


class Cauchy(nn.Module):
    """log(1 + (e/scale)²), one value per element. pred, target (N, …)."""

    def __init__(self, scale: float) -> None:
        """Make the loss.

        Args:
            scale: Where errors begin to count for less, in the target's units; > 0.
        """
        super().__init__()
        self.scale = scale

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute the unreduced loss."""
        error = (inputs["pred"] - inputs["target"]) / self.scale
        return torch.log1p(error.square())


@declare(
    Parameter(
        "scale",
        float,
        default=1.0,
        gt=0,
        description="Where errors begin to count for less, in the (standardised) target's units.",
    ),
    when="Outliers are so far off that they should hardly count",
    reference="Barron 2019, https://arxiv.org/abs/1701.03077",
    tasks=["regression"],
)
def cauchy(parameters: Mapping[str, Any]) -> Cauchy:
    """Cauchy's loss: log(1 + (e/scale)²)."""
    return Cauchy(scale=parameters["scale"])
