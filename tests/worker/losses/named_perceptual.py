"""Rows of the perceptual loss, by a small trained model in the place of VGG16."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tests.worker.losses.formulas import Number, mp
from tests.worker.losses.named import Arrays, Named
from torch import Tensor

from talweg.spec import fill_message, from_dict, to_dict
from talweg.v1.models_pb2 import Model

NAME = "small-1"
"""The model's folder, in TALWEG_MODELS_DIR."""
LAYERS = ("0_conv2d", "1_relu", "3_linear")
"""The layers of it that are compared."""

_MODEL: list[Any] = [
    {"conv2d": {"out_channels": 2, "kernel_size": 2}},
    "relu",
    "flatten",
    "linear",
]
_MEAN, _SD = 0.5, 0.25
KERNELS = [[[[0.5, -1.0], [0.25, 2.0]]], [[[-0.75, 0.5], [1.5, -0.5]]]]
BIAS = [0.1, -0.3]
_GENERATOR = torch.Generator().manual_seed(9)
# Three by three pixels give two by two windows in each of two channels, so eight numbers.
_LINEAR = (torch.rand(2, 8, generator=_GENERATOR) * 32).round().div(16).sub(1).tolist()


def write_model(folder: Path, layers: Sequence[Any] = _MODEL, **changed: Any) -> None:
    """Write a model as the service keeps it.

    Args:
        folder: Where to.
        layers: Its layers. Weights are those of convolution, ReLU, flatten and linear, or of a
            linear layer alone.
        changed: What its description says otherwise.
    """
    folder.mkdir()
    model = fill_message(from_dict({"sequential": {"layers": list(layers)}}, Model))
    description = {
        "format": 1,
        "task": "multiclass",
        "model": to_dict(model),
        "input_shape": [1, 3, 3],
        "num_outputs": 2,
        "inputs": {"names": [], "mean": [_MEAN], "sd": [_SD]},
        "targets": {"names": ["yes", "no"], "per_target": 1},
        "answer": "softmax",
        **changed,
    }
    (folder / "model.json").write_text(json.dumps(description))
    weights = {
        "0_conv2d.weight": torch.tensor(KERNELS),
        "0_conv2d.bias": torch.tensor(BIAS),
        "3_linear.weight": torch.tensor(_LINEAR),
        "3_linear.bias": torch.zeros(2),
    }
    if len(layers) == 1:
        weights = {"0_linear.weight": torch.tensor(_LINEAR), "0_linear.bias": torch.zeros(2)}
    save_file(weights, folder / "weights.safetensors")


def _layers_of(image: Any) -> dict[str, Any]:
    """Return each layer's output for one image (1, 3, 3)."""
    x = (image[0] - mp.mpf(_MEAN)) / mp.mpf(_SD)
    convolved = np.empty((2, 2, 2), dtype=object)
    for c, i, j in np.ndindex(2, 2, 2):
        bias = mp.mpf(torch.tensor(BIAS)[c].item())
        kernel = np.array(KERNELS[c][0])
        convolved[c, i, j] = (kernel * x[i : i + 2, j : j + 2]).sum() + bias
    rectified = np.vectorize(lambda v: max(v, mp.mpf(0)), otypes=[object])(convolved)
    linear = np.array(_LINEAR) @ rectified.flatten()
    return dict(zip(LAYERS, (convolved, rectified, linear), strict=True))


def perceptual(
    given: Arrays,
    network: Any = None,
    layers: list[str] | None = None,
    layer_weights: list[float] | None = None,
    learned: bool = False,
) -> tuple[list[Number], Number]:
    assert layers is not None
    inputs = given.get("layer_weights")
    weights = layer_weights or [1] * len(layers) if inputs is None else list(inputs)
    values = []
    for pred, target in zip(given["pred"], given["target"], strict=True):
        found, wanted = _layers_of(pred), _layers_of(target)
        total = mp.mpf(0)
        for layer, weight in zip(layers, weights, strict=True):
            squares = (found[layer] - wanted[layer]) ** 2
            total += weight * squares.sum() / squares.size
            if learned:
                total -= mp.log(weight)
        values.append(total)
    return values, len(values)


