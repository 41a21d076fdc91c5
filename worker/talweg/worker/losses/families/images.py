"""Losses of images (N, C, H, W)."""

import re
from collections.abc import Callable, Mapping
from typing import Self

import torch
from torch import Tensor

from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import checks, features
from talweg.worker.losses.base import LossModule, reduction_of, same_precision
from talweg.worker.losses.embedding_base import Pooled, take_alike
from talweg.worker.losses.functional import images

_IMAGES = "(N, C, H, W)"


class Ssim(LossModule):
    """Structural similarity loss of images, over Gaussian windows.

    L = 1 - mean SSIM, over the windows that lie inside the image

    H and W must be at least window_size.

    Args:
        window_size: Side of the window, in pixels; in [1, 1023], default 11.
        sigma: Standard deviation of the window, in pixels; > 0, default 1.5.
        data_range: The largest difference that two pixels can have; > 0, default 1.
        k1: Steadies the comparison of means; > 0, default 0.01.
        k2: Steadies the comparison of variances; > 0, default 0.03.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, H, W); target (N, C, H, W).
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861
    """

    def __init__(self, spec: pb.Ssim) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))
        self.window_size = spec.window_size
        self.constants = {
            name: getattr(spec, name) for name in ("sigma", "data_range", "k1", "k2")
        }

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        pred, target = take_alike(inputs, self.input_names, _IMAGES)
        images.require_window(pred, self.window_size)
        return pred, target

    def _values(self, pred: Tensor, target: Tensor) -> Tensor:
        return images.ssim(pred, target, window_size=self.window_size, **self.constants)


class TotalVariation(Pooled):
    """Total variation: differences between neighbouring pixels.

    L = mean |dy| + mean |dx|, or the sum of both

    Args:
        reduction: mean (default) or sum.

    Inputs: pred (N, C, H, W).
    Returns: A scalar.
    Reference: Rudin et al. 1992, https://doi.org/10.1016/0167-2789(92)90242-F
    """

    input_names = ("pred",)

    def __init__(self, spec: pb.TotalVariation) -> None:
        """Make the loss of a filled message."""
        super().__init__(reduction_of(spec))

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names)
        return take_alike(inputs, self.input_names, _IMAGES)

    def _pooled(self, pred: Tensor) -> Tensor:
        parts = images.total_variation(pred)
        if self.reduction == "sum":
            return parts[0].sum() + parts[1].sum()
        # A single row or column of pixels has no neighbours along it.
        means = [part.sum() / max(part.numel(), 1) for part in parts]
        return means[0] + means[1]


class Perceptual(LossModule):
    """Perceptual loss: images compared by the features of a frozen network.

    L = Σ_l w_l MSE_l, or Σ_l (w_l MSE_l - ln w_l) where the weights w are learned

    Without the logarithm all learned weights would fall to 0; with it w_l tends to 1/MSE_l
    (Kendall et al. 2018, https://arxiv.org/abs/1705.07115). Only pred and layer_weights get a
    gradient. The network is no part of the module: none of its tensors is learned, kept or given
    out with it.

    Args:
        network: Whose features are compared; default vgg16.
        layers: The layers whose outputs are compared, all taken in one pass. For vgg16 relu1_1 to
            relu5_3, and relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 where absent; a trained
            model's are its modules by name, such as relu1, and must be named; at most 100.
        layer_weights: One factor a layer; 1 each where absent; each ≥ 0, at most 100.
        learned: Learn the factors w beside the model, from layer_weights on, by Σ (w·mse - ln w)
            over the layers in place of Σ w·mse: each w tends to 1/mse of its layer, and none to 0.
            This is the weighting by uncertainty of Kendall et al. 2018,
            https://arxiv.org/abs/1705.07115, w = e^-s with s learned and clamped to [-20, 20]. In
            a job each is a metric, weights/LAYER; default false.
        reduction: mean (default), sum or none.

    Inputs: pred (N, C, H, W) as the network takes them, C = 3 for vgg16; target (the same);
        layer_weights (L,) in place of the parameter, optional.
    Returns: A value a sample (N,), or the reduced scalar.
    Reference: Johnson et al. 2016, https://arxiv.org/abs/1603.08155
    """

    optional_names = ("layer_weights",)

    def __init__(self, spec: pb.Perceptual) -> None:
        """Make the loss of a filled message.

        Raises:
            UserSpecError: The network cannot be loaded, or has not as many layers as weights.
            StoreAwayError: The blob store that holds it cannot be reached now.
        """
        super().__init__(reduction_of(spec))
        # In a tuple, where modules do not look for what is theirs.
        self._frozen = (features.load(spec.network, tuple(spec.layers)),)
        number = len(self.network.modules_wanted)
        self.learned = spec.learned
        self.given_weights = len(spec.layer_weights) > 0 and not self.learned
        self.layer_weights = tuple(spec.layer_weights) or (1.0,) * number
        if len(self.layer_weights) != number:
            raise UserSpecError(
                f"layer_weights must have one value per layer, {number}, but got "
                f"{len(self.layer_weights)}"
            )

    @property
    def network(self) -> features.FeatureNetwork:
        """The network whose features are compared."""
        return self._frozen[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What moves the loss to a device moves the network with it.
        self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return moved

    def check_values(self, inputs: Mapping[str, Tensor]) -> None:
        """Refuse weights below 0, and 0 where they are learned; see `LossModule.check_values`."""
        if "layer_weights" not in inputs:
            return
        weights = inputs["layer_weights"]
        checks.require_at_least("layer_weights", weights, 0)
        if self.learned and not bool((weights > 0).all()):
            raise ValueError("layer_weights must be above 0 if they are learned, but got 0")

    def _take(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        checks.require_names(inputs, self.input_names, self.optional_names)
        pred, target = take_alike(inputs, self.input_names, _IMAGES)
        self.network.require_images("pred", pred)
        if "layer_weights" not in inputs:
            return pred, target
        if self.given_weights:
            raise ValueError("layer_weights must be inputs or parameters, but got both")
        weights = inputs["layer_weights"]
        shape = (len(self.layer_weights),)
        checks.require_shape("layer_weights", weights, shape, "one value per layer")
        checks.require_floats("layer_weights", weights)
        return same_precision(pred, target, weights)

    def _values(self, pred: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        both = self.network(torch.cat([pred, target.detach()]))
        count = len(pred)
        of_pred, of_target = [each[:count] for each in both], [each[count:] for each in both]
        layer_weights = self.layer_weights if weights is None else weights
        values = images.perceptual(of_pred, of_target, layer_weights)
        if not self.learned:
            return values
        return (
            values
            - torch.as_tensor(layer_weights, dtype=pred.dtype, device=pred.device).log().sum()
        )


def frozen_digests(loss: LossModule, path: str = "loss") -> dict[str, str]:
    """Return the digests of the networks that a loss compares by, by their paths in the spec."""
    digests = {}
    for name, module in loss.named_modules():
        if isinstance(module, Perceptual):
            terms = re.findall(r"terms\.(\d+)", name)
            own = path + "".join(f".sum.terms.{index}.loss" for index in terms)
            digests[f"{own}.perceptual.network.tensors_sha256"] = module.network.digest
    return digests


BUILDERS: dict[str, type[LossModule]] = {
    "ssim": Ssim,
    "total_variation": TotalVariation,
    "perceptual": Perceptual,
}
"""The losses of this family."""
