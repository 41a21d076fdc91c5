"""Embeddings of numbers and residual blocks: the mathematics, and jobs that train them."""

import math
import statistics
from typing import Any

import pytest
import torch
from tests.worker.training.jobs import DATASETS, flat, job, run, trained
from torch import nn

from talweg.spec import check, fill_message, from_dict
from talweg.v1.models_pb2 import Model
from talweg.worker import models
from talweg.worker.models.architectures.tabular import FeatureLinear, Periodic, PiecewiseLinear

EMBEDDINGS = ["piecewise_linear", "periodic", "none"]
NORMS = ["layer", "batch", "none"]
LOSSES = {
    "regression": "huber",
    "binary": "focal_binary",
    "multiclass": "cross_entropy",
    "multilabel": "bce_with_logits",
    "ordinal": "coral",
}


def build(spec: Any, features: int = 5, num_outputs: int = 3, seed: int = 0) -> nn.Sequential:
    message = fill_message(from_dict({"tabular": spec}, Model))
    return models.build(message, (features,), num_outputs, seed=seed)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("features", [1, 7])
def test_layers_and_shapes(embedding: str, features: int) -> None:
    built = build({"embedding": embedding, "width": 6, "blocks": 3}, features)
    embedded = ["encoding", "embedding", "embedding_relu", "flatten"]
    assert [name for name, _ in built.named_children()] == [
        *(embedded if embedding != "none" else []),
        *("linear1", "block1", "block2", "block3", "norm", "relu", "linear2"),
    ]
    x = torch.randn(4, features)
    assert built(x).shape == (4, 3)
    # A sample's outputs are its own.
    torch.testing.assert_close(built(x[:2]), built(x)[:2])
    # Nothing is saturated or large at first: most numbers are of the size of a logit.
    assert build({"embedding": embedding})(torch.randn(200, 5)).std() < 1


def test_bins_are_passed_one_after_another() -> None:
    x = torch.tensor([[-6.0], [-1.5], [0.0], [1.5], [6.0]])
    # The edges are -3, 0 and 3. Beyond them the outer bins go on.
    passed = torch.tensor([[-1, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 2]])
    torch.testing.assert_close(PiecewiseLinear(2)(x).squeeze(1), passed)
    # A single bin is a line from 0 at -3 to 1 at 3.
    line = torch.tensor([-0.5, 0.25, 0.5, 0.75, 1.5])
    torch.testing.assert_close(PiecewiseLinear(1)(x).flatten(), line)
    # An inner bin has both ends: with four of them the edges are -3, -q, 0, q and 3.
    normal = statistics.NormalDist()
    q = normal.inv_cdf(normal.cdf(-3) + 0.75 * (normal.cdf(3) - normal.cdf(-3)))
    encoding = PiecewiseLinear(4)
    torch.testing.assert_close(encoding.edges, torch.tensor([-3, -q, 0, q, 3]))
    torch.testing.assert_close(
        encoding(torch.tensor([[q / 2, -9, 9]]))[0],
        torch.tensor([[1, 1, 0.5, 0], [(3 - 9) / (3 - q), 0, 0, 0], [1, 1, 1, (9 - q) / (3 - q)]]),
    )


def test_standard_normal_inputs_fill_all_bins_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=generator)
    encoded = PiecewiseLinear(8)(x).squeeze(1)
    within = ((encoded > 0) & (encoded < 1)).double().mean(dim=0)
    assert within.tolist() == pytest.approx([1 / 8] * 8, abs=0.01)


def test_edges_are_saved_and_do_not_learn() -> None:
    built = build({"embedding": {"piecewise_linear": {"bins": 4}}})
    assert "encoding.edges" in built.state_dict()
    assert "encoding.edges" not in dict(built.named_parameters())


def test_waves_are_sines_and_cosines_of_each_feature() -> None:
    encoding = Periodic(2, 2, sigma=1.0)
    with torch.no_grad():
        encoding.frequencies.copy_(torch.tensor([[0.25, 0.5], [1.0, 1 / 6]]))
    waves = torch.tensor([[[1, 0, 0, -1], [0, math.sin(math.pi / 3), 1, 0.5]]])
    torch.testing.assert_close(encoding(torch.ones(1, 2)), waves, atol=1e-6, rtol=0)
    drawn = build({"embedding": {"periodic": {"frequencies": 500, "sigma": 0.3}}}, 10)
    assert drawn.get_parameter("encoding.frequencies").std().item() == pytest.approx(0.3, rel=0.05)


def test_each_feature_has_a_linear_layer_of_its_own() -> None:
    layers = FeatureLinear(3, 4, 2)
    x = torch.randn(5, 3, 4)
    each = [x[:, i] @ layers.weight[i] + layers.bias[i] for i in range(3)]
    torch.testing.assert_close(layers(x), torch.stack(each, dim=1))


def test_a_block_adds_to_what_comes_in() -> None:
    block = build({"width": 6, "hidden_factor": 3}).get_submodule("block1")
    x = torch.randn(4, 6)
    weights = dict(block.named_parameters())
    assert weights["linear1.weight"].shape == (18, 6)
    hidden = nn.functional.layer_norm(x, (6,)) @ weights["linear1.weight"].T
    hidden = (hidden + weights["linear1.bias"]).relu()
    added = hidden @ weights["linear2.weight"].T + weights["linear2.bias"]
    torch.testing.assert_close(block(x), x + added)


