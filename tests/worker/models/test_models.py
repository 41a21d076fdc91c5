from typing import Any

import pytest
import torch
from torch import nn

from talweg.spec import fill_message, from_dict
from talweg.v1.models_pb2 import Layer, Model, Nonlinearity
from talweg.worker import models


def build(model: Any, shape: tuple[int, ...], num_outputs: int, seed: int = 0) -> nn.Sequential:
    message = fill_message(from_dict(model, Model))
    return models.build(message, shape, num_outputs, seed=seed)


def members(message: Any) -> list[str]:
    return sorted(field.name for field in message.DESCRIPTOR.oneofs_by_name["kind"].fields)


def test_every_model_and_layer_has_a_builder() -> None:
    # The model of several heads is told of them beside its message, and a plug-in of the task.
    assert sorted([*models.MODELS, "multi_head", "plugin"]) == members(Model)
    assert sorted(models.LAYERS) == members(Layer)


def test_mlp_is_the_network_that_one_would_write() -> None:
    built = build({"mlp": {"hidden": [8, 4]}}, (3,), 2, seed=5)
    torch.manual_seed(5)
    written = nn.Sequential(
        nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)
    )
    for ours, theirs in zip(built.parameters(), written.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    x = torch.randn(7, 3)
    assert torch.equal(built(x), written(x))


def test_mlp_with_everything() -> None:
    spec = {"hidden": [8], "nonlinearity": "tanh", "dropout": 0.5, "batch_norm": True}
    built = build({"mlp": spec}, (1, 4, 4), 2)
    assert [name for name, _ in built.named_children()] == [
        "flatten",
        "linear1",
        "batch_norm1",
        "tanh1",
        "dropout1",
        "linear2",
    ]
    assert isinstance(built.batch_norm1, nn.BatchNorm1d)
    assert isinstance(built.dropout1, nn.Dropout)
    assert built.dropout1.p == 0.5
    assert built(torch.randn(5, 1, 4, 4)).shape == (5, 2)


@pytest.mark.parametrize("nonlinearity", Nonlinearity.Kind.keys())
def test_every_nonlinearity_is_torchs(nonlinearity: str) -> None:
    built = build({"mlp": {"hidden": [4], "nonlinearity": nonlinearity}}, (3,), 1)
    x = torch.randn(6, 3)
    hidden = getattr(torch.nn.functional, nonlinearity)(built[0](x))
    assert torch.equal(built(x), built[2](hidden))


def test_linear_without_bias() -> None:
    built = build({"linear": {"bias": False}}, (2, 2, 2), 3)
    assert [tuple(p.shape) for p in built.parameters()] == [(3, 8)]
    assert built(torch.zeros(4, 2, 2, 2)).tolist() == [[0, 0, 0]] * 4


def test_convnet_pools_while_two_pixels_are_left() -> None:
    built = build({"convnet": {"channels": [4, 5, 6], "dropout": 0.1}}, (1, 8, 8), 10)
    # 8 → 4 → 2, and 1 would be too small.
    names = [name for name, _ in built.named_children()]
    assert [name for name in names if name.startswith("pool")] == ["pool1", "pool2"]
    assert names[-4:] == ["mean", "flatten", "dropout", "linear"]
    # Batch normalisation has a constant of its own.
    assert "conv1.bias" not in built.state_dict()
    assert built(torch.randn(3, 1, 8, 8)).shape == (3, 10)
    plain = build({"convnet": {"batch_norm": False}}, (3, 9, 7), 2)
    assert "conv1.bias" in plain.state_dict()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain)
    assert plain(torch.randn(3, 3, 9, 7)).shape == (3, 2)


def test_sequential_of_every_layer_follows_the_shapes() -> None:
    layers: list[Any] = [
        {"conv2d": {"out_channels": 8, "kernel_size": 3, "stride": 2, "padding": 1}},
        "batch_norm",
        "relu",
        {"group_norm": {"num_groups": 4}},
        {"max_pool2d": {"kernel_size": 3, "stride": 2}},
        "leaky_relu",
        {"avg_pool2d": {}},
        "elu",
        {"adaptive_avg_pool2d": {"output_size": 2}},
        "gelu",
        "layer_norm",
        "silu",
        "flatten",
        {"linear": {"out_features": 6, "bias": False}},
        "batch_norm",
        "tanh",
        {"dropout": {"p": 0.2}},
        "softplus",
        {"linear": {}},
        "sigmoid",
        "softmax",
    ]
    used = {layer if isinstance(layer, str) else next(iter(layer)) for layer in layers}
    assert sorted(used) == members(Layer)
    built = build({"sequential": {"layers": layers}}, (1, 21, 17), 5)
    assert isinstance(built.get_submodule("1_batch_norm"), nn.BatchNorm2d)
    assert isinstance(built.get_submodule("14_batch_norm"), nn.BatchNorm1d)
    outputs = built(torch.randn(4, 1, 21, 17))
    assert outputs.shape == (4, 5)
    # Softmax over the outputs, not over the samples.
    assert outputs.sum(dim=1).tolist() == pytest.approx([1] * 4)


