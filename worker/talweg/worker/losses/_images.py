"""Losses of images (N, C, H, W)."""

from collections.abc import Mapping

from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.losses import _checks
from talweg.worker.losses._base import LossModule, reduction_of
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


BUILDERS: dict[str, type[LossModule]] = {"ssim": Ssim, "total_variation": TotalVariation}
"""The losses of this family."""
