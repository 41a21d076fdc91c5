"""The last layers of networks that give several things at once."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from talweg.worker.models.architectures.detector import Locations
from talweg.worker.models.architectures.unet import Nonlinear, pixels_from


@dataclass(frozen=True)
class HeadShape:
    """What one head of several gives."""

    name: str
    """The head's."""
    num_outputs: int
    """Outputs, in all or a pixel."""
    of_pixels: bool
    """Whether it gives outputs for each pixel."""
    of_boxes: bool = False
    """Whether it gives classes and a box for each position."""


def pooled_linear(
    channels: int, num_outputs: int, *, dropout: float
) -> OrderedDict[str, nn.Module]:
    """Return the last modules of a network of images: the mean over the sides, and a linear layer.

    They take (N, channels, H, W) and give (N, num_outputs).
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    modules["mean"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    if dropout > 0:
        modules["dropout"] = nn.Dropout(dropout)
    modules["linear"] = nn.Linear(channels, num_outputs)
    return modules


class Heads(nn.Module):
    """A layer for each head, over features that they share: outputs by the head's name.

    Takes features (N, features), or (N, features, H', W') of squares of pixels, and gives of each
    head (N, outputs), or (N, outputs, H, W) where it is of pixels. A head of boxes has
    `Locations`, with one convolution in each branch.

    Reference: Caruana 1997, https://doi.org/10.1023/A:1007379606734
    """

    def __init__(
        self,
        features: int,
        heads: Sequence[HeadShape],
        *,
        patch: int | None,
        nonlinear: Nonlinear = nn.ReLU,
    ) -> None:
        """Make the layers.

        Args:
            features: Channels or features that come in.
            heads: What goes out.
            patch: Side of the square of pixels that each position stands for; None for vectors.
            nonlinear: Makes what follows a convolution.
        """
        super().__init__()
        self.layers = nn.ModuleDict()
        for head in heads:
            if patch is not None and head.of_pixels:
                self.layers[head.name] = pixels_from(features, head.num_outputs, patch)
            elif patch is not None and head.of_boxes:
                self.layers[head.name] = Locations(
                    features, head.num_outputs, stride=patch, branch=1, nonlinear=nonlinear
                )
            elif patch is not None:
                mean = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
                self.layers[head.name] = nn.Sequential(
                    *mean, nn.Linear(features, head.num_outputs)
                )
            else:
                self.layers[head.name] = nn.Linear(features, head.num_outputs)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return each head's outputs."""
        return {name: layer(features) for name, layer in self.layers.items()}
