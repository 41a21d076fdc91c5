"""Learned weights of the layers by which a perceptual loss compares."""

import torch
from torch import Tensor, nn

from talweg.worker.clamping import clamp
from talweg.worker.losses import LossModule, Perceptual
from talweg.worker.tasks.common.adapters import Head

_FURTHEST = 20.0


class LearnedLayers(Head):
    """A perceptual loss whose layers have learned weights w = e^-s, s clamped to [-20, 20].

    Kendall et al. 2018.
    """

    inner: Perceptual

    def __init__(self, inner: Perceptual) -> None:
        """Begin with the weights that the loss has."""
        super().__init__(inner)
        self.log_vars = nn.Parameter(-torch.tensor(inner.layer_weights).log())
        """s, a value a layer (L,)."""

    @property
    def weights(self) -> Tensor:
        """What each layer's error is multiplied by (L,)."""
        return torch.exp(-clamp(self.log_vars, -_FURTHEST, _FURTHEST))

    def _inputs(self, pred: Tensor) -> dict[str, Tensor]:
        return {"pred": pred, "layer_weights": self.weights}


def layer_weights(criterion: LossModule) -> dict[str, float]:
    """Return the learned weights of layers as metrics, weights/LAYER.

    Where several losses of a sum learn them, the loss's number stands before the layer.
    """
    parts = [part for part in criterion.modules() if isinstance(part, LearnedLayers)]
    values: dict[str, float] = {}
    for number, part in enumerate(parts):
        before = f"weights/{number}/" if len(parts) > 1 else "weights/"
        names = part.inner.network.modules_wanted
        values |= {
            f"{before}{name}": weight
            for name, weight in zip(names, part.weights.tolist(), strict=True)
        }
    return values
