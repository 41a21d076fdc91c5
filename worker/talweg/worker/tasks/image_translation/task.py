"""Image translation: the outputs are an image."""

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from talweg.v1.losses_pb2 import Loss
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import LossModule, Perceptual, frozen_digests
from talweg.worker.losses.functional import images
from talweg.worker.tasks.augmentation import Augmenter
from talweg.worker.tasks.common.array_contract import Array
from talweg.worker.tasks.common.base import EvalResult, OutputAccumulator, TaskRunner
from talweg.worker.tasks.common.batch import Batch
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.image_translation.perceptual_layers import LearnedLayers, layer_weights
from talweg.worker.tasks.image_translation.predictions import postprocessor
from talweg.worker.tasks.segmentation.task import NUM_SHOWN

_WINDOW = 11
# Of images that agree to the last bit PSNR would be infinite; this is 100 dB.
_LEAST_ERROR = 1e-10


class ImageTranslation(TaskRunner):
    """An image from an image of the same sides. Pixels of the target are in [0, 1]."""

    contract = {
        "x": Array(("N C H W",), "the images"),
        "image": Array(("N K H W",), "the target image of each"),
    }
    watches = True
    of_pixels = True

    def __init__(self, spec: JobSpec, bundle: DataBundle) -> None:
        """Take a filled spec and its data.

        Raises:
            UserSpecError: An image is smaller than the window of SSIM, or its pixels are not in
                [0, 1].
        """
        super().__init__(spec, bundle)
        self.postprocess = postprocessor(spec, bundle)
        for name in ("train", "validation", "test"):
            image = getattr(bundle, name).arrays["image"]
            if len(image):
                _check(image, f"dataset: image of the {name} data")
        self.computed |= frozen_digests(self.criterion)

    def adapted(self, loss: Loss, module: LossModule) -> LossModule | None:
        """Let a perceptual loss learn its layers' weights; see `TaskRunner.adapted`."""
        if isinstance(module, Perceptual) and module.learned:
            return LearnedLayers(module)
        return None

    def arrays(self, part: DataSplit) -> dict[str, Tensor]:
        """Return x and the target (N, K, H, W)."""
        return {"x": part.x, "target": part.arrays["image"]}

    def augment(self, arrays: Mapping[str, Tensor], augmenter: Augmenter) -> dict[str, Tensor]:
        """Move images and targets alike; see `TaskRunner.augment`."""
        x, target = augmenter.with_images(arrays["x"], arrays["target"])
        return {**arrays, "x": x, "target": target}

    def watched(self) -> dict[str, float]:
        """Return the weights of layers that a loss learns."""
        return layer_weights(self.criterion)

    def accumulator(self, model: nn.Module) -> OutputAccumulator:
        """Begin an evaluation of a model."""
        return _Images(self, model)


class _Images(OutputAccumulator):
    """Adds up how near each predicted image is to its target."""

    def __init__(self, task: ImageTranslation, model: nn.Module) -> None:
        super().__init__(model)
        self._task = task
        self._loss = MeanLoss(task.criterion, task.evaluated_at_once)
        self._sums = {"psnr": 0.0, "ssim": 0.0}
        self._count = 0
        self._finite = True
        self._shown: dict[str, NDArray[Any]] = {}

    def take(self, outputs: Tensor, batch: Batch) -> None:
        self._finite &= bool(torch.isfinite(outputs).all())
        self._loss.add(self._task.loss_inputs(outputs, batch), len(batch))
        predicted = self._task.postprocess(outputs)
        self._sums["psnr"] += float(psnr(predicted, batch.target).sum())
        self._sums["ssim"] += float(ssim(predicted, batch.target).sum())
        self._count += len(batch)
        if not self._shown:
            shown = {"image": batch.x, "target": batch.target, "answer": predicted}
            self._shown = {
                name: array[:NUM_SHOWN].float().cpu().numpy() for name, array in shown.items()
            }

    def result(self) -> EvalResult:
        loss = {"loss": self._loss.value}
        if not self._finite:
            return EvalResult(loss)
        values = {name: total / self._count for name, total in self._sums.items()}
        return EvalResult({**loss, **values}, self._shown)


def psnr(predicted: Tensor, target: Tensor) -> Tensor:
    """Return each image's peak signal-to-noise ratio in dB (N,), for pixels in [0, 1]."""
    error = (predicted.double() - target.double()).square().flatten(1).mean(dim=1)
    return -10 * error.clamp(min=_LEAST_ERROR).log10()


def ssim(predicted: Tensor, target: Tensor) -> Tensor:
    """Return each image's structural similarity (N,), for pixels in [0, 1]."""
    return 1 - images.ssim(predicted.float(), target.float(), window_size=_WINDOW)


def _check(image: Tensor, what: str) -> None:
    height, width = image.shape[2:]
    if min(height, width) < _WINDOW:
        raise UserSpecError(
            f"{what} must have sides of at least {_WINDOW} pixels, but got {height}×{width}"
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise UserSpecError(f"{what} must be in [0, 1], but got {low:.6g} to {high:.6g}")
