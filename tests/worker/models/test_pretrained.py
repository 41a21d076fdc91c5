"""Published architectures: the library's own networks and names, and what reaches them."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.worker.models.published import TINY, every_architecture
from tests.worker.models.test_models import build
from torch import nn

from talweg.spec import fill_message, from_dict
from talweg.spec.semantics.pretrained import SIZES, architecture_size
from talweg.v1.models_pb2 import Model, Pretrained
from talweg.worker.errors import UserSpecError
from talweg.worker.models import saved, share_answers
from talweg.worker.models.architectures.pretrained import Adapt, published_names

# Of files as they are published, in transformers' own format, with a classifier of 7 classes.
CLASSES = 7


def filled(name: str, **fields: Any) -> Model:
    return fill_message(from_dict({"pretrained": {**TINY[name], **fields}}, Model))


def official(name: str, sides: tuple[int, int] = (8, 8)) -> Any:
    """Return the library's own classifier of the same size."""
    import transformers as library

    size = TINY[name]
    common: dict[str, Any] = {"num_channels": 1, "num_labels": CLASSES}
    stages = {"hidden_sizes": size["hidden_sizes"], "depths": size["depths"]}
    if name == "resnet":
        config: Any = library.ResNetConfig(
            embedding_size=4, layer_type="basic", **stages, **common
        )
        return library.ResNetForImageClassification(config)
    if name == "vit":
        config = library.ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            image_size=sides, patch_size=4, **common,
        )  # fmt: skip
        return library.ViTForImageClassification(config)
    config = library.ConvNextV2Config(num_stages=2, patch_size=2, **stages, **common)
    return library.ConvNextV2ForImageClassification(config)


def published(name: str, folder: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a classifier with random weights, and what the library publishes of it."""
    torch.manual_seed(5)
    model = official(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    return model, load_file(folder / "model.safetensors")


@every_architecture
def test_a_published_file_gives_the_librarys_own_outputs(name: str, tmp_path: Path) -> None:
    model, tensors = published(name, tmp_path)
    if name == "vit":
        # The library writes other names than its own modules have.
        assert "vit.encoder.layer.0.attention.attention.query.weight" in tensors
    rename = published_names(filled(name).pretrained)
    built = build({"pretrained": TINY[name]}, (1, 8, 8), CLASSES).eval()
    built.load_state_dict({rename(key): tensor for key, tensor in tensors.items()})
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(built(x), model(x).logits)
    # Of the backbone alone, whose names have nothing at the front.
    prefix = f"{name}."
    for key in [each for each in tensors if each.startswith(prefix)]:
        assert rename(key.removeprefix(prefix)) == rename(key)


@every_architecture
def test_every_parameter_learns_and_the_seed_decides_all(name: str) -> None:
    spec = {"pretrained": {**TINY[name], "dropout": 0.5}}
    built = build(spec, (1, 8, 8), 3, seed=4)
    again, other = (build(spec, (1, 8, 8), 3, seed=seed).state_dict() for seed in (4, 5))
    assert all(torch.equal(again[key], value) for key, value in built.state_dict().items())
    assert not torch.equal(again["classifier.weight"], other["classifier.weight"])
    assert sum(each.numel() for each in built.parameters()) < 3000
    assert isinstance(built[-1], nn.Linear)
    # Where what follows starts at 0, what is before has no gradient yet.
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    slopes = torch.autograd.grad(
        built(torch.randn(4, 1, 8, 8)).square().sum(), list(built.parameters())
    )
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    dead = [n for (n, _), s in zip(built.named_parameters(), slopes, strict=True) if not s.any()]
    assert dead == []


def test_images_are_scaled_and_repeated_as_the_weights_need_it() -> None:
    built = build(
        {"pretrained": {**TINY["vit"], "image_size": 16, "channels": 3}}, (1, 8, 6), 2
    ).eval()
    assert built.get_parameter("vit.embeddings.position_embeddings").shape == (1, 17, 8)
    x = torch.randn(3, 1, 8, 6)
    scaled = nn.functional.interpolate(x, size=(16, 16), mode="bilinear").repeat(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(built(x), built[1:](scaled))
    # Fine stripes are averaged where fewer pixels are left, and not picked at random.
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    small = Adapt(1, (8, 8))(stripes)
    torch.testing.assert_close(small, torch.full_like(small, 0.5), atol=0.05, rtol=0)
    # An image of other sides than squares needs no scaling.
    assert "adapt" not in dict(build({"pretrained": TINY["vit"]}, (1, 8, 4), 2).named_children())


@every_architecture
def test_it_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = filled(name)
    network = build({"pretrained": TINY[name]}, (1, 8, 8), 3, seed=9).eval()
    save_file(network.state_dict(), tmp_path / saved.WEIGHTS)
    description = {
        **saved.network_description(model, (1, 8, 8), 3), "task": "multiclass", "inputs": {}
    }  # fmt: skip
    assert description["library"]["package"] == "transformers"
    loaded = saved.rebuild(description, load_file(tmp_path / saved.WEIGHTS))
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded.network(x), network(x))


@pytest.mark.parametrize(
    ("architecture", "size", "millions"),
    [
        # As the papers and model cards have them, with 1000 classes.
        ("resnet", "18", 11.69), ("resnet", "50", 25.56), ("vit", "tiny", 5.72),
        ("vit", "base", 86.57), ("convnextv2", "atto", 3.71), ("convnextv2", "tiny", 28.64),
    ],
)  # fmt: skip
def test_sizes_have_the_parameters_that_were_published(
    architecture: str, size: str, millions: float
) -> None:
    with torch.device("meta"):
        built = build(
            {"pretrained": {"architecture": architecture, "size": size}}, (3, 224, 224), 1000
        )
    count = sum(parameter.numel() for parameter in built.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


def test_numbers_replace_those_of_the_size() -> None:
    model = filled("vit").pretrained
    size = architecture_size(model)
    assert (size.hidden_sizes, size.intermediate_size, size.patch_size) == ((8,), 32, 4)
    assert [next(iter(SIZES[each])) for each in Pretrained.Architecture.values()] == [
        "50", "base", "tiny"
    ]  # fmt: skip
    assert architecture_size(Pretrained(architecture=Pretrained.resnet)).bottleneck
    basic = Pretrained(architecture=Pretrained.resnet, block=Pretrained.basic)
    assert not architecture_size(basic).bottleneck


def test_ordered_ranks_share_the_last_layer() -> None:
    built = build({"pretrained": TINY["convnextv2"]}, (1, 8, 8), 4).eval()
    share_answers(built)
    outputs = built(torch.randn(5, 1, 8, 8))
    # One score, with a constant of each rank.
    torch.testing.assert_close(outputs, outputs[:, :1].expand(5, 4))
    assert outputs[:, 0].std() > 0


def test_where_the_extra_is_missing_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(
        sys.modules, "talweg.worker.models.architectures.hugging_face", raising=False
    )
    with pytest.raises(UserSpecError, match=r'pip install "talweg\[pretrained\]"'):
        build({"pretrained": TINY["resnet"]}, (1, 8, 8), 3)
