"""Shapes followed without torch, held against the networks that are really built."""

import random
import warnings
from typing import Any

import pytest
from tests.proto.specs import base, checked, layers

from talweg.spec import fill, from_dict, num_outputs

# layers on images of 1×8×8 with 10 classes, field, part of found, part of allowed, part of hint
REFUSED: dict[str, tuple[list[Any], str, str, str, str]] = {
    "linear on images": (
        [{"conv2d": {}}, "linear"], "[1].linear", "images of 16×6×6", "vectors", "flatten",
    ),
    "convolution on vectors": (
        ["flatten", {"conv2d": {}}, "linear"], "[1]", "conv2d on vectors of 64", "images",
        "no flatten before this",
    ),
    "pooling on vectors": (
        ["flatten", "max_pool2d", "linear"], "[1]", "max_pool2d on vectors", "images", "",
    ),
    "a kernel beyond the image": (
        [{"conv2d": {"kernel_size": 9}}, "flatten", "linear"], "[0].conv2d.kernel_size",
        "9 on images of 1×8×8", "at most 8", "",
    ),
    "a kernel beyond the padded image": (
        [{"conv2d": {"kernel_size": 13, "padding": 2}}, "flatten", "linear"],
        "[0].conv2d.kernel_size", "13 on images of 1×8×8 and padding 2", "at most 12", "",
    ),
    "one pooling too many": (
        ["max_pool2d", "max_pool2d", "max_pool2d", "avg_pool2d", "flatten", "linear"],
        "[3].avg_pool2d.kernel_size", "2 on images of 1×1×1", "at most 1", "fewer pooling layers",
    ),
    "groups that do not divide": (
        [{"conv2d": {"out_channels": 12}}, "group_norm", "flatten", "linear"],
        "[1].group_norm.num_groups", "8", "a divisor of the 12 channels", "1, 2, 3, 4, 6, 12",
    ),
    "other outputs": (
        ["flatten", {"linear": {"out_features": 5}}], "[1].linear.out_features", "5", "10,",
        "leave it out",
    ),
    "other outputs before a softmax": (
        ["flatten", {"linear": {"out_features": 5}}, "tanh"], "[1].linear.out_features", "5",
        "10,", "leave it out",
    ),
    "images at the end": (
        [{"conv2d": {"out_channels": 10}}], "[0]", "images 10×6×6 at the end", "10,", "flatten",
    ),
    "no linear layer at the end": (
        ["flatten"], "[0]", "64 outputs at the end", "10,", "end with linear",
    ),
    "two open linear layers": (
        ["flatten", "linear", "relu", "linear"], "[1].linear.out_features",
        "nothing, with a linear layer after it", "only the last layer with weights", "",
    ),
    "a norm after the open layer": (
        ["flatten", "linear", "layer_norm"], "[1].linear.out_features",
        "nothing, with a layer_norm layer after it", "only the last layer with weights", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    items, field, found, allowed, hint = REFUSED[name]
    (violation,), _ = checked(layers(*items))
    assert violation.field == f"model.sequential.layers{field}"
    assert found in violation.found
    assert allowed in violation.allowed
    assert hint in violation.hint


def test_several_layers_at_once() -> None:
    violations, _ = checked(
        layers({"conv2d": {"out_channels": 6}}, "group_norm", {"linear": {"out_features": 3}},
               "batch_norm", "conv2d")
    )  # fmt: skip
    assert [v.field for v in violations] == [
        "model.sequential.layers[1].group_norm.num_groups",
        "model.sequential.layers[2].linear",
        "model.sequential.layers[4]",
    ]


def test_outputs_follow_from_the_loss() -> None:
    quantiles = {"multi_quantile": {"quantiles": [0.1, 0.5, 0.9]}}

    def fields(out: int) -> list[str]:
        model = {"sequential": {"layers": [{"linear": {"out_features": out}}]}}
        return [v.field for v in checked(base(model=model, loss=quantiles))[0]]

    assert fields(3) == []
    assert fields(1) == ["model.sequential.layers[0].linear.out_features"]


def random_layers(rng: random.Random) -> list[Any]:
    def pick(*values: int) -> int:
        return rng.choice(values)

    kinds: list[Any] = [
        {"conv2d": {"out_channels": pick(4, 6, 8, 10), "kernel_size": pick(1, 2, 3, 5),
                    "stride": pick(1, 1, 2, 3), "padding": pick(0, 0, 1, 3)}},
        {"max_pool2d": {"kernel_size": pick(1, 2, 3), "stride": pick(1, 2, 4)}},
        {"avg_pool2d": {"kernel_size": pick(2, 3)}},
        {"adaptive_avg_pool2d": {"output_size": pick(1, 2, 3)}},
        {"group_norm": {"num_groups": pick(1, 2, 4, 5)}},
        {"linear": {"out_features": pick(8, 10, 12)}},
        "batch_norm", "layer_norm", "flatten", "relu", "softmax",
    ]  # fmt: skip
    items = [rng.choice(kinds) for _ in range(rng.randrange(5))]
    if rng.random() < 0.8:
        items.append("flatten")
    if rng.random() < 0.7:
        items.append("linear")
    return items


def accepted_by_torch(value: dict[str, Any]) -> bool:
    import torch

    from talweg.worker.models import build

    spec = fill(from_dict(value))
    outputs = num_outputs(spec, 10)
    with warnings.catch_warnings():
        # Of layers of no size, which do not run.
        warnings.simplefilter("ignore")
        try:
            network = build(spec.model, (1, 8, 8), outputs, seed=0)
            return bool(network(torch.zeros(3, 1, 8, 8)).shape == (3, outputs))
        except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
            return False


@pytest.mark.parametrize("seed", range(300))
def test_what_is_accepted_runs_and_what_is_refused_does_not(seed: int) -> None:
    items = random_layers(random.Random(seed))
    value = layers(*items) if items else layers("flatten")
    violations, _ = checked(value)
    # What torch allows and is refused all the same: a linear layer over one side of images, and
    # outputs that stand before the last weights.
    stricter = any(
        v.field.endswith("].linear") or "nothing, with" in v.found for v in violations
    )  # fmt: skip
    if not stricter:
        assert accepted_by_torch(value) == (violations == []), violations
