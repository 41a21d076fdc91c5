"""Frozen networks whose features losses compare: VGG16, and models that this service trained.

Where their weights lie is the operator's to say, in TALWEG_VGG_WEIGHTS and TALWEG_MODELS_DIR. A
loss names no path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.worker.settings import Settings

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
    """The index of each ReLU among the features."""
    found = {}
    index = 0
    for number, block in enumerate(_BLOCKS, start=1):
        for place in range(1, len(block) + 1):
            found[f"relu{number}_{place}"] = index + 1
            index += 2
        index += 1
    return found


VGG16_LAYERS = _relus()
"""The layers of VGG16 that can be compared, and their index among its features."""


class FeatureNetwork(nn.Module):
    """A frozen network, and the layers whose outputs are wanted of it."""

    mean: Tensor
    """What is taken off the images: one number, or one a channel."""
    sd: Tensor
    """What they are divided by then, of the same shape."""

    def __init__(
        self,
        network: nn.Module,
        modules: Sequence[str],
        *,
        mean: Tensor,
        sd: Tensor,
        shape: tuple[int, ...],
        smallest: int | None = None,
    ) -> None:
        """Freeze a network.

        Args:
            network: Takes standardised images.
            modules: The paths of the modules whose outputs are wanted.
            mean: Of the images (1, C or 1, 1, 1).
            sd: Of the same shape.
            shape: One image's shape (C, H, W).
            smallest: The smallest H and W, where they may differ from those of shape.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self.modules_wanted = tuple(modules)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("sd", sd, persistent=False)
        self._shape, self._smallest = shape, smallest
        self.train(False)

    def train(self, _mode: bool = True) -> FeatureNetwork:
        """Stay in evaluation mode, whatever is asked for."""
        super().train(False)
        return self

    def require_images(self, name: str, images: Tensor) -> None:
        """Refuse images (N, C, H, W) that the network cannot take.

        Raises:
            ValueError: Naming both shapes.
        """
        shape = tuple(images.shape[1:])
        if self._smallest is None:
            if shape != self._shape:
                raise ValueError(
                    f"{name} must be images of the model's shape {self._shape}, but got {shape}"
                )
        elif shape[0] != self._shape[0] or min(shape[1:]) < self._smallest:
            raise ValueError(
                f"{name} must be images of {self._shape[0]} channels and at least "
                f"{self._smallest} by {self._smallest} pixels for these layers, but got {shape}"
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the wanted outputs of one pass, in the order in which they were asked for."""
        if next(self.network.parameters()).dtype is not images.dtype:
            self.network.to(images.dtype)
        found: dict[str, Tensor] = {}

        def keep(name: str) -> None:
            def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
                found[name] = output

            handles.append(self.network.get_submodule(name).register_forward_hook(hook))

        handles: list[torch.utils.hooks.RemovableHandle] = []
        try:
            for name in self.modules_wanted:
                keep(name)
            self.network((images - self.mean.to(images)) / self.sd.to(images))
        finally:
            for handle in handles:
                handle.remove()
        return [found[name] for name in self.modules_wanted]


def load(network: pb.FeatureNetwork, layers: Sequence[str]) -> FeatureNetwork:
    """Load the network that a filled message names.

    Args:
        network: Which.
        layers: The layers that are wanted; none for the default ones.

    Raises:
        ValueError: The operator has named no weights, they are not those of the network, or it has
            no such layers.
    """
    doubled = [layer for index, layer in enumerate(layers) if layer in layers[:index]]
    if doubled:
        raise ValueError(f"layers must be named once each, but got {doubled[0]} again")
    name, message = spec.kind(network)
    settings = Settings.from_env()
    if isinstance(message, pb.TrainedModel):
        return _trained(settings.models_dir, message.model, layers)
    assert name == "vgg16"
    return _vgg16(settings.vgg_weights, layers or _DEFAULT)


def _vgg16(path: Path | None, layers: Sequence[str]) -> FeatureNetwork:
    _require_layers(layers, VGG16_LAYERS)
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
    from safetensors import SafetensorError, safe_open

    if path is None:
        raise ValueError(
            "network vgg16 needs its weights: TALWEG_VGG_WEIGHTS must name a safetensors file "
            "with them where the loss is computed, but is not set"
        )
    try:
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            missing = [name for name in wanted if name not in held]
            read = {} if missing else {name: file.get_tensor(name).float() for name in wanted}
    except (OSError, SafetensorError) as exc:
        raise ValueError(
            f"TALWEG_VGG_WEIGHTS must name a safetensors file with the weights of VGG16, but it "
            f"could not be read: {exc}"
        ) from exc
    if missing:
        raise ValueError(
            f"TALWEG_VGG_WEIGHTS must name a file with the weights of VGG16, "
            f"but {missing[0]} is not in it"
        )
    for name, tensor in read.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"TALWEG_VGG_WEIGHTS must name a file with the weights of VGG16, in which {name} "
                f"has shape {tuple(wanted[name].shape)}, but it has {tuple(tensor.shape)}"
            )
    return read


def _trained(folder: Path | None, name: str, layers: Sequence[str]) -> FeatureNetwork:
    # Imported here: the tasks whose models are rebuilt import the losses.
    from talweg.worker.tracking.models import rebuild
    from talweg.worker.tracking.spool import MODEL

    if folder is None:
        raise ValueError(
            f"network trained {name} must be in the folder that TALWEG_MODELS_DIR names where "
            f"the loss is computed, but that is not set"
        )
    try:
        shape = tuple(json.loads((folder / name / MODEL).read_text())["input_shape"])
        predictor = rebuild(folder / name)
    except Exception as exc:  # Whatever the files hold.
        raise ValueError(
            f"network trained must be a model in the folder that TALWEG_MODELS_DIR names, "
            f"but {name} could not be built: {' '.join(str(exc).split())}"
        ) from exc
    if len(shape) != 3:
        raise ValueError(
            f"network trained must be a model of images (C, H, W), but {name} takes {shape}"
        )
    known = [path for path, _ in predictor.network.named_modules() if path]
    if not layers:
        raise ValueError(f"layers must name modules of {name}, {', '.join(known)}, but got none")
    _require_layers(layers, known)
    return FeatureNetwork(
        predictor.network,
        layers,
        mean=predictor.input_mean,
        sd=predictor.input_sd,
        shape=shape,
    )


def _require_layers(layers: Sequence[str], known: Sequence[str] | Mapping[str, int]) -> None:
    for layer in layers:
        if layer not in known:
            raise ValueError(f"layers must be among {', '.join(known)}, but got {layer}")