def _images(number: int) -> Any:
    shape = (number, 1, 3, 3)
    return (torch.rand(*shape, generator=_GENERATOR) * 64).round().div(64).tolist()


_PAIR = {"pred": _images(2), "target": _images(2)}
_TRAINED: dict[str, Any] = {"network": {"trained": NAME}}
_ALL = {**_TRAINED, "layers": list(LAYERS)}

NAMED: list[Named] = [
    Named("perceptual", _PAIR, perceptual, {**_TRAINED, "layers": ["1_relu"]}),
    Named("perceptual", _PAIR, perceptual, _ALL),
    Named("perceptual", _PAIR, perceptual, {**_ALL, "layer_weights": [0.5, 0.0, 2.0]}),
    Named(
        "perceptual",
        {**_PAIR, "layer_weights": [0.5, 1.25, 2.0]},
        perceptual,
        _ALL,
        ("pred", "layer_weights"),
    ),
    Named("perceptual", _PAIR, perceptual, {**_ALL, "learned": True, "layer_weights": [2, 1, 3]}),
    Named(
        "perceptual",
        {**_PAIR, "layer_weights": [0.5, 1.25, 2.0]},
        perceptual,
        {**_ALL, "learned": True},
        ("pred", "layer_weights"),
    ),
]

_FAR = torch.tensor([1e4, -1e4, 0.0] * 3).reshape(1, 1, 3, 3)
_SPEC: dict[str, Any] = {"perceptual": _ALL}
_NONE = torch.empty(0, 1, 3, 3)

EXTREME: list[tuple[str, dict[str, Any], dict[str, Tensor]]] = [
    ("perceptual", _ALL, {"pred": _FAR, "target": -_FAR}),
    ("perceptual", _ALL, {"pred": _FAR, "target": _FAR}),
]
EMPTY: dict[str, tuple[Any, dict[str, Tensor]]] = {
    "perceptual": (_SPEC, {"pred": _NONE, "target": _NONE}),
    "perceptual of what is alike": (_SPEC, {"pred": _FAR, "target": _FAR}),
}

_IMAGE = torch.rand(2, 1, 3, 3)
_GOOD = {"pred": _IMAGE, "target": _IMAGE}

SHAPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        _SPEC,
        {"pred": _IMAGE, "target": _IMAGE[:1]},
        r"target must have the shape of pred, \(2, 1, 3, 3\), but got \(1, 1, 3, 3\)",
    ),
    (
        _SPEC,
        {"pred": _IMAGE[0], "target": _IMAGE[0]},
        r"pred must have 4 dimensions \(N, C, H, W\), but got shape \(1, 3, 3\)",
    ),
    (
        _SPEC,
        {"pred": torch.rand(2, 1, 4, 3), "target": torch.rand(2, 1, 4, 3)},
        r"pred must be images of the model's shape \(1, 3, 3\), but got \(1, 4, 3\)",
    ),
    (
        _SPEC,
        {**_GOOD, "layer_weights": torch.ones(2)},
        r"layer_weights must have one value per layer, \(3,\), but got \(2,\)",
    ),
]
DTYPES: list[tuple[Any, dict[str, Tensor], str]] = [
    (_SPEC, {"pred": _IMAGE, "target": _IMAGE.byte()}, "target must be floating point, but got"),
    (
        _SPEC,
        {**_GOOD, "layer_weights": torch.ones(3).long()},
        "layer_weights must be floating point, but got torch.int64",
    ),
]
NAMES: list[tuple[Any, dict[str, Tensor], str]] = [
    (_SPEC, {"pred": _IMAGE}, "found missing target"),
    (
        {"perceptual": {**_ALL, "layer_weights": [1, 1, 1]}},
        {**_GOOD, "layer_weights": torch.ones(3)},
        "layer_weights must be inputs or parameters, but got both",
    ),
]
VALUES: list[tuple[Any, dict[str, Tensor], str]] = [
    (
        _SPEC,
        {**_GOOD, "layer_weights": torch.tensor([1.0, -0.5, 1.0])},
        "layer_weights must be at least 0, but got -0.5",
    ),
]
