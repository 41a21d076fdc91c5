"""Losses of images (N, C, H, W)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import _checks, _features
from talweg.worker.losses._base import LossModule, reduction_of, same_precision
from talweg.worker.losses._shared import Pooled, take_alike
from talweg.worker.losses.functional import images

_IMAGES = "(N, C, H, W)"


class Ssim(LossModule):
    """1 - mean SSIM over the windows that lie inside, a value a sample. Wang et al. 2004.

    pred and target (N, C, H, W), H and W at least window_size.
    """

    def __init__(self, spec: pb.Ssim) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.window_size = spec.window_size
        self.constants = {
            name: getattr(spec, name) for name in ("sigma", "data_range", "k1", "k2")
        }

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        _checks.require_names(inputs, self.input_names)
        pred, target = take_alike(inputs, self.input_names, _IMAGES)
        images.require_window(pred, self.window_size)
        return pred, target

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return images.ssim(pred, target, window_size=self.window_size, **self.constants)


class TotalVariation(Pooled):
    """mean |dy| + mean |dx| between neighbours, or their sums. pred (N, C, H, W). Rudin 1992."""

    input_names = ("pred",)

    def __init__(self, spec: pb.TotalVariation) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        _checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names, _IMAGES)

    def _pooled(self, pred: Tensor) -> Tensor:
        parts = images.total_variation(pred)
        if self.reduction == "sum":
            return parts[0].sum() + parts[1].sum()
        # A single row or column of pixels has no neighbours along it.
        means = [part.sum() / max(part.numel(), 1) for part in parts]
        return means[0] + means[1]


class Perceptual(LossModule):
    """Σ_l w_l MSE of a frozen network's features, a value a sample. Johnson et al. 2016.

    pred and target (N, C, H, W) as the network takes them, layer_weights w (L,) where they are no
    parameters of the loss. Only pred and layer_weights get a gradient.
    """

    optional_names = ("layer_weights",)

    def __init__(self, spec: pb.Perceptual) -> None:
        """Make the loss of a filled message.

        Raises:
            ValueError: The network cannot be loaded, or has not as many layers as weights.
        """
        super().__init__(reduction_of(spec))
        self.network = _features.load(spec.network, tuple(spec.layers))
        number = len(self.network.modules_wanted)
        self.given_weights = len(spec.layer_weights) > 0
        self.layer_weights = tuple(spec.layer_weights) or (1.0,) * number
        if len(self.layer_weights) != number:
            raise ValueError(
                f"layer_weights must have one value a layer, {number}, "
                f"but got {len(self.layer_weights)}"
            )

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse weights below 0; see `LossModule.check_values`."""
        if "layer_weights" in inputs:
            _checks.require_at_least("layer_weights", inputs["layer_weights"], 0)

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        _checks.require_names(inputs, self.input_names, self.optional_names)
        pred, target = take_alike(inputs, self.input_names, _IMAGES)
        self.network.require_images("pred", pred)
        if "layer_weights" not in inputs:
            return pred, target
        if self.given_weights:
            raise ValueError("layer_weights must be inputs or parameters, but got both")
        weights = inputs["layer_weights"]
        shape = (len(self.layer_weights),)
        _checks.require_shape("layer_weights", weights, shape, "one value a layer")
        _checks.require_floats("layer_weights", weights)
        return same_precision(pred, target, weights)

    def _values(self, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            wanted = self.network(target)
        found = self.network(pred)
        return images.perceptual(found, wanted, self.layer_weights if weights is None else weights)


BUILDERS: dict[str, type[LossModule]] = {
    "ssim": Ssim,
    "total_variation": TotalVariation,
    "perceptual": Perceptual,
}
"""The losses of this family."""
