"""The loss of an evaluation is that of all samples at once, whatever the batches are."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.worker.losses.cases import CASES, Case
from tests.worker.losses.named import Named
from tests.worker.losses.test_named import NAMED
from torch import Tensor

from talweg.spec import fill, from_dict, losses
from talweg.v1.losses_pb2 import Loss
from talweg.worker import data, models, tasks
from talweg.worker.data import DataSplit
from talweg.worker.losses import LossModule, build
from talweg.worker.tasks import TaskRunner
from talweg.worker.tasks.common.mean_loss import MeanLoss
from talweg.worker.tasks.self_supervised.task import SelfSupervised
from talweg.worker.training.evaluation import HeldSplit, evaluate

_SCENES = {"digit_scenes": {"num_samples": 60, "min_digits": 1, "max_digits": 20}}
_UNET = {"unet": {"channels": [4, 8], "patch": 4, "batch_norm": False}}
_DETECTOR = {"detector": {"channels": [4], "stride": 8}}
_WEIGHTS = [0.1, *[1.0, 3.0] * 5]
_FOREGROUND = {"segmentation": {"target": "foreground"}}


def _sum(*losses: Any) -> dict[str, Any]:
    terms = [{"loss": loss, "weight": 1 + index} for index, loss in enumerate(losses)]
    return {"sum": {"terms": terms}}


def masks(loss: Any, task: Any = "segmentation") -> dict[str, Any]:
    return {"task": task, "dataset": _SCENES, "model": _UNET, "loss": loss}


def boxes(loss: Any) -> dict[str, Any]:
    scenes = {"digit_scenes": {"num_samples": 60, "min_digits": 1, "max_digits": 2}}
    return {"task": "detection", "dataset": scenes, "model": _DETECTOR, "loss": loss}


def images(loss: Any) -> dict[str, Any]:
    return {"task": "image_translation", "dataset": _SCENES, "model": _UNET, "loss": loss}


def digits(task: Any, loss: Any) -> dict[str, Any]:
    model = {"embedder": {"trunk": {"mlp": {"hidden": [16]}}, "size": 8}}
    split = {"train": 0.4, "validation": 0.2, "test": 0.2}
    return {"task": task, "dataset": "digits", "split": split, "model": model, "loss": loss}


def codes(loss: Any, dataset: str = "digits") -> dict[str, Any]:
    model = {"autoencoder": {"hidden": [8], "code": 3}}
    return {"task": "vae", "dataset": dataset, "model": model, "loss": loss}


def heads(loss: Any) -> dict[str, Any]:
    of = [{"name": "what", "segmentation": {}}, {"name": "far", "depth": {}}]
    model = {"multi_head": {"trunk": {"unet": _UNET["unet"]}}}
    task = {"multitask": {"heads": of}}
    return {"task": task, "dataset": _SCENES, "model": model, "loss": loss}


EXACT: list[dict[str, Any]] = [
    masks({"cross_entropy": {"ignore_index": 0}}),
    masks({"cross_entropy": {"weight": _WEIGHTS}}),
    masks({"cross_entropy": {"weight": _WEIGHTS, "ignore_index": 0, "label_smoothing": 0.1}}),
    masks({"cross_entropy": {"weight": "balanced"}}),
    masks({"focal": {"ignore_index": 0}}),
    masks({"focal": {"reduction": "sum"}}),
    masks("dice"),
    masks({"ce_dice": {"ignore_index": 0}}),
    masks({"ce_dice": {"reduction": "sum"}}),
    masks({"lovasz_softmax": {"per_image": True}}),
    masks(_sum({"cross_entropy": {"ignore_index": 0}}, {"focal": {"ignore_index": 1}}, "dice")),
    masks(_sum({"cross_entropy": {"reduction": "sum"}}, _sum("ce_dice", "focal"))),
    masks({"focal_binary": {"normalizer": "positives"}}, _FOREGROUND),
    masks({"bce_with_logits": {"pos_weight": "balanced"}}, _FOREGROUND),
    boxes("detection"),
    boxes({"detection": {"class_loss": {"cross_entropy": {"weight": _WEIGHTS}}}}),
    boxes(_sum("detection", {"detection": {"box_loss": "mae", "class_weight": 0.5}})),
    images(_sum("mae", {"ssim": {"window_size": 5}}, "total_variation")),
    images(_sum("mae", {"total_variation": {"reduction": "sum"}})),
]
"""Jobs whose losses are means or sums over what the samples hold."""
_LABELS = "metric_learning"
POOLED: list[dict[str, Any]] = [
    masks({"dice": {"batch": True}}),
    masks({"ce_dice": {"batch": True, "ignore_index": 0}}),
    masks({"lovasz_softmax": {"reduction": "sum"}}),
    masks(_sum({"cross_entropy": {"ignore_index": 0}}, {"jaccard": {"batch": True}})),
    masks("lovasz_hinge", _FOREGROUND),
    digits(_LABELS, "supcon"),
    digits(_LABELS, {"circle": {"reduction": "sum"}}),
    digits(_LABELS, "contrastive"),
    digits(_LABELS, "online_triplet"),
    digits("self_supervised", "nt_xent"),
    digits("self_supervised", "vicreg"),
    digits("self_supervised", "barlow_twins"),
    digits("self_supervised", "negative_cosine"),
    digits("self_supervised", _sum("nt_xent", "barlow_twins")),
    codes({"vae": {"reduction": "sum"}}),
    codes(_sum("vae", {"vae": {"reduction": "sum", "beta": 2}})),
]
"""Jobs whose losses depend on which samples stand together, or on what is drawn."""
HEADS: list[dict[str, Any]] = [
    heads(
        _sum({"cross_entropy": {"ignore_index": 0}}, {"expression": "mean(abs(pred - target))"})
    ),
    heads({"uncertainty": {"losses": [{"lovasz_softmax": {}}, "mse"]}}),
]


def made(spec: dict[str, Any], **training: Any) -> tuple[TaskRunner, HeldSplit, Any]:
    """Return the task, its training samples and an untrained network."""
    filled = fill(from_dict({**spec, "training": {"epochs": 1, **training}}))
    bundle = data.load(filled)
    task = tasks.make(filled, bundle)
    shape = bundle.inputs.shape
    network = models.build(filled.model, shape, task.num_outputs, seed=0, heads=task.heads)
    task.start(network)
    whole = HeldSplit.of(bundle.train, task, torch.device("cpu"))
    return (
        task,
        replace(whole, arrays={name: array[:90] for name, array in whole.arrays.items()}),
        network,
    )


def found(task: TaskRunner, part: HeldSplit, network: Any, batch_size: int) -> dict[str, float]:
    values = evaluate(network, task, part, batch_size=batch_size).values
    return {name: value for name, value in values.items() if name.endswith(("loss", "kl"))}


@pytest.mark.parametrize("spec", EXACT, ids=lambda spec: f"{spec['loss']}")
def test_the_loss_is_that_of_all_samples_at_once(spec: dict[str, Any]) -> None:
    task, part, network = made(spec)
    sizes = [found(task, part, network, size)["loss"] for size in (1, 7, len(part))]
    task.criterion.eval()
    with torch.no_grad():
        batch = part.batch(0, len(part))
        whole = task.criterion(task.loss_inputs(network.eval()(batch.x), batch))
    assert sizes == pytest.approx([float(whole)] * 3, rel=2e-5)


@pytest.mark.parametrize("spec", [*POOLED, *HEADS], ids=lambda spec: f"{spec['loss']}")
def test_the_loss_does_not_depend_on_the_batches(spec: dict[str, Any]) -> None:
    task, part, network = made(spec, evaluation_batch_size=20)
    # 4 leaves batches of every size within the groups of 20; one of them has one sample.
    first, *others = (found(task, part, network, size) for size in (4, 33, len(part) - 1))
    for other in others:
        assert other == pytest.approx(first, rel=2e-5)


def test_the_spec_says_how_many_samples_are_compared() -> None:
    spec = digits("metric_learning", "supcon")
    assert fill(from_dict(spec)).training.evaluation_batch_size == 256
    losses = []
    for size in (10, 90):
        task, part, network = made(spec, evaluation_batch_size=size)
        losses.append(found(task, part, network, 32)["loss"])
    # Each anchor has more others to be told from.
    assert losses[1] > losses[0] + 1


@pytest.mark.parametrize("loss", ["circle", "online_triplet"])
def test_data_sorted_by_class_have_the_loss_of_the_same_data_mixed(loss: str) -> None:
    task, part, network = made(digits("metric_learning", loss), evaluation_batch_size=20)
    by_class = part.arrays["target"].argsort(stable=True)
    sorted_part = replace(part, arrays={name: a[by_class] for name, a in part.arrays.items()})
    values = [found(task, each, network, 32)["loss"] for each in (part, sorted_part)]
    # In the order of the file each group of 20 would hold a class or two.
    assert values[1] == pytest.approx(values[0], rel=0.15)


def test_probes_are_fitted_on_all_classes_of_sorted_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, _, network = made(digits("self_supervised", "nt_xent"))
    assert isinstance(task, SelfSupervised)
    y = task._train.y
    by_class = y.argsort(stable=True)
    task._train = DataSplit({name: a[by_class] for name, a in task._train.arrays.items()})
    monkeypatch.setattr("talweg.worker.tasks.self_supervised.task._MOST_FITTED", 100)
    with torch.no_grad():
        embeddings, known = task.learnt(network)
    assert len(embeddings) == len(known) == 100
    assert len(set(known.tolist())) == len(set(y.tolist()))


def _random(*sizes: int) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(1))


_RANKS = torch.tensor([0, 3, 1, 2, 3, 0, 0, 3, 2])
_CLASSES = torch.tensor([0, 2, 9, 1, 2, 9, 9, 9, 2])
WHOLE: list[tuple[Any, dict[str, Tensor]]] = [
    ("corn", {"pred": _random(9, 3), "target": _RANKS}),
    (
        {"ldam": {"class_counts": [9, 2, 1, 4], "weight": [1, 5, 0, 2]}},
        {"pred": _random(9, 4), "target": _RANKS},
    ),
    (
        {"cross_entropy": {"ignore_index": 9, "weight": [1, 5, 0.5]}},
        {"pred": _random(9, 3), "target": _CLASSES},
    ),
    (
        {"focal_binary": {"normalizer": "positives"}},
        {"pred": _random(9), "target": torch.tensor([0, 0.2, 0, 0.3, 0, 0, 0, 0.1, 0.9])},
    ),
    (
        {"asymmetric_multilabel": {"reduction": "batchmean"}},
        {"pred": _random(9, 2), "target": _random(9, 2).sigmoid()},
    ),
    (
        {"curriculum": {"threshold": 0.1}},
        {"losses": _random(9).abs(), "difficulty": _random(9)},
    ),
    (
        _sum("corn", {"sum": {"terms": [{"loss": {"corn": {"reduction": "sum"}}}]}}),
        {"pred": _random(9, 3), "target": _RANKS},
    ),
    ("gaussian_kl", {"mu": _random(9, 2), "logvar": _random(9, 2)}),
    ("iou", {"pred": _random(9, 4).sort(1).values, "target": _random(9, 4).sort(1).values + 0.2}),
]


@pytest.mark.parametrize("size", [1, 2, 4, 9])
@pytest.mark.parametrize(
    ("loss", "inputs"), WHOLE, ids=lambda part: str(part)[:60].partition("tensor")[0]
)
def test_parts_make_up_the_whole(loss: Any, inputs: dict[str, Tensor], size: int) -> None:
    criterion: LossModule = build(from_dict(loss, Loss))
    mean = MeanLoss(criterion, 256)
    for start in range(0, 9, size):
        batch = {name: tensor[start : start + size] for name, tensor in inputs.items()}
        mean.add(batch, len(next(iter(batch.values()))))
    assert mean.value == pytest.approx(float(criterion(inputs)), rel=1e-5)


# Their inputs are no samples, or not all of them are: heads, layers, classes, time steps, queues.
_OTHERWISE = {
    *("uncertainty", "gradnorm", "perceptual", "arcface", "cosface", "ctc", "info_nce"),
    *("detection", "gan"),
}
_ALL: list[Case | Named] = [*CASES, *NAMED]
ROWS = [
    (row.loss, row.spec(), {name: tensor.detach() for name, tensor in row.inputs().items()})
    for row in _ALL
    if row.loss not in _OTHERWISE and len(next(iter(row.inputs().values()))) > 1
]


def test_the_catalogue_says_which_losses_pool_a_batch() -> None:
    apart = set()
    for name, spec, inputs in ROWS:
        criterion = build(from_dict(spec, Loss))
        (count,) = {len(tensor) for tensor in inputs.values()}
        mean = MeanLoss(criterion, 1)
        halves = [slice(count // 2), slice(count // 2, count)]
        # barlow_twins refuses a sample by itself.
        with suppress(ValueError):
            for half in halves:
                mean._take({key: tensor[half] for key, tensor in inputs.items()})
        if mean.value == pytest.approx(float(criterion(inputs)), rel=1e-9, abs=1e-12):
            continue
        assert criterion.pools_batch, spec
        apart.add(name)
    marked = {
        entry.name
        for entry in losses()
        if entry.facts.HasField("pools_batch") and entry.name not in _OTHERWISE
    }
    assert apart == marked
