from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, tasks, training
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks.metric_learning.metrics import recall_at, verification_auroc
from talweg.worker.tasks.metric_learning.sampler import p_by_k_order
from talweg.worker.tasks.metric_learning.task import MetricLearning
from talweg.worker.training import NeverStop, RecordingReporter
from talweg.worker.training.evaluation import HeldSplit, evaluate

LOSSES: list[Any] = [
    "contrastive",
    "triplet",
    {"online_triplet": {"margin": 0.2}},
    {"online_triplet": {"strategy": "semihard"}},
    "supcon",
    "circle",
    "multi_similarity",
    {"arcface": {"embedding_size": 16, "scale": 8}},
    {"cosface": {"embedding_size": 16, "scale": 8}},
    "cosine_embedding",
    {"margin_ranking": {"margin": 0.5}},
]


def job(**fields: Any) -> JobSpec:
    spec = {
        "task": "metric_learning",
        "dataset": "digits",
        "split": {"train": 0.5, "validation": 0.2, "test": 0.3},
        "model": {"embedder": {"size": 16}},
        "loss": "supcon",
        "training": {"epochs": 2, "batch_size": 64, "log_every_steps": 1},
        **fields,
    }
    return fill(from_dict(spec))


def run(spec: JobSpec) -> RecordingReporter:
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    return report


def made(spec: JobSpec) -> tuple[MetricLearning, data.DataBundle]:
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    assert isinstance(task, MetricLearning)
    return task, bundle


def test_no_class_stands_in_two_parts() -> None:
    _, bundle = made(job())
    classes = [set(part.y.tolist()) for part in (bundle.train, bundle.validation, bundle.test)]
    assert [len(found) for found in classes] == [5, 2, 3]
    assert len(set.union(*classes)) == 10
    other = data.load(job(split={"train": 0.5, "validation": 0.2, "test": 0.3, "seed": 1}))
    assert set(other.train.y.tolist()) != classes[0]


def test_data_that_turns_out_to_have_too_few_classes_is_refused() -> None:
    spec = job()
    spec.dataset.wine.SetInParent()
    with pytest.raises(UserSpecError, match=r"at least 2 of the 3 classes.* but got 3, 0, 0"):
        data.load(spec)


def test_batches_hold_several_samples_of_several_classes() -> None:
    labels = torch.randint(0, 6, (500,), generator=torch.Generator().manual_seed(0))
    order = p_by_k_order(labels, 4, torch.Generator().manual_seed(1))
    assert sorted(order.tolist()) == list(range(500))
    full = torch.split(labels[order], 16)[:20]
    for batch in full:
        assert all(len(torch.unique(group)) == 1 for group in torch.split(batch, 4))
    assert np.mean([len(torch.unique(batch)) for batch in full]) > 3
    again = p_by_k_order(labels, 4, torch.Generator().manual_seed(2))
    assert not torch.equal(order, again)


def test_classes_smaller_than_a_group_come_last() -> None:
    order = p_by_k_order(torch.tensor([0, 1, 0, 1, 2]), 3, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


def test_turned_classes_are_classes_of_their_own() -> None:
    task, bundle = made(job(task={"metric_learning": {"turned_classes": True}}))
    arrays = task.arrays(bundle.train)
    count = len(bundle.train)
    assert len(arrays["x"]) == 4 * count
    assert sorted(torch.unique(arrays["target"]).tolist()) == list(range(20))
    assert torch.equal(arrays["x"][count], torch.rot90(bundle.train.x[0], 1, (1, 2)))
    assert int(arrays["target"][count]) == int(arrays["target"][0]) + 5
    assert torch.equal(task.arrays(bundle.test)["x"], bundle.test.x)


def test_recall_by_sorting_and_verification_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 700)
    vectors = rng.normal(size=(700, 4)) + labels[:, None] * 0.3
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=-1)
    np.fill_diagonal(apart, np.inf)
    hits = labels[apart.argsort(axis=1)[:, :5]] == labels[:, None]
    assert recall_at(vectors, labels, (1, 5)) == pytest.approx(
        [hits[:, 0].mean(), hits.any(axis=1).mean()]
    )
    one, other = np.triu_indices(700, k=1)
    expected = metrics.roc_auc_score(
        labels[one] == labels[other], -np.linalg.norm(vectors[one] - vectors[other], axis=1)
    )
    assert verification_auroc(vectors, labels) == pytest.approx(expected)