def test_dropout_draws_in_training_alone() -> None:
    built = build({"dropout": 0.5})
    x = torch.randn(4, 5)
    assert sum(isinstance(module, nn.Dropout) for module in built.modules()) == 2 * 2
    assert not torch.equal(built(x), built(x))
    built.eval()
    assert torch.equal(built(x), built(x))


@pytest.mark.parametrize("norm", NORMS)
def test_norms(norm: str) -> None:
    built = build({"norm": norm, "blocks": 3})
    kinds = [type(module) for module in built.modules()]
    assert kinds.count(nn.LayerNorm) == (4 if norm == "layer" else 0)
    assert kinds.count(nn.BatchNorm1d) == (4 if norm == "batch" else 0)


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_weight_has_a_gradient(embedding: str, norm: str) -> None:
    built = build({"embedding": embedding, "norm": norm, "dropout": 0.1})
    built(torch.randn(64, 5)).square().mean().backward()
    for name, parameter in built.named_parameters():
        assert parameter.grad is not None, name
        if norm == "batch" and name in (
            "linear1.bias",
            "block1.linear2.bias",
            "block2.linear2.bias",
        ):
            # Each batch normalisation takes off what all samples have in common.
            continue
        assert parameter.grad.norm() > 1e-8, name


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_the_same_seed_gives_the_same_network(embedding: str) -> None:
    first, second, other = (
        build({"embedding": embedding}, seed=seed).state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["linear1.weight"], other["linear1.weight"])


@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_exported_it_takes_batches_of_any_size(embedding: str) -> None:
    built = build({"embedding": embedding, "norm": "batch", "dropout": 0.2}).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        built, (torch.randn(2, 5),), dynamic_shapes={"input": {0: batch}}, strict=False
    )
    x = torch.randn(9, 5)
    torch.testing.assert_close(program.module()(x), built(x))


@pytest.mark.parametrize("task", LOSSES)
def test_jobs_of_every_task_of_vectors_are_decided_by_their_seed(task: str) -> None:
    model = {"tabular": {"width": 16, "dropout": 0.1, "embedding": {"periodic": {"size": 4}}}}
    spec = job(
        task=task, dataset=DATASETS[task], loss=LOSSES[task], model=model, training={"epochs": 2}
    )
    assert torch.equal(flat(trained(spec)), flat(trained(spec)))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
def test_mixed_precision_learns_about_the_same(embedding: str, precision: str) -> None:
    def ends(precision: str) -> tuple[nn.Module, float]:
        spec = job(
            task="multiclass",
            dataset="wine",
            loss="cross_entropy",
            model={"tabular": {"embedding": embedding, "width": 32}},
            training={"steps": 20, "batch_size": 16, "precision": precision},
        )
        result, report = run(spec)
        assert result.model is not None, result.message
        return result.model, report.last("val/loss")

    (whole, loss), (half, loss_of_half) = ends("fp32"), ends(precision)
    assert not torch.equal(flat(whole), flat(half))
    assert loss_of_half == pytest.approx(loss, abs=0.05)


def test_it_learns_what_linear_and_mlp_do_not() -> None:
    # Clusters that lie close to each other: see client/examples/multiclass_synthetic_tabular.yaml.
    clusters = {"num_samples": 3000, "num_features": 10, "num_informative": 5, "num_classes": 4}
    found: dict[str, list[float]] = {}
    for model in ("linear", "mlp", "tabular"):
        for seed in range(3):
            spec = job(
                task="multiclass",
                dataset={"synthetic_classification": {**clusters, "class_separation": 0.7}},
                loss="cross_entropy",
                model=model,
                optimizer={"adamw": {"learning_rate": 0.002}},
                schedule="cosine",
                split={"seed": seed},
                training={"epochs": 10, "batch_size": 64, "seed": seed},
            )
            _, report = run(spec)
            found.setdefault(model, []).append(report.last("test/accuracy"))
    assert min(found["tabular"]) > max(found["linear"]) + 0.1
    assert statistics.mean(found["tabular"]) > statistics.mean(found["mlp"]) + 0.05


@pytest.mark.parametrize(
    ("fields", "field", "found"),
    [
        ({"dataset": "digits"}, "model", "tabular on digits, whose inputs are images"),
        ({"model": {"tabular": {"blocks": 65}}}, "model.tabular.blocks", "65"),
        (
            {"model": {"tabular": {"norm": "batch"}}, "training": {"batch_size": 1}},
            "model.tabular.norm",
            "a batch of 1 sample",
        ),
        (
            {"model": {"tabular": {"norm": "batch"}}, "resources": {"processes": 2}},
            "resources.processes",
            "2 with batch normalisation",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], field: str, found: str) -> None:
    classes = {"task": "multiclass", "dataset": "wine", "loss": "cross_entropy"}
    (violation,), _ = check(job(**{**classes, "model": "tabular", **fields}))
    assert violation.field == field
    assert found in violation.found