def test_shapes_of_convolution_and_pooling_are_torchs() -> None:
    x = torch.randn(2, 3, 12, 10)
    for kernel, stride, padding in ((1, 1, 0), (3, 2, 0), (4, 3, 2), (10, 1, 0), (5, 4, 1)):
        conv = {"kernel_size": kernel, "stride": stride, "padding": padding, "out_channels": 4}
        # LayerNorm takes the shape that was followed, and refuses another.
        layers = [{"conv2d": conv}, "layer_norm", "flatten", "linear"]
        assert build({"sequential": {"layers": layers}}, (3, 12, 10), 2)(x).shape == (2, 2)
    for pool in ({"kernel_size": 3}, {"kernel_size": 4, "stride": 1}, {"kernel_size": 2}):
        for name in ("max_pool2d", "avg_pool2d"):
            layers = [{name: pool}, "layer_norm", "flatten", "linear"]
            assert build({"sequential": {"layers": layers}}, (3, 12, 10), 2)(x).shape == (2, 2)


def test_building_is_decided_by_the_seed_alone_and_draws_from_nobody() -> None:
    before = torch.get_rng_state()
    first = build("mlp", (10,), 1, seed=1).state_dict()
    torch.randn(3)
    second = build("mlp", (10,), 1, seed=1).state_dict()
    torch.set_rng_state(before)
    other = build("mlp", (10,), 1, seed=2).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_embedder_is_its_trunk_and_a_norm() -> None:
    trunk = {"convnet": {"channels": [4]}}
    built = build({"embedder": {"trunk": trunk, "size": 5}}, (1, 8, 8), 5)
    bare = build(trunk, (1, 8, 8), 5)
    x = torch.randn(6, 1, 8, 8)
    assert torch.allclose(built(x).norm(dim=1), torch.ones(6))
    assert torch.allclose(built(x), nn.functional.normalize(bare(x), dim=1))
    plain = build({"embedder": {"trunk": trunk, "normalize": False}}, (1, 8, 8), 5)
    assert torch.equal(plain(x), build(trunk, (1, 8, 8), 5)(x))


def test_shared_answers_differ_by_their_constants_alone() -> None:
    built = build({"mlp": {"hidden": [8]}}, (3,), 4)
    *_, before = built.parameters()
    *_, weights, _ = built.parameters()
    first = weights[0].clone()
    models.share_answers(built)
    *_, shared, constants = built.parameters()
    assert torch.equal(shared, first)
    assert constants.shape == before.shape
    with torch.no_grad():
        constants.copy_(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    outputs = built(torch.randn(6, 3))
    assert torch.allclose(outputs[:, :-1] - outputs[:, 1:], torch.ones(6, 3), atol=1e-5)


@pytest.mark.parametrize(("shape", "tokens"), [((10,), 10), ((3, 4, 8), 8)])
def test_transformer_has_the_tokens_of_its_data(shape: tuple[int, ...], tokens: int) -> None:
    spec = {"width": 12, "heads": 3, "depth": 2, "expansion": 2, "dropout": 0.5}
    built = build({"transformer": spec}, shape, 5)
    names = [name for name, _ in built.named_children()]
    assert names == ["tokens", "block1", "block2", "norm", "mean", "linear"]
    x = torch.randn(7, *shape)
    assert built.get_submodule("tokens")(x).shape == (7, tokens, 12)
    assert built(x).shape == (7, 5)
    # Dropout draws in training alone.
    assert not torch.equal(built(x), built(x))
    built.eval()
    assert torch.equal(built(x), built(x))
    # A sample's outputs are its own.
    torch.testing.assert_close(built(x[:2]), built(x)[:2])
    assert "dropout" not in dict(
        build({"transformer": {}}, shape, 5).get_submodule("block1").named_children()
    )


def test_transformers_block_is_torchs_encoder_layer() -> None:
    block = build({"transformer": {"width": 12, "heads": 3}}, (10,), 5).get_submodule("block1")
    layer = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    theirs = layer.state_dict()
    names = {
        "attention.queries_keys_values.weight": "self_attn.in_proj_weight",
        "attention.queries_keys_values.bias": "self_attn.in_proj_bias",
        "attention.out.weight": "self_attn.out_proj.weight",
        "attention.out.bias": "self_attn.out_proj.bias",
    }
    for name, value in block.named_parameters():
        assert isinstance(value, nn.Parameter)
        theirs[names.get(name, name)] = value.detach()
    layer.load_state_dict(theirs)
    x = torch.randn(4, 10, 12)
    torch.testing.assert_close(block(x), layer(x))


def test_tokens_know_their_place() -> None:
    for shape in ((6,), (1, 4, 6)):
        built = build({"transformer": {}}, shape, 1)
        x = torch.randn(1, *shape)
        # The mean over tokens alone would not see their order.
        assert not torch.allclose(built(x), built(x.flip(-1)), atol=1e-4)


def test_a_patch_is_mapped_as_a_whole() -> None:
    tokens = build({"transformer": {"patch": 2}}, (1, 4, 4), 1).get_submodule("tokens")
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2:, :2] = 1
    changed = (tokens(x) != tokens(torch.zeros(1, 1, 4, 4))).any(dim=-1)
    assert changed.tolist() == [[False, False, True, False]]
