"""Embeddings of categories: the mathematics, and models that have them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from talweg.spec import fill_message, from_dict
from talweg.v1.models_pb2 import CategoryEmbedding, Model
from talweg.worker import models
from talweg.worker.models import CategoryBlock, HeadShape, saved
from talweg.worker.models.categories import CategoryEmbeddings, embedding_size
from talweg.worker.training.fine_tuning.start import last_layers

# Features 0 and 4 are numbers.
BLOCKS = [CategoryBlock(1, 3), CategoryBlock(5, 4)]
FEATURES = 9
WITHIN = {"categories": {"embedding": {"size": 2}}}
MODELS: dict[str, Any] = {
    "mlp": {"mlp": {"hidden": [8], **WITHIN}},
    "tabular": {"tabular": {"width": 8, **WITHIN}},
    "embedder": {"embedder": {"trunk": {"mlp": {"hidden": [8], **WITHIN}}, "size": 3}},
    "multi_head": {"multi_head": {"trunk": {"mlp": {"hidden": [8], **WITHIN}}}},
}


def build(spec: Any, blocks: Any = BLOCKS, features: int = FEATURES) -> nn.Sequential:
    message = fill_message(from_dict(spec, Model))
    heads = [HeadShape("number", 3, of_pixels=False)] if "multi_head" in spec else []
    return models.build(message, (features,), 3, seed=0, heads=heads, categories=blocks)


def weights_of(module: nn.Module) -> list[Tensor]:
    """Return the vectors of each column (size, width)."""
    assert isinstance(module, CategoryEmbeddings)
    return [column.weight for column in module.columns if isinstance(column, nn.Linear)]


def gradients_of(module: nn.Module) -> list[Tensor]:
    return [weight.grad for weight in weights_of(module) if weight.grad is not None]


def samples(count: int, first: Tensor, second: Tensor) -> Tensor:
    x = torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(1))
    x[:, 1:4] = F.one_hot(first, 3)
    x[:, 5:9] = F.one_hot(second, 4)
    return x


def some(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(2, (count,), generator=generator)
    second = torch.randint(3, (count,), generator=generator)
    return samples(count, first, second), first, second


def test_it_looks_up_a_vector_for_each_category_and_passes_numbers_on() -> None:
    settings = CategoryEmbedding(size=5, unseen_share=0)
    module = CategoryEmbeddings(settings, BLOCKS, FEATURES)
    x, first, second = some(20)
    embedded = module(x)
    assert embedded.shape == (20, module.width) == (20, 2 + 5 + 5)
    assert torch.equal(embedded[:, :2], x[:, [0, 4]])
    columns = weights_of(module)
    torch.testing.assert_close(embedded[:, 2:7], columns[0].T[first])
    torch.testing.assert_close(embedded[:, 7:], columns[1].T[second])
    # The last vector of each column stands for what is unseen, and begins as the mean.
    assert [weight.shape for weight in columns] == [(5, 3), (5, 4)]
    assert all(not weight[:, -1].any() and weight[:, :-1].all() for weight in columns)


def test_sizes_follow_from_the_number_of_categories() -> None:
    assert [embedding_size(width) for width in (2, 4, 11, 101, 1001)] == [2, 3, 6, 21, 77]
    module = CategoryEmbeddings(CategoryEmbedding(unseen_share=0), BLOCKS, FEATURES)
    assert module.width == 2 + 3 + 3


def test_training_replaces_some_categories_by_the_unseen_one() -> None:
    count, share = 20_000, 0.1
    module = CategoryEmbeddings(CategoryEmbedding(size=4, unseen_share=share), BLOCKS, FEATURES)
    x, *_ = some(count)
    whole = module.eval()(x)
    assert torch.equal(whole, module(x))
    module.train()
    torch.manual_seed(0)
    trained = module(x)
    hidden = torch.stack([(trained[:, 2:6] == 0).all(1), (trained[:, 6:] == 0).all(1)], dim=1)
    assert hidden.double().mean(0).tolist() == pytest.approx([share, share], rel=0.1)
    # Each column by itself, and nothing else changes.
    assert hidden.all(1).double().mean() == pytest.approx(share**2, rel=0.25)
    assert torch.equal(trained[~hidden.any(1)], whole[~hidden.any(1)])
    trained.sum().backward()
    assert all(bool(gradient[:, -1].all()) for gradient in gradients_of(module))


def test_without_replacement_the_unseen_one_does_not_learn() -> None:
    module = CategoryEmbeddings(CategoryEmbedding(size=4, unseen_share=0), BLOCKS, FEATURES)
    module(some(50)[0]).sum().backward()
    gradients = gradients_of(module)
    assert len(gradients) == 2
    assert not any(gradient[:, -1].any() for gradient in gradients)


@pytest.mark.parametrize("name", MODELS)
def test_models_that_embed(name: str) -> None:
    network = build(MODELS[name]).eval()
    assert next(iter(dict(network.named_children()))) == "categories"
    x, first, second = some(6)

    def outputs(x: Tensor) -> Tensor:
        given = network(x)
        tensor: Tensor = given["number"] if name == "multi_head" else given
        return tensor

    assert outputs(x).shape == (6, 3)
    # Through the embedding alone do categories matter.
    with torch.no_grad():
        for weight in weights_of(network.get_submodule("categories")):
            weight.zero_()
    other = samples(6, 1 - first, 2 - second)
    torch.testing.assert_close(outputs(x), outputs(other))
    moved = x.clone()
    moved[:, 4] += 1
    assert not torch.allclose(outputs(x), outputs(moved))


@pytest.mark.parametrize("name", MODELS)
def test_it_is_built_again_from_its_description(name: str) -> None:
    message = fill_message(from_dict(MODELS[name], Model))
    heads = [HeadShape("number", 3, of_pixels=False)] if name == "multi_head" else []
    description = saved.network_description(
        message, (FEATURES,), 3, heads=heads, categories=BLOCKS
    )
    assert description["categories"] == [[1, 3], [5, 4]]
    network = build(MODELS[name]).eval()
    again = saved.rebuild({**description, "inputs": {}}, network.state_dict()).network
    x, *_ = some(5)
    one, other = network(x), again(x)
    assert torch.equal(*((one["number"], other["number"]) if heads else (one, other)))


@pytest.mark.parametrize(
    ("embedding", "size"),
    [({"periodic": {"size": 5}}, 5), ({"piecewise_linear": {"size": 5}}, 5), ("none", 1)],
)
def test_a_tabular_model_encodes_numbers_alone(embedding: Any, size: int) -> None:
    spec = {"tabular": {"embedding": embedding, "width": 6, **WITHIN}}
    linear = build(spec).linear1
    assert isinstance(linear, nn.Linear)
    assert linear.in_features == 2 * size + 2 * 2
    # All columns may be categories.
    alone = build(spec, [CategoryBlock(0, 4), CategoryBlock(4, 5)], 9)
    assert isinstance(alone.linear1, nn.Linear)
    assert alone.linear1.in_features == 4
    assert alone.eval()(torch.zeros(2, 9)).shape == (2, 3)


@pytest.mark.parametrize("name", ["mlp", "tabular"])
def test_one_hot_is_what_models_without_a_word_do(name: str) -> None:
    plain, said = build({name: {}}), build({name: {"categories": "one_hot"}})
    assert plain.state_dict().keys() == said.state_dict().keys()
    for one, other in zip(plain.parameters(), said.parameters(), strict=True):
        assert torch.equal(one, other)
    description = saved.network_description(
        fill_message(from_dict({name: {}}, Model)), (FEATURES,), 3, categories=BLOCKS
    )
    assert "categories" not in description


@pytest.mark.parametrize(
    ("name", "last"),
    [("mlp", {"linear2"}), ("tabular", {"linear2"}), ("embedder", {"linear2"})],
)
def test_its_last_layer_is_found_for_starting_weights(name: str, last: set[str]) -> None:
    message = fill_message(from_dict(MODELS[name], Model))
    assert last_layers(message, (FEATURES,), 3, [], BLOCKS) == last
