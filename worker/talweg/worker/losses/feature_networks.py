"""Frozen networks whose features losses compare: VGG16, and models that this service trained.

Where their weights lie is the operator's to say, in TALWEG_VGG_WEIGHTS, TALWEG_MODELS_DIR and
TALWEG_BLOBS. A loss names no path.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from talweg import spec
from talweg.v1 import losses_pb2 as pb
from talweg.worker.errors import UserSpecError
from talweg.worker.settings import Settings

if TYPE_CHECKING:
    from talweg.worker.tracking.models import Predictor

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
            smallest: The smallest H and W, where any above them will do; None where only the
                network itself tells which it takes.
        """
        super().__init__()
        self.network = network.requires_grad_(False)
        self.modules_wanted = tuple(modules)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("sd", sd, persistent=False)
        self._shape, self._smallest = shape, smallest
        self._taken: set[tuple[int, ...]] = set()
        self.train(False)

    def train(self, _mode: bool = True) -> FeatureNetwork:
        """Stay in evaluation mode, whatever is asked for."""
        super().train(False)
        return self

    @property
    def digest(self) -> str:
        """A sha256 of all that decides the features."""
        found = hashlib.sha256()
        named = {**self.network.state_dict(), "mean": self.mean, "sd": self.sd}
        for name, tensor in sorted(named.items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def require_images(self, name: str, images: Tensor) -> None:
        """Refuse images (N, C, H, W) that the network cannot take.

        Raises:
            ValueError: Naming both shapes.
        """
        shape = tuple(images.shape[1:])
        if shape in self._taken:
            return
        if shape[0] == self._shape[0] and self._takes(shape):
            self._taken.add(shape)
            return
        raise ValueError(f"{name} must be images of {self._allowed()}, but got {shape}")

    def _takes(self, shape: tuple[int, ...]) -> bool:
        if self._smallest is not None:
            return min(shape[1:]) >= self._smallest
        try:
            self(self.mean.new_zeros(1, *shape, dtype=torch.float32))
        except (RuntimeError, ValueError):
            return False
        return True

    def _allowed(self) -> str:
        channels, *sides = self._shape
        many = f"{channels} channel{'s' * (channels != 1)}"
        if self._smallest is None:
            twice = (channels, *(2 * side for side in sides))
            if not self._takes(twice):
                return f"the model's shape {self._shape}"
            squares = ((channels, side, side) for side in range(1, max(sides) + 1))
            least = next((shape[1] for shape in squares if self._takes(shape)), max(sides))
        else:
            least = self._smallest
        return f"{many} and at least {least} by {least} pixels for these layers"

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the wanted outputs of one pass, in the order in which they were asked for.

        Raises:
            ValueError: One of them is no tensor with a value a sample.
        """
        own = (*self.network.parameters(), *self.network.buffers())
        if any(t.is_floating_point() and t.dtype is not images.dtype for t in own):
            self.network.to(images.dtype)
        found: dict[str, object] = {}

        def keep(name: str) -> None:
            def hook(_module: nn.Module, _inputs: object, output: object) -> None:
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
        features = []
        for name in self.modules_wanted:
            output = found.get(name)
            if not isinstance(output, Tensor) or output.shape[:1] != images.shape[:1]:
                raise ValueError(f"layer {name} gives no tensor of an image's features")
            features.append(output)
        return features


def load(network: pb.FeatureNetwork, layers: Sequence[str]) -> FeatureNetwork:
    """Load the network that a filled message names.

    Args:
        network: Which.
        layers: The layers that are wanted; none for the default ones.

    Raises:
        UserSpecError: No weights are named or kept, they are not those of the network, or it has
            no such layers.
        StoreAwayError: The blob store, in which a job's model is, cannot be reached now.
    """
    doubled = [layer for index, layer in enumerate(layers) if layer in layers[:index]]
    if doubled:
        raise UserSpecError(f"layers must be named once each, but got {doubled[0]} again")
    _, message = spec.kind(network)
    settings = Settings.from_env()
    if isinstance(message, pb.JobModel):
        return _of_job(settings.blobs, message, layers)
    if isinstance(message, pb.TrainedModel):
        return _of_folder(settings.models_dir, message.model, layers)
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
        raise UserSpecError(
            "network vgg16 needs its weights: TALWEG_VGG_WEIGHTS must name a safetensors file "
            "with them where the loss is computed, but is not set"
        )
    try:
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            missing = [name for name in wanted if name not in held]
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


def _of_job(store: str, model: pb.JobModel, layers: Sequence[str]) -> FeatureNetwork:
    # Imported here, as in `_of_folder`.
    from talweg.worker.storage import trained_models
    from talweg.worker.storage.blobs import Blobs
    from talweg.worker.tracking.models import rebuilt
    from talweg.worker.training import StoreAwayError

    try:
        blobs = Blobs(store)
    except (OSError, ImportError, ValueError) as exc:
        raise StoreAwayError(f"the blob store cannot be used: {exc}") from exc
    try:
        kept = trained_models.read(blobs, model.job, model.sha256)
    except OSError as exc:
        raise StoreAwayError(f"the blob store does not answer: {exc}") from exc
    except trained_models.NoModelError as exc:
        raise UserSpecError(f"network.job must be a job whose model is kept, but {exc}") from exc
    try:
        shape, predictor = (
            tuple(kept.description["input_shape"]),
            rebuilt(kept.description, kept.weights),
        )
    except Exception as exc:  # Whatever the file holds.
        raise UserSpecError(
            f"network.job must be a job whose model can be built, but that of {model.job} cannot: "
            f"{' '.join(str(exc).split())}"
        ) from exc
    return _of_model(predictor, shape, f"job {model.job}", layers)


def _of_folder(folder: Path | None, name: str, layers: Sequence[str]) -> FeatureNetwork:
    # Imported here: the tasks whose models are rebuilt import the losses.
    from talweg.worker.tracking.models import rebuild
    from talweg.worker.tracking.spool import MODEL

    if not spec.is_model_folder(name):
        raise UserSpecError(
            "network trained must name a folder by letters, digits, spaces, dots, dashes and "
            f"underscores, beginning with a letter or digit, but got {name[:100]!a}"
        )
    if folder is None:
        raise UserSpecError(
            f"network trained {name} must be in the folder that TALWEG_MODELS_DIR names where "
            f"the loss is computed, but that is not set"
        )
    try:
        shape = tuple(json.loads((folder / name / MODEL).read_text())["input_shape"])
        predictor = rebuild(folder / name)
    except Exception as exc:  # Whatever the files hold.
        raise UserSpecError(
            f"network trained must be a model in the folder that TALWEG_MODELS_DIR names, "
            f"but {name} could not be built: {' '.join(str(exc).split())}"
        ) from exc
    return _of_model(predictor, shape, f"trained {name}", layers)


def _of_model(
    predictor: Predictor, shape: tuple[int, ...], name: str, layers: Sequence[str]
) -> FeatureNetwork:
    if len(shape) != 3:
        raise UserSpecError(
            f"network must be a model of images (C, H, W), but {name} takes {shape}"
        )
    whole = predictor.network
    known = [path for path, _ in whole.named_modules() if path]
    if not layers:
        raise UserSpecError(
            f"layers must name modules of {name}, {', '.join(known)}, but got none"
        )
    _require_layers(layers, known)
    # What stands behind the last layer is not computed: it often takes one size of images alone.
    children = dict(whole.named_children())
    last = max(list(children).index(layer.partition(".")[0]) for layer in layers)
    features = FeatureNetwork(
        nn.Sequential(OrderedDict(list(children.items())[: last + 1])),
        layers,
        mean=predictor.input_mean,
        sd=predictor.input_sd,
        shape=shape,
    )
    try:
        features(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, TypeError) as exc:
        raise UserSpecError(
            f"layers must be modules of {name} that give features of an image, but: "
            f"{' '.join(str(exc).split())}"
        ) from exc
    return features


def _require_layers(layers: Sequence[str], known: Sequence[str] | Mapping[str, int]) -> None:
    for layer in layers:
        if layer not in known:
            raise UserSpecError(f"layers must be among {', '.join(known)}, but got {layer}")