def test_of_many_samples_some_pairs_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    vectors = rng.normal(size=(600, 2)) + labels[:, None]
    exact = verification_auroc(vectors, labels)
    monkeypatch.setattr("talweg.worker.tasks.metric_learning.metrics._MOST_PAIRS", 50_000)
    assert verification_auroc(vectors, labels) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_samples_are_judged_as_far_as_that_goes(count: int) -> None:
    vectors = np.arange(count, dtype=np.float64)[:, None]
    labels = np.zeros(count, dtype=np.int64)
    assert recall_at(vectors, labels, (1, 5)) == [float(count > 1)] * 2
    assert verification_auroc(vectors, labels) is None


def test_directions_or_places_are_compared_as_the_loss_does() -> None:
    def compares(loss: Any) -> bool:
        return made(job(loss=loss))[0].compares_directions

    assert compares("supcon")
    assert compares({"online_triplet": {"normalize": True}})
    assert compares({"triplet": {"distance": "cosine"}})
    assert not compares("triplet")
    assert not compares("contrastive")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_evaluation_in_parts_adds_up_as_its_loss_does(reduction: str) -> None:
    training = {"evaluation_batch_size": 100}
    task, bundle = made(job(loss={"supcon": {"reduction": reduction}}, training=training))
    part = HeldSplit.of(bundle.test, task, torch.device("cpu"))
    order = task.evaluation_order(len(part))
    assert order is not None
    cut = [part.chosen(samples) for samples in torch.split(order, 100)]
    parts = [
        (float(task.criterion({"pred": b.x.flatten(1), "target": b.target})), len(b)) for b in cut
    ]
    assert len(parts) > 2
    whole = sum(value for value, _ in parts)
    if reduction == "mean":
        whole = sum(value * count for value, count in parts) / len(part)
    found = evaluate(nn.Flatten(), task, part, batch_size=64)
    assert found.values["loss"] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_every_loss_learns_the_classes_of_training(loss: Any) -> None:
    spec = job(loss=loss, optimizer={"adamw": {"learning_rate": 0.01}})
    report = run(spec)
    found = [value for _, value in report.series("train/loss")]
    assert np.mean(found[-5:]) < 0.9 * np.mean(found[:3])
    told = {name for _, values in report.points for name in values if name.startswith("val/")}
    names = {metric.name for metric in metrics_of(spec)}
    if not ("arcface" in loss or "cosface" in loss):
        names.add("loss")
    assert told == {f"val/{name}" for name in names}


def test_pairs_are_drawn_anew_in_training_and_not_in_evaluation() -> None:
    task, bundle = made(job(loss="triplet"))
    inputs = {
        "pred": torch.randn(60, 16, generator=torch.Generator().manual_seed(0)),
        "target": bundle.test.y[:60],
    }
    assert float(task.criterion(inputs)) != float(task.criterion(inputs))
    task.criterion.eval()
    assert float(task.criterion(inputs)) == float(task.criterion(inputs))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_batch_of_one_class_costs_nothing_or_little_and_has_a_gradient(loss: Any) -> None:
    task, _ = made(job(loss=loss))
    pred = torch.randn(6, 16, requires_grad=True)
    found = task.criterion({"pred": pred, "target": torch.zeros(6, dtype=torch.int64)})
    (slope,) = torch.autograd.grad(found, pred)
    assert bool(found.isfinite())
    assert bool(slope.isfinite().all())
