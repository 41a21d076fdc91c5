"""Metric learning of pairs and triplets that the data give."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from talweg.spec import fill, from_dict, metrics_of
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data, tasks, training
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.data.raw import RawData
from talweg.worker.data.split import Division
from talweg.worker.errors import UserSpecError
from talweg.worker.losses import evaluate as value_of
from talweg.worker.training import NeverStop, RecordingReporter
from talweg.worker.training.evaluation import HeldSplit, evaluate

PAIRS = ["contrastive", "cosine_embedding", {"sum": {"terms": [
    {"loss": "contrastive"}, {"loss": "cosine_embedding", "weight": 0.5}]}}]  # fmt: skip
TRIPLETS = ["triplet", {"margin_ranking": {"margin": 0.5}}, {"sum": {"terms": [
    {"loss": "triplet"}, {"loss": {"margin_ranking": {"margin": 0.5}}}]}}]  # fmt: skip
CASES = [("digit_pairs", loss) for loss in PAIRS] + [("digit_triplets", loss) for loss in TRIPLETS]


def job(dataset: Any = "digit_pairs", loss: Any = "contrastive", **fields: Any) -> JobSpec:
    spec = {
        "task": "metric_learning",
        "dataset": dataset,
        "model": {"embedder": {"size": 8}},
        "loss": loss,
        "training": {"epochs": 3, "batch_size": 64, "log_every_steps": 1},
        **fields,
    }
    return fill(from_dict(spec))


def names_of(dataset: str) -> tuple[str, ...]:
    return ("left", "right") if dataset == "digit_pairs" else ("anchor", "positive", "negative")


@pytest.mark.parametrize("dataset", ["digit_pairs", "digit_triplets"])
def test_groups_are_what_they_say_and_no_image_stands_in_two_parts(dataset: str) -> None:
    bundle = data.load(job(dataset, "contrastive", preprocessing={"standardise_inputs": False}))
    raw = load_digits()
    digit_of = {
        image.astype(np.float32).tobytes(): digit
        for image, digit in zip(raw.images / 16, raw.target, strict=True)
    }
    met: list[set[bytes]] = []
    for part in (bundle.train, bundle.validation, bundle.test):
        keys = {
            name: [image[0].tobytes() for image in part.arrays[name].numpy()]
            for name in names_of(dataset)
        }
        first, second, *third = (
            np.array([digit_of[key] for key in each]) for each in keys.values()
        )
        assert np.array_equal(first, part.y.numpy())
        together = first == second
        if dataset == "digit_pairs":
            assert np.array_equal(together, part.arrays["same"].numpy() == 1)
            assert together.sum() == round(0.5 * len(part))
        else:
            assert together.all()
            assert (first != third[0]).all()
        # Nobody is compared with itself.
        one, other, *_ = keys.values()
        assert np.mean([a == b for a, b in zip(one, other, strict=True)]) == 0
        met.append({key for each in keys.values() for key in each})
    assert [len(part) for part in (bundle.train, bundle.validation, bundle.test)] == [
        1200, 400, 400,
    ]  # fmt: skip
    assert sum(map(len, met)) == len(set.union(*met))


def test_a_seed_decides_the_pairs_and_a_split_the_images() -> None:
    first, other, split = (
        data.load(spec).test.arrays["left"]
        for spec in (
            job(),
            job({"digit_pairs": {"seed": 1}}),
            job(split={"seed": 1}),
        )
    )
    assert not torch.equal(first, other)
    assert not torch.equal(first, split)
    few = data.load(job({"digit_pairs": {"num_samples": 100, "same_share": 0.2}})).train
    assert int(few.arrays["same"].sum()) == 12


def test_parts_without_enough_images_are_refused() -> None:
    spec = job(split={"train": 0.98, "validation": 0.01, "test": 0.01})
    with pytest.raises(
        UserSpecError, match=r"at least 2 images of each digit in each split, but one has 17 of"
    ):
        data.load(spec)


def test_all_that_is_compared_is_standardised_alike() -> None:
    bundle = data.load(job())
    plain = data.load(job(preprocessing={"standardise_inputs": False}))
    both = torch.cat([plain.train.arrays[name] for name in ("left", "right")]).double()
    for name in ("left", "right"):
        expected = (plain.test.arrays[name].double() - both.mean()) / both.std(correction=0)
        torch.testing.assert_close(bundle.test.arrays[name].double(), expected)
    assert bundle.inputs.shape == (1, 8, 8)
    assert bundle.train.x is bundle.train.arrays["left"]


def trained(spec: JobSpec) -> tuple[RecordingReporter, dict[str, float]]:
    report = RecordingReporter()
    result = training.run(spec, report=report, control=NeverStop(), device="cpu")
    assert result.state == Job.SUCCEEDED, result.message
    told = {
        name.removeprefix("test/"): value
        for _, values in report.points
        for name, value in values.items()
        if name.startswith("test/")
    }
    return report, told


@pytest.mark.parametrize(("dataset", "loss"), CASES, ids=str)
def test_every_loss_learns(dataset: str, loss: Any) -> None:
    spec = job(dataset, loss, optimizer={"adamw": {"learning_rate": 0.005}})
    report, told = trained(spec)
    assert told.keys() == {"loss", *(metric.name for metric in metrics_of(spec))}
    found = [value for _, value in report.series("train/loss")]
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:3])
    # By the distance of the pixels themselves 0.86.
    assert told["verification_auroc"] > 0.93


@pytest.mark.parametrize(("dataset", "loss"), CASES, ids=str)
def test_metrics_and_loss_against_scikit_learn(dataset: str, loss: Any) -> None:
    spec = job(dataset, loss)
    bundle = data.load(spec)
    task = tasks.make(spec, bundle)
    part = HeldSplit.of(bundle.test, task, torch.device("cpu"))
    found = evaluate(nn.Flatten(), task, part, batch_size=64)

    by_place = "contrastive" in str(loss) or "triplet" in str(loss)
    vectors = {}
    for name in names_of(dataset):
        flat = bundle.test.arrays[name].flatten(1).double()
        vectors[name] = (flat if by_place else nn.functional.normalize(flat)).numpy()
    first, *others = vectors.values()
    distances = [np.linalg.norm(first - other, axis=1) for other in others]
    if dataset == "digit_pairs":
        same = bundle.test.arrays["same"].numpy()
        (scores,) = distances
    else:
        same = np.repeat([1, 0], len(first))
        scores = np.concatenate(distances)
        assert found.values["triplet_accuracy"] == (distances[0] < distances[1]).mean()
    assert found.values["verification_auroc"] == pytest.approx(
        metrics.roc_auc_score(same, -scores), abs=1e-9
    )
    # An image that stands first in several groups counts once.
    _, new = np.unique(first, axis=0, return_index=True)
    labels = bundle.test.y.numpy()[new]
    near = KNeighborsClassifier(5).fit(first[new], labels).kneighbors(return_distance=False)
    hits = labels[near] == labels[:, None]
    assert found.values["recall_at_1"] == pytest.approx(hits[:, 0].mean())
    assert found.values["recall_at_5"] == pytest.approx(hits.any(axis=1).mean())
    assert len(new) < len(first)


def test_losses_take_what_is_given_as_evaluate_does() -> None:
    rng = torch.Generator().manual_seed(0)
    one, two, three = (torch.randn(6, 4, generator=rng) for _ in range(3))
    same = torch.tensor([1, 0, 1, 1, 0, 0])
    pairs = {"left": one, "right": two, "same": same}
    triplets = {"anchor": one, "positive": two, "negative": three}
    cosine = nn.functional.cosine_similarity
    expected = {
        "contrastive": ({"emb1": one, "emb2": two, "similar": same.float()}, pairs),
        "cosine_embedding": ({"emb1": one, "emb2": two, "sign": 2.0 * same - 1}, pairs),
        "triplet": (triplets, triplets),
        "margin_ranking": (
            {"x1": cosine(one, two), "x2": cosine(one, three), "sign": torch.ones(6)},
            triplets,
        ),
    }
    for loss, (inputs, given) in expected.items():
        dataset = "digit_pairs" if given is pairs else "digit_triplets"
        spec = job(dataset, loss)
        criterion = tasks.make(spec, data.load(spec)).criterion
        torch.testing.assert_close(criterion(given), value_of({loss: {}}, inputs))


def made(arrays: dict[str, torch.Tensor], bundle: DataBundle, spec: JobSpec) -> tasks.TaskRunner:
    part = DataSplit(arrays, next(iter(arrays)))
    return tasks.make(spec, replace(bundle, train=part, validation=part, test=part))


def test_data_that_are_no_pairs_are_refused() -> None:
    spec = job()
    bundle = data.load(spec)
    x, same = torch.zeros(4, 2), torch.tensor([0, 1, 1, 0])
    made({"left": x, "right": x, "same": same}, bundle, spec)
    with pytest.raises(UserSpecError, match="left and right must have one shape, but got"):
        made({"left": x, "right": torch.zeros(4, 3), "same": same}, bundle, spec)
    with pytest.raises(UserSpecError, match="same of the train data must be 0 or 1, but got 2"):
        made({"left": x, "right": x, "same": same * 2}, bundle, spec)
    with pytest.raises(UserSpecError, match="must have an array right, the other, but it has"):
        made({"left": x, "same": same}, bundle, spec)


def test_without_labels_there_is_no_recall_and_pairs_of_one_kind_have_no_curve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unlabelled(*_: object) -> tuple[RawData, Division]:
        x = np.random.default_rng(0).normal(size=(30, 3))
        same = (np.arange(30) < 20).astype(np.int64)
        rows = np.arange(30)
        return RawData({"left": x, "right": x[::-1], "same": same}), Division(
            rows[5:25], rows[:5], rows[25:]
        )

    monkeypatch.setitem(data.DIVIDED, "digit_pairs", unlabelled)
    spec = job({"digit_pairs": {"seed": 91}}, training={"epochs": 1})
    _, told = trained(spec)
    assert told.keys() == {"loss"}
