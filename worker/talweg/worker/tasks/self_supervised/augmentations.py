"""Augmentations: samples changed at random in ways that leave what they are."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from talweg.v1 import tasks_pb2
from talweg.worker.tasks.augmentation.noise import draw

_IMAGES = 4


@dataclass(frozen=True)
class Augmentation:
    """How samples are changed, each anew."""

    rotation: float
    """Of images: turned by up to so many degrees to either side."""
    shift: float
    """Of images: moved by up to so many pixels in both directions."""
    noise: float
    """Standard deviation of what is added to each number."""
    masked: float
    """Share of the numbers that are set to 0."""

    @classmethod
    def of(cls, message: tasks_pb2.Views) -> "Augmentation":
        """Take a filled message."""
        return cls(message.rotation, message.shift, message.noise, message.masked)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return an augmentation of each sample.

        Args:
            x: Samples (N, …); images are (N, channels, height, width).
            generator: On the CPU; None draws from torch's own random state.
        """
        if x.dim() == _IMAGES and (self.rotation or self.shift):
            x = self._moved(x, generator)
        if self.noise:
            x = x + self.noise * draw(torch.randn, x.shape, x.device, generator)
        if self.masked:
            x = x * (draw(torch.rand, x.shape, x.device, generator) >= self.masked)
        return x

    def _moved(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Turn and move images; what comes in from outside is as the edge is."""
        count, _, height, width = x.shape
        chance = 2 * draw(torch.rand, torch.Size((count, 3)), x.device, generator) - 1
        angle = chance[:, 0] * math.radians(self.rotation)
        # In units in which an image reaches from -1 to 1.
        right, down = chance[:, 1] * 2 * self.shift / width, chance[:, 2] * 2 * self.shift / height
        cos, sin = angle.cos(), angle.sin()
        turn = torch.stack(
            [torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)], dim=1
        )
        grid = F.affine_grid(turn, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
