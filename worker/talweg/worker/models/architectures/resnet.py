"""Residual networks."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

from talweg.v1 import models_pb2 as messages
from talweg.worker.models.heads import pooled_linear
from talweg.worker.models.layers import Shape

Nonlinear = Callable[[], nn.Module]


class ResidualBlock(nn.Module):
    """What comes in, and two 3×3 convolutions of it.

    Takes (N, channels, H, W) and gives (N, width, H/stride, W/stride), the sides rounded up. Where
    these differ the input is projected (option B).

    Reference: He et al. 2016, https://arxiv.org/abs/1512.03385
    """

    def __init__(
        self,
        model: messages.Resnet,
        channels: int,
        width: int,
        *,
        stride: int,
        nonlinear: Nonlinear,
    ) -> None:
        """Make one block of a filled model.

        Args:
            model: The whole network's settings.
            channels: That come in.
            width: Channels that go out.
            stride: Pixels from one window of the first convolution to the next.
            nonlinear: Makes what follows a convolution.
        """
        super().__init__()
        self.conv1 = convolution(model, channels, width, stride=stride)
        self.norm1 = normalisation(model, width)
        self.nonlinear1 = nonlinear()
        self.conv2 = convolution(model, width, width)
        self.norm2 = normalisation(model, width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                convolution(model, channels, width, kernel_size=1, stride=stride),
                normalisation(model, width),
            )
        self.nonlinear2 = nonlinear()
        if model.zero_init:
            last = self.conv2 if isinstance(self.norm2, nn.Identity) else self.norm2
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to (N, width, H / stride, W / stride), rounded up."""
        hidden = self.nonlinear1(self.norm1(self.conv1(x)))
        hidden = self.norm2(self.conv2(hidden))
        out: Tensor = self.nonlinear2(self.shortcut(x) + hidden)
        return out


def resnet(
    model: messages.Resnet,
    shape: Shape,
    num_outputs: int,
    nonlinearities: dict[int, Nonlinear],
) -> OrderedDict[str, nn.Module]:
    """Return a filled network's modules in order; for arguments see `build`.

    They take (N, C, H, W) and give (N, num_outputs).

    Reference: He et al. 2016, https://arxiv.org/abs/1512.03385
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    nonlinear = nonlinearities[model.nonlinearity]
    side, channels = min(shape[1:]), model.width
    modules["conv"] = convolution(model, shape[0], channels)
    modules["norm"] = normalisation(model, channels)
    modules["nonlinear"] = nonlinear()
    for stage in range(1, model.stages + 1):
        width = model.width * 2 ** (stage - 1)
        stride = 2 if stage > 1 and side > 2 else 1
        side = -(-side // stride)
        for number in range(1, model.blocks + 1):
            modules[f"block{stage}_{number}"] = ResidualBlock(
                model, channels, width, stride=stride, nonlinear=nonlinear
            )
            channels, stride = width, 1
    return modules | pooled_linear(channels, num_outputs, dropout=model.dropout)


def convolution(
    model: messages.Resnet, channels: int, width: int, *, kernel_size: int = 3, stride: int = 1
) -> nn.Conv2d:
    """Return a convolution that keeps the sides but for its stride.

    It has a constant where no normalisation follows, which has one of its own.
    """
    return nn.Conv2d(
        channels,
        width,
        kernel_size=kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=model.norm == messages.Resnet.none,
    )


def normalisation(model: messages.Resnet, width: int) -> nn.Module:
    """Return what follows a convolution."""
    if model.norm == messages.Resnet.batch:
        return nn.BatchNorm2d(width)
    if model.norm == messages.Resnet.group:
        return nn.GroupNorm(model.groups, width)
    return nn.Identity()
