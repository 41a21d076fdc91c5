"""Residual networks: their shapes, what they begin as, and what they pass on."""

from typing import Any

import pytest
import torch
from tests.worker.models.test_models import build
from torch import nn


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def convolution(channels: int, width: int, side: int = 3) -> int:
    return channels * width * side**2


def test_it_has_the_layers_of_the_paper() -> None:
    # The paper's network of 20 layers, whose shortcuts have no weights, and two projections.
    built = build({"resnet": {"stages": 3, "blocks": 3, "width": 16}}, (3, 32, 32), 10)
    convolutions = [m for m in built.modules() if isinstance(m, nn.Conv2d)]
    assert len([m for m in convolutions if m.kernel_size == (3, 3)]) == 19
    blocks = sum(
        convolution(before, width) + 5 * convolution(width, width)
        for before, width in ((16, 16), (16, 32), (32, 64))
    )
    factors = 2 * (16 + 6 * (16 + 32 + 64))
    without_shortcuts = convolution(3, 16) + blocks + factors + 64 * 10 + 10
    assert without_shortcuts == 269_722
    projections = convolution(16, 32, 1) + convolution(32, 64, 1) + 2 * (32 + 64)
    assert count(built) == without_shortcuts + projections


@pytest.mark.parametrize(
    ("shape", "sides"),
    [
        ((1, 8, 8), [(8, 8), (4, 4), (2, 2), (2, 2)]),
        ((3, 9, 7), [(9, 7), (5, 4), (3, 2), (3, 2)]),
        ((2, 1, 5), [(1, 5), (1, 5), (1, 5), (1, 5)]),
    ],
)
def test_stages_halve_the_sides_while_two_pixels_are_left(
    shape: tuple[int, ...], sides: list[tuple[int, int]]
) -> None:
    built = build({"resnet": {"stages": 4, "blocks": 2, "width": 4}}, shape, 5)
    found: dict[str, tuple[int, ...]] = {}

    def keep(name: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: torch.Tensor) -> None:
            found[name] = tuple(output.shape[1:])

        built.get_submodule(name).register_forward_hook(hook)

    for stage in range(1, 5):
        keep(f"block{stage}_2")
    assert built(torch.randn(3, *shape)).shape == (3, 5)
    assert list(found.values()) == [(4 * 2**stage, *side) for stage, side in enumerate(sides)]


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_blocks_begin_by_adding_nothing_and_learn(norm: str) -> None:
    spec = {"width": 8, "stages": 1, "blocks": 2, "norm": norm}
    built = build({"resnet": spec}, (1, 6, 6), 3)
    x = torch.randn(5, 8, 6, 6).relu()
    for name in ("block1_1", "block1_2"):
        assert torch.equal(built.get_submodule(name)(x), x)
    loss = nn.functional.cross_entropy(
        built(torch.randn(5, 1, 6, 6)), torch.tensor([0, 1, 2, 0, 1])
    )
    # What is 0 has a gradient, so that it does not stay so.
    last = "conv2" if norm == "none" else "norm2"
    weight = built.get_parameter(f"block1_2.{last}.weight")
    (slope,) = torch.autograd.grad(loss, weight)
    assert not weight.any()
    assert slope.any()
    plain = build({"resnet": {**spec, "zero_init": False}}, (1, 6, 6), 3)
    assert not torch.equal(plain.get_submodule("block1_1")(x), x)


def test_every_parameter_has_a_gradient_once_blocks_add_something() -> None:
    for norm in ("batch", "group", "none"):
        spec = {"width": 8, "zero_init": False, "norm": norm, "dropout": 0.5}
        built = build({"resnet": spec}, (1, 8, 8), 10)
        loss = built(torch.randn(6, 1, 8, 8)).logsumexp(dim=1).sum()
        slopes = torch.autograd.grad(loss, list(built.parameters()))
        # A constant before batch normalisation would have none: there is no such constant.
        assert all(bool(slope.any()) for slope in slopes)


def test_what_goes_around_a_block_is_its_input() -> None:
    built = build({"resnet": {"width": 4, "stages": 2, "blocks": 2}}, (1, 8, 8), 2)
    assert isinstance(built.get_submodule("block1_1.shortcut"), nn.Identity)
    assert isinstance(built.get_submodule("block2_2.shortcut"), nn.Identity)
    projection = built.get_submodule("block2_1.shortcut.0")
    assert isinstance(projection, nn.Conv2d)
    assert (projection.kernel_size, projection.stride) == ((1, 1), (2, 2))


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_norms(norm: str) -> None:
    spec: dict[str, Any] = {"norm": norm, "width": 12, "groups": 3, "zero_init": False}
    built = build({"resnet": spec}, (1, 8, 8), 2)
    kinds = {type(module) for module in built.modules()}
    assert (nn.BatchNorm2d in kinds) == (norm == "batch")
    assert (nn.GroupNorm in kinds) == (norm == "group")
    # A convolution has a constant of its own where no normalisation brings one.
    assert ("conv.bias" in built.state_dict()) == (norm == "none")
    x = torch.randn(6, 1, 8, 8)
    # Batch normalisation alone makes a sample's outputs depend on the others.
    alone = torch.cat([built(x[:3]), built(x[3:])])
    assert torch.allclose(alone, built(x), atol=1e-5) == (norm != "batch")


def test_the_same_seed_gives_the_same_network() -> None:
    first, second, other = (
        build({"resnet": {"nonlinearity": "silu"}}, (1, 8, 8), 10, seed=seed).state_dict()
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["block2_1.conv1.weight"], other["block2_1.conv1.weight"])


def test_an_embedder_ends_in_its_vectors() -> None:
    trunk = {"resnet": {"width": 4, "stages": 2, "blocks": 1}}
    built = build({"embedder": {"trunk": trunk, "size": 5}}, (1, 8, 8), 5)
    x = torch.randn(6, 1, 8, 8)
    bare = build(trunk, (1, 8, 8), 5)
    assert torch.allclose(built(x), nn.functional.normalize(bare(x), dim=1))
