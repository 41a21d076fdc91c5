"""Changes of single images, by kornia."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from talweg.v1.augmentation_pb2 import Augmentation
from talweg.worker.data import StandardScaler
from talweg.worker.tasks.augmentation.boxes import Objects, moved
from talweg.worker.tasks.augmentation.mixing import Mixed, mixed

if TYPE_CHECKING:
    from kornia.augmentation import AugmentationSequential

_COLOURS = 3
_SMALLEST_OF_LARGEST = 0.1
_ERASED_ASPECT = (0.5, 2.0)


class Augmenter:
    """Changes images at random, and what belongs to them likewise.

    All is drawn from torch's random state of the CPU, so that it is the same on each device.
    """

    def __init__(
        self, asked: Augmentation, shape: tuple[int, ...], scaler: StandardScaler | None
    ) -> None:
        """Take what is asked for.

        Args:
            asked: Filled.
            shape: Of an image: channels, height, width.
            scaler: How images were standardised; None where they were not.
        """
        self._asked = asked
        self._channels, self._height, self._width = shape
        self._mean, self._sd = 0.0, 1.0
        if scaler is not None:
            self._mean, self._sd = scaler.mean.item(), scaler.sd.item()

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return self._asked.HasField("mixup") or self._asked.HasField("cutmix")

    def images(self, x: Tensor) -> Tensor:
        """Change images (N, C, H, W)."""
        if self._moves:
            x = self._geometric(x, data_keys=["input"])
        return self._changed(x)

    def with_masks(self, x: Tensor, mask: Tensor, outside: int) -> tuple[Tensor, Tensor]:
        """Change images and their masks.

        Args:
            x: Images (N, C, H, W).
            mask: Whole numbers from 0 of each pixel (N, H, W).
            outside: What pixels become that come in from outside.
        """
        if self._moves:
            # From outside come zeros, which must differ from class 0.
            numbers = (mask + 1)[:, None].to(x.dtype)
            x, numbers = self._geometric(x, numbers, data_keys=["input", "mask"])
            there = numbers[:, 0].round().to(mask.dtype) - 1
            mask = there.where(there >= 0, outside)
        return self._changed(x), mask

    def with_boxes(self, x: Tensor, objects: Objects) -> tuple[Tensor, Objects]:
        """Change images (N, C, H, W) and their objects."""
        if self._moves:
            x = self._geometric(x, data_keys=["input"])
            matrix = self._geometric.transform_matrix
            assert matrix is not None
            objects = moved(objects, matrix, self._height, self._width)
        return self._changed(x), objects

    def with_images(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Move images (N, C, H, W) and others (N, K, H, W) alike; only the first change more."""
        if self._moves:
            both = self._geometric(torch.cat([x, image], dim=1), data_keys=["input"])
            x, image = both.split([x.shape[1], image.shape[1]], dim=1)
        return self._changed(x), image

    def mixed(self, x: Tensor) -> Mixed:
        """Mix images of a batch with each other."""
        return mixed(x, self._asked)

    @property
    def _moves(self) -> bool:
        return any(self._asked.HasField(name) for name in ("flip", "rotate", "crop"))

    @cached_property
    def _geometric(self) -> "AugmentationSequential":
        """What moves pixels; standardised images are 0 outside, which is their mean."""
        # It takes seconds to load, and few jobs need it.
        from kornia import augmentation as kornia  # noqa: PLC0415
        from kornia.constants import DataKey, Resample  # noqa: PLC0415

        asked, steps = self._asked, list[Any]()
        if asked.HasField("flip"):
            if asked.flip.horizontal:
                steps.append(kornia.RandomHorizontalFlip(p=asked.flip.probability))
            if asked.flip.vertical:
                steps.append(kornia.RandomVerticalFlip(p=asked.flip.probability))
        if asked.HasField("rotate"):
            degrees, p = asked.rotate.degrees, asked.rotate.probability
            steps.append(kornia.RandomRotation(degrees, align_corners=True, p=p))
        if asked.HasField("crop"):
            own = self._width / self._height
            steps.append(
                kornia.RandomResizedCrop(
                    (self._height, self._width),
                    scale=(asked.crop.min_area, 1.0),
                    ratio=(own / asked.crop.max_aspect, own * asked.crop.max_aspect),
                    p=asked.crop.probability,
                    # The other way gives images and matrices that differ by a pixel.
                    cropping_mode="resample",
                )
            )
        nearest = {"resample": Resample.NEAREST, "align_corners": True}
        return kornia.AugmentationSequential(*steps, extra_args={DataKey.MASK: nearest})

    def _changed(self, x: Tensor) -> Tensor:
        """Change the pixels' values."""
        asked = self._asked
        if asked.HasField("color"):
            x = self._coloured(x)
        if asked.HasField("noise"):
            noise = torch.randn(x.shape).to(x.device)
            chosen = torch.rand(len(x)) < asked.noise.probability
            x = x + asked.noise.sd * noise * chosen.to(x)[:, None, None, None]
        if asked.HasField("cutout"):
            x = self._erasing(x)
        return x

    def _coloured(self, x: Tensor) -> Tensor:
        chosen = torch.rand(len(x)) < self._asked.color.probability
        if not chosen.any():
            return x
        # Rotated and resized images are between their values, but for rounding errors.
        unit = (x * self._sd + self._mean).clamp(0, 1)
        there: Tensor = (self._jitter(unit) - self._mean) / self._sd
        return there.where(chosen.to(x.device)[:, None, None, None], x)

    @cached_property
    def _jitter(self) -> Any:
        from kornia import augmentation as kornia  # noqa: PLC0415 - see `_geometric`

        color = self._asked.color
        # Grey has no saturation and no hue, and channels of other things have none either.
        of_colours = (color.saturation, color.hue) if self._channels == _COLOURS else (0.0, 0.0)
        return kornia.ColorJitter(color.brightness, color.contrast, *of_colours, p=1.0)

    @cached_property
    def _erasing(self) -> Any:
        from kornia import augmentation as kornia  # noqa: PLC0415 - see `_geometric`

        cutout = self._asked.cutout
        areas = (_SMALLEST_OF_LARGEST * cutout.max_area, cutout.max_area)
        return kornia.RandomErasing(areas, _ERASED_ASPECT, p=cutout.probability)
