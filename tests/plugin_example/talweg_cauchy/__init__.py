"""Cauchy's loss, log(1 + (e/scale)²): a plug-in for Talweg."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Cauchy(nn.Module):
    """log(1 + (e/scale)²), one value per element. pred, target (N, …)."""

    def __init__(self, scale: float) -> None:
        """Make the loss.

        Args:
            scale: Where errors begin to count for less, in the target's units; > 0.
        """
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale must be > 0, but got {scale}")
        self.scale = scale

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute the unreduced loss."""
        error = (inputs["pred"] - inputs["target"]) / self.scale
        return torch.log1p(error.square())


def cauchy(parameters: dict[str, Any]) -> Cauchy:
    """Make the loss of a job's parameters; the entry point names this function."""
    return Cauchy(**{"scale": 1.0, **parameters})
