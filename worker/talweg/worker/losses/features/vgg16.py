"""VGG16 by the operator's weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from talweg.worker.errors import UserSpecError
from talweg.worker.losses.features.network import FeatureNetwork, require_layers

# Channels of the convolutions between two pools.
_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_DEFAULT = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)


class Vgg16(nn.Module):
    """The convolutions of VGG16, by torchvision's names: `features.0.weight` and so on.

    Simonyan and Zisserman 2015.
    """

    def __init__(self, depth: int = 31) -> None:
        """Make the network with torch's first weights.

        Args:
            depth: How many of its 31 features are made.
        """
        super().__init__()
        modules: list[nn.Module] = []
        channels = 3
        for block in _BLOCKS:
            for width in block:
                modules += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
                channels = width
            modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules[:depth])

    def forward(self, x: Tensor) -> Tensor:
        """Standardised images (N, 3, H, W) to the last feature."""
        features: Tensor = self.features(x)
        return features


def _relus() -> dict[str, int]:
    """Return the index of each ReLU among the features."""
    indices = {}
    index = 0
    for number, block in enumerate(_BLOCKS, start=1):
        for place in range(1, len(block) + 1):
            indices[f"relu{number}_{place}"] = index + 1
            index += 2
        index += 1
    return indices


VGG16_LAYERS = _relus()
"""The layers of VGG16 that can be compared, and their index among its features."""


def vgg16(path: Path | None, layers: Sequence[str]) -> FeatureNetwork:
    """Load the wanted layers of VGG16.

    Args:
        path: The weights, a safetensors file.
        layers: The layers that are wanted; none for the default ones.

    Raises:
        UserSpecError: No weights are named, they are not those of the network, or it has no such
            layers.
    """
    layers = layers or _DEFAULT
    require_layers(layers, VGG16_LAYERS)
    indices = [VGG16_LAYERS[layer] for layer in layers]
    with torch.device("meta"):
        network = Vgg16(max(indices) + 1)
    network.load_state_dict(_read(path, network.state_dict()), assign=True)
    # Each pool halves the sides, and the first module behind it needs a pixel.
    pools = sum(isinstance(module, nn.MaxPool2d) for module in network.features)
    return FeatureNetwork(
        network,
        [f"features.{index}" for index in indices],
        mean=torch.tensor(_IMAGENET_MEAN, dtype=torch.float64).reshape(1, 3, 1, 1),
        sd=torch.tensor(_IMAGENET_SD, dtype=torch.float64).reshape(1, 3, 1, 1),
        shape=(3, 1, 1),
        smallest=2**pools,
    )


def _read(path: Path | None, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Read the wanted weights, and no others, out of a safetensors file."""
    if path is None:
        raise UserSpecError(
            "network vgg16 needs its weights: TALWEG_VGG_WEIGHTS must name a safetensors file "
            "with them where the loss is computed, but is not set"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            missing = [name for name in wanted if name not in names]
            read = {} if missing else {name: file.get_tensor(name).float() for name in wanted}
    except (OSError, SafetensorError) as exc:
        raise UserSpecError(
            f"TALWEG_VGG_WEIGHTS must name a safetensors file with the weights of VGG16, but it "
            f"could not be read: {exc}"
        ) from exc
    if missing:
        raise UserSpecError(
            f"TALWEG_VGG_WEIGHTS must name a file with the weights of VGG16, "
            f"but {missing[0]} is not in it"
        )
    for name, tensor in read.items():
        if tensor.shape != wanted[name].shape:
            raise UserSpecError(
                f"TALWEG_VGG_WEIGHTS must name a file with the weights of VGG16, in which {name} "
                f"has shape {tuple(wanted[name].shape)}, but it has {tuple(tensor.shape)}"
            )
    return read
