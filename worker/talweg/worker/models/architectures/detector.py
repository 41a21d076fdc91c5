"""Networks that give a class and a box for each location of a grid over the image."""

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.v1 import models_pb2 as messages
from talweg.worker.models.architectures.unet import Nonlinear, UnetTrunk, convolutions
from talweg.worker.models.layers import Shape

SIDES = 4
"""Outputs of a location beside its classes: a box x1, y1, x2, y2 in pixels."""
_PRIOR = 0.01
_SPREAD = 0.01


def detector(
    model: messages.Detector,
    shape: Shape,
    num_outputs: int,
    nonlinearities: dict[int, Callable[[], nn.Module]],
) -> OrderedDict[str, nn.Module]:
    """Build a filled message's network for images of a shape.

    Its modules take (N, C, H, W) and give (N, num_outputs, H/stride, W/stride).
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if model.stride > 1:
        modules["patches"] = nn.PixelUnshuffle(model.stride)
    channels, height, width = shape
    nonlinear = nonlinearities[model.nonlinearity]
    modules["trunk"] = UnetTrunk(
        (channels * model.stride**2, height // model.stride, width // model.stride),
        model.channels,
        nonlinear=nonlinear,
        norm="group",
        dropout=0,
    )
    modules["locations"] = Locations(
        model.channels[0],
        num_outputs,
        stride=model.stride,
        branch=model.branch,
        nonlinear=nonlinear,
    )
    return modules


class Locations(nn.Module):
    """Classes and a box of each location, each by a branch of its own.

    Takes features (N, features, H', W') and gives (N, C + 4, H', W'): logits of the classes, the
    first of which is the background, and x1, y1, x2, y2 in pixels.

    Reference: Tian et al. 2019 (FCOS), https://arxiv.org/abs/1904.01355
    """

    def __init__(
        self, features: int, num_outputs: int, *, stride: int, branch: int, nonlinear: Nonlinear
    ) -> None:
        """Make the branches; at first every location says background, almost surely.

        Args:
            features: Channels that come in.
            num_outputs: C + 4.
            stride: Pixels from one location to the next.
            branch: Convolutions of each branch before its last.
            nonlinear: Makes what follows a convolution.
        """
        super().__init__()
        self._stride = stride
        num_classes = num_outputs - SIDES

        def made(outputs: int) -> nn.Sequential:
            before = convolutions(
                features, features, nonlinear=nonlinear, norm="group", number=branch
            )
            last = nn.Conv2d(features, outputs, kernel_size=3, padding=1)
            nn.init.normal_(last.weight, std=_SPREAD)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
            return nn.Sequential(*before, last)

        self.classes = made(num_classes)
        self.boxes = made(SIDES)
        # Of Lin et al. 2017: else the many locations of background rule the first steps.
        bias = self.classes[-1].bias
        assert isinstance(bias, nn.Parameter)
        with torch.no_grad():
            bias[0] = math.log((1 - _PRIOR) / _PRIOR * max(num_classes - 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits and boxes."""
        boxes = boxes_at(self.boxes(features).float(), self._stride)
        return torch.cat([self.classes(features).float(), boxes], dim=1)


def boxes_at(raw: Tensor, stride: int) -> Tensor:
    """Return boxes that are boxes whatever the numbers: no side is below 0.

    Args:
        raw: Of each location (N, 4, H', W') a box's centre x and y from the location, in strides,
            and what the softplus of is its width and height, in strides.
        stride: Pixels from one location to the next.

    Returns:
        x1, y1, x2, y2 in pixels (N, 4, H', W').

    Reference: Ge et al. 2021 (YOLOX), https://arxiv.org/abs/2107.08430
    """
    down, across = (torch.arange(n, device=raw.device) + 0.5 for n in raw.shape[-2:])
    x, y = across + raw[:, 0], down[:, None] + raw[:, 1]
    half = F.softplus(raw[:, 2:]) / 2
    corners = [x - half[:, 0], y - half[:, 1], x + half[:, 0], y + half[:, 1]]
    return stride * torch.stack(corners, dim=1)
