"""Networks over images: blocks of convolutions, and a path down and up again."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Nonlinear = Callable[[], nn.Module]
Norm = Literal["none", "batch", "group"]

_GROUPS = 8


def convolutions(
    channels: int, width: int, *, nonlinear: Nonlinear, norm: Norm, number: int = 2
) -> nn.Sequential:
    """Return 3×3 convolutions that keep the sides, each with what follows it.

    They take (N, channels, H, W) and give (N, width, H, W).
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, number + 1):
        modules[f"conv{index}"] = nn.Conv2d(
            channels, width, kernel_size=3, padding=1, bias=norm == "none"
        )
        if norm == "batch":
            modules[f"batch_norm{index}"] = nn.BatchNorm2d(width)
        elif norm == "group":
            modules[f"group_norm{index}"] = nn.GroupNorm(math.gcd(width, _GROUPS), width)
        modules[f"nonlinear{index}"] = nonlinear()
        channels = width
    return nn.Sequential(modules)


def halvings(sides: Sequence[int], most: int) -> int:
    """Return how often sides can be halved without one below 2 pixels, at the most."""
    return next((n for n in range(most) if min(sides) >> (n + 1) < 2), most)


class UnetTrunk(nn.Module):
    """Features of every pixel: down by max pooling, and up again beside what was found there.

    Takes (N, C, H, W) and gives (N, channels[0], H, W).

    Reference: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        channels: Sequence[int],
        *,
        nonlinear: Nonlinear,
        norm: Norm,
        dropout: float,
    ) -> None:
        """Make the modules in the order in which they run.

        Args:
            shape: Of one image.
            channels: Of each block, from the full size on.
            nonlinear: Makes what follows a convolution.
            norm: What normalises after each convolution.
            dropout: Share of features dropped in the deepest block.
        """
        super().__init__()
        widths = list(channels[: 1 + halvings(shape[1:], len(channels) - 1)])
        below = [shape[0], *widths]
        self.down = nn.ModuleList(
            convolutions(before, width, nonlinear=nonlinear, norm=norm)
            for before, width in zip(below, widths, strict=False)
        )
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.up = nn.ModuleList(
            convolutions(deep + width, width, nonlinear=nonlinear, norm=norm)
            for width, deep in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features."""
        skips: list[Tensor] = []
        for block in self.down:
            if skips:
                x = F.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        skips.pop()
        if self.dropout is not None:
            x = self.dropout(x)
        for block in self.up:
            skip = skips.pop()
            x = F.interpolate(x, size=skip.shape[-2:], mode="nearest")
            x = block(torch.cat([x, skip], dim=1))
        return x


def pixels_from(channels: int, num_outputs: int, patch: int) -> nn.Module:
    """Return a layer from features of patches to outputs of pixels.

    It takes (N, channels, H/patch, W/patch) and gives (N, num_outputs, H, W).
    """
    last = nn.Conv2d(channels, num_outputs * patch**2, kernel_size=1)
    return nn.Sequential(last, nn.PixelShuffle(patch)) if patch > 1 else last
