"""The layers of a sequential model: each a module of torch.nn and the shape that it gives.

To add one: a function, and its row in `LAYERS`, which a test holds complete. A function takes the
layer's filled message, the shape of one sample and the number of outputs that task and loss need.
That they fit together is the server's to check, without torch.
"""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from talweg.v1 import models_pb2 as messages

Shape = tuple[int, ...]
Built = tuple[nn.Module, Shape]


def _linear(layer: messages.LinearLayer, shape: Shape, num_outputs: int) -> Built:
    features = layer.out_features if layer.HasField("out_features") else num_outputs
    return nn.Linear(shape[-1], features, bias=layer.bias), (*shape[:-1], features)


def _conv2d(layer: messages.Conv2d, shape: Shape, _: int) -> Built:
    channels, *sides = shape
    module = nn.Conv2d(
        channels,
        layer.out_channels,
        kernel_size=layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        bias=layer.bias,
    )
    padded = [side + 2 * layer.padding for side in sides]
    return module, (layer.out_channels, *_windows(padded, layer.kernel_size, layer.stride))


def _pool2d(module: Callable[..., nn.Module]) -> Callable[[Any, Shape, int], Built]:
    def build(layer: messages.Pool2d, shape: Shape, _: int) -> Built:
        channels, *sides = shape
        stride = layer.stride if layer.HasField("stride") else layer.kernel_size
        windows = _windows(sides, layer.kernel_size, stride)
        return module(layer.kernel_size, stride), (channels, *windows)

    return build


def _adaptive_pool2d(layer: messages.AdaptivePool2d, shape: Shape, _: int) -> Built:
    channels, *_sides = shape
    size = layer.output_size
    return nn.AdaptiveAvgPool2d(size), (channels, size, size)


def _batch_norm(layer: messages.BatchNorm, shape: Shape, _: int) -> Built:
    module = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return module(shape[0], momentum=layer.momentum), shape


def _layer_norm(_layer: messages.LayerNorm, shape: Shape, _: int) -> Built:
    return nn.LayerNorm(shape), shape


def _group_norm(layer: messages.GroupNorm, shape: Shape, _: int) -> Built:
    return nn.GroupNorm(layer.num_groups, shape[0]), shape


def _dropout(layer: messages.Dropout, shape: Shape, _: int) -> Built:
    return nn.Dropout(layer.p), shape


def _flatten(_layer: messages.Flatten, shape: Shape, _: int) -> Built:
    return nn.Flatten(), (math.prod(shape),)


def _leaky_relu(layer: messages.LeakyRelu, shape: Shape, _: int) -> Built:
    return nn.LeakyReLU(layer.negative_slope), shape


def _softmax(_layer: messages.Softmax, shape: Shape, _: int) -> Built:
    return nn.Softmax(dim=1), shape


def _plain(module: Callable[[], nn.Module]) -> Callable[[Any, Shape, int], Built]:
    """Return a layer that has no parameters and keeps the shape."""
    return lambda _layer, shape, _: (module(), shape)


def _windows(sides: list[int], kernel_size: int, stride: int) -> list[int]:
    return [(side - kernel_size) // stride + 1 for side in sides]


LAYERS: dict[str, Callable[[Any, Shape, int], Built]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "max_pool2d": _pool2d(nn.MaxPool2d),
    "avg_pool2d": _pool2d(nn.AvgPool2d),
    "adaptive_avg_pool2d": _adaptive_pool2d,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "dropout": _dropout,
    "flatten": _flatten,
    "relu": _plain(nn.ReLU),
    "leaky_relu": _leaky_relu,
    "elu": _plain(nn.ELU),
    "gelu": _plain(nn.GELU),
    "silu": _plain(nn.SiLU),
    "tanh": _plain(nn.Tanh),
    "sigmoid": _plain(nn.Sigmoid),
    "softplus": _plain(nn.Softplus),
    "softmax": _softmax,
}
"""Every member of `Layer` with its builder."""
