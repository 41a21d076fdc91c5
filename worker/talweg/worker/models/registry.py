"""From a model's message to its network, one builder a message.

To add a model: a builder, and its row in `MODELS`, which a test holds complete.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from talweg.spec import category_embedding, kind
from talweg.v1 import models_pb2 as messages
from talweg.worker.models.architectures.detector import detector
from talweg.worker.models.architectures.generative import adversarial, autoencoder
from talweg.worker.models.architectures.pretrained import pretrained
from talweg.worker.models.architectures.resnet import resnet
from talweg.worker.models.architectures.tabular import tabular
from talweg.worker.models.architectures.transformer import transformer
from talweg.worker.models.architectures.unet import UnetTrunk, pixels_from
from talweg.worker.models.categories import CategoryBlock, CategoryEmbeddings
from talweg.worker.models.embedder import Normalise
from talweg.worker.models.heads import Heads, HeadShape, pooled_linear
from talweg.worker.models.layers import LAYERS, Shape
from talweg.worker.models.plugin import plugin_model

_NONLINEARITIES: dict[int, Callable[[], nn.Module]] = {
    messages.Nonlinearity.relu: nn.ReLU,
    messages.Nonlinearity.gelu: nn.GELU,
    messages.Nonlinearity.silu: nn.SiLU,
    messages.Nonlinearity.tanh: nn.Tanh,
}


def build(
    model: messages.Model,
    input_shape: Shape,
    num_outputs: int,
    *,
    seed: int,
    heads: Sequence[HeadShape] = (),
    categories: Sequence[CategoryBlock] = (),
    task: str = "",
    package: str = "",
) -> nn.Sequential:
    """Build a network on the CPU.

    Its modules are named by what they are and where they stand, such as ``linear1``, or
    ``3_conv2d`` for ``layers[3]`` of a sequential.

    Args:
        model: A filled model, checked against the data.
        input_shape: The shape of one sample: (features,) or (channels, height, width).
        num_outputs: Outputs of the last layer.
        seed: Decides the first weights: torch's default initialisation, module by module.
        heads: What a model of several heads gives; else none.
        categories: The columns of categories among the features, for a model that embeds them.
        task: The job's task, which plug-ins are told.
        package: The package that a plug-in came with, where that is known.

    Returns:
        A network from inputs (N, *input_shape) to outputs (N, num_outputs); of a model of pixels
        (N, num_outputs, height, width); of a detector the same over its grid; of one of several
        heads a mapping from each head's name to its outputs.

    Raises:
        UserSpecError: A plug-in is not installed, or does not make such a model.
    """
    name, message = kind(model)
    shape = tuple(input_shape)
    # The CPU's generator alone: no CUDA device is touched, and none is needed.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        settings = category_embedding(model)
        if settings is not None and isinstance(message, messages.Tabular):
            return nn.Sequential(tabular(message, shape, num_outputs, settings, categories))
        modules = Modules()
        if settings is not None:
            embedded = CategoryEmbeddings(settings, categories, math.prod(shape))
            modules["categories"], shape = embedded, (embedded.width,)
        if isinstance(message, messages.MultiHead):
            return nn.Sequential(modules | _multi_head(message, shape, heads))
        own = plugin_of(model)
        if own is None:
            return nn.Sequential(modules | MODELS[name](message, shape, num_outputs))
        made = plugin_model(own, shape, num_outputs, task=task, package=package)
        modules["plugin"] = made
        if isinstance(message, messages.Embedder):
            modules |= _embedding(message)
        return nn.Sequential(modules)


def plugin_of(model: messages.Model) -> messages.ModelPlugin | None:
    """Return the plug-in that a model, or its backbone, is; None where it is none."""
    for choice in (model, model.embedder.trunk):
        if choice.WhichOneof("kind") == "plugin":
            return choice.plugin
    return None


Modules = OrderedDict[str, nn.Module]


def _flattened(modules: Modules, shape: Shape) -> int:
    if len(shape) > 1:
        modules["flatten"] = nn.Flatten()
    return math.prod(shape)


def _linear(model: messages.Linear, shape: Shape, num_outputs: int) -> Modules:
    modules = Modules()
    features = _flattened(modules, shape)
    modules["linear1"] = nn.Linear(features, num_outputs, bias=model.bias)
    return modules


def _mlp(model: messages.Mlp, shape: Shape, num_outputs: int) -> Modules:
    modules = Modules()
    features = _flattened(modules, shape)
    nonlinearity = messages.Nonlinearity.Kind.Name(model.nonlinearity)
    for number, units in enumerate(model.hidden, start=1):
        modules[f"linear{number}"] = nn.Linear(features, units)
        if model.batch_norm:
            modules[f"batch_norm{number}"] = nn.BatchNorm1d(units)
        modules[f"{nonlinearity}{number}"] = _NONLINEARITIES[model.nonlinearity]()
        if model.dropout > 0:
            modules[f"dropout{number}"] = nn.Dropout(model.dropout)
        features = units
    modules[f"linear{len(model.hidden) + 1}"] = nn.Linear(features, num_outputs)
    return modules


def _convnet(model: messages.Convnet, shape: Shape, num_outputs: int) -> Modules:
    modules = Modules()
    nonlinearity = messages.Nonlinearity.Kind.Name(model.nonlinearity)
    channels, *sides = shape
    for number, width in enumerate(model.channels, start=1):
        modules[f"conv{number}"] = nn.Conv2d(
            channels, width, kernel_size=3, padding=1, bias=not model.batch_norm
        )
        if model.batch_norm:
            modules[f"batch_norm{number}"] = nn.BatchNorm2d(width)
        modules[f"{nonlinearity}{number}"] = _NONLINEARITIES[model.nonlinearity]()
        if min(sides) // 2 >= 2:
            modules[f"pool{number}"] = nn.MaxPool2d(2)
            sides = [side // 2 for side in sides]
        channels = width
    return modules | pooled_linear(channels, num_outputs, dropout=model.dropout)


def _resnet(model: messages.Resnet, shape: Shape, num_outputs: int) -> Modules:
    return resnet(model, shape, num_outputs, _NONLINEARITIES)


def _embedder(model: messages.Embedder, shape: Shape, size: int) -> Modules:
    name, trunk = kind(model.trunk)
    return MODELS[name](trunk, shape, size) | _embedding(model)


def _embedding(model: messages.Embedder) -> Modules:
    """Return what stands behind the backbone."""
    return Modules(normalise=Normalise()) if model.normalize else Modules()


def _autoencoder(model: messages.Autoencoder, shape: Shape, _: int) -> Modules:
    return autoencoder(model, shape, _NONLINEARITIES)


def _adversarial(model: messages.Adversarial, shape: Shape, _: int) -> Modules:
    return adversarial(model, shape, _NONLINEARITIES)


def _detector(model: messages.Detector, shape: Shape, num_outputs: int) -> Modules:
    return detector(model, shape, num_outputs, _NONLINEARITIES)


def _sequential(model: messages.Sequential, shape: Shape, num_outputs: int) -> Modules:
    modules = Modules()
    for index, layer in enumerate(model.layers):
        name, message = kind(layer)
        modules[f"{index}_{name}"], shape = LAYERS[name](message, shape, num_outputs)
    return modules


def _unet(model: messages.Unet, shape: Shape, num_outputs: int) -> Modules:
    modules, channels = _pixel_features(model, shape)
    modules["last"] = pixels_from(channels, num_outputs, model.patch)
    return modules


def _pixel_features(model: messages.Unet, shape: Shape) -> tuple[Modules, int]:
    """Return a unet without its last layer, and the channels that it gives of each patch."""
    modules = Modules()
    if model.patch > 1:
        modules["patches"] = nn.PixelUnshuffle(model.patch)
    channels, height, width = shape
    patched = (channels * model.patch**2, height // model.patch, width // model.patch)
    modules["trunk"] = UnetTrunk(
        patched,
        model.channels,
        nonlinear=_NONLINEARITIES[model.nonlinearity],
        norm="batch" if model.batch_norm else "none",
        dropout=model.dropout,
    )
    return modules, model.channels[0]


def _multi_head(model: messages.MultiHead, shape: Shape, heads: Sequence[HeadShape]) -> Modules:
    _, trunk = kind(model.trunk)
    if isinstance(trunk, messages.Unet):
        modules, features = _pixel_features(trunk, shape)
        nonlinear = _NONLINEARITIES[trunk.nonlinearity]
        modules["heads"] = Heads(features, heads, patch=trunk.patch, nonlinear=nonlinear)
        return modules
    assert isinstance(trunk, messages.Mlp)
    hidden = _mlp(trunk, shape, 1)
    hidden.popitem()
    layers = nn.Sequential(hidden)
    return Modules(trunk=layers, heads=Heads(trunk.hidden[-1], heads, patch=None))


MODELS: dict[str, Callable[[Any, Shape, int], Modules]] = {
    "linear": _linear,
    "mlp": _mlp,
    "convnet": _convnet,
    "sequential": _sequential,
    "embedder": _embedder,
    "autoencoder": _autoencoder,
    "adversarial": _adversarial,
    "detector": _detector,
    "pretrained": pretrained,
    "resnet": _resnet,
    "tabular": tabular,
    "transformer": transformer,
    "unet": _unet,
}
"""Every member of `Model` with its builder, but for `multi_head`, which also takes heads, and
`plugin`, which is told the task."""
