"""Mixup and cutmix: images of a batch are mixed, and so are their targets."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from talweg.v1.augmentation_pb2 import Augmentation, CutMix, Mixup


class Mixed(NamedTuple):
    """Images, each mixed with another one of the batch."""

    x: Tensor
    """The images (N, C, H, W)."""
    other: Tensor
    """The index of the one that each was mixed with (N,)."""
    weight: Tensor
    """The share of each image itself, the rest being the other's (N,)."""

    def targets(self, target: Tensor) -> Tensor:
        """Mix floating point targets (N, …) as their images were mixed."""
        weight = self.weight.to(target.dtype).reshape(-1, *[1] * (target.dim() - 1))
        return weight * target + (1 - weight) * target[self.other]


def mixed(x: Tensor, asked: Augmentation) -> Mixed:
    """Mix the images of a batch by mixup or by cutmix, or leave all as they are.

    Args:
        x: Images (N, C, H, W).
        asked: Filled; has at least one of both.
    """
    kinds: list[Mixup | CutMix] = []
    if asked.HasField("mixup"):
        kinds.append(asked.mixup)
    if asked.HasField("cutmix"):
        kinds.append(asked.cutmix)
    kind = kinds[int(torch.randint(len(kinds), ()))]
    other = torch.randperm(len(x)).to(x.device)
    if float(torch.rand(())) >= kind.probability:
        return Mixed(x, other, x.new_ones(len(x)))
    share = torch.distributions.Beta(kind.alpha, kind.alpha).sample((len(x),))
    if isinstance(kind, Mixup):
        weight = share.to(x)
        by_sample = weight.reshape(-1, 1, 1, 1)
        return Mixed(by_sample * x + (1 - by_sample) * x[other], other, weight)
    inside, weight = _rectangles(share, x.shape[2], x.shape[3])
    return Mixed(x.where(~inside.to(x.device)[:, None], x[other]), other, weight.to(x))


def _rectangles(share: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Draw the rectangles that come from the other image.

    Args:
        share: What is to remain of each image (N,).
        height: Of the images.
        width: Of the images.

    Returns:
        Whether a pixel is inside (N, H, W), and what really remains of each image (N,).
    """
    sides = (1 - share).sqrt()
    spans = []
    for length in (height, width):
        half = sides * length / 2
        middle = torch.rand(len(share)) * length
        start = (middle - half).round().clamp(0, length)
        end = (middle + half).round().clamp(0, length)
        place = torch.arange(length)
        spans.append((place >= start[:, None]) & (place < end[:, None]))
    inside = spans[0][:, :, None] & spans[1][:, None, :]
    return inside, 1 - inside.flatten(1).sum(dim=1) / math.prod((height, width))
