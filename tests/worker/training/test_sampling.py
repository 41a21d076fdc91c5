"""Class-balanced and weighted sampling: how often samples are drawn, and exact resumes."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.data.stored.storing import job_on, store_table
from tests.worker.training.jobs import job, rare, run
from tests.worker.training.killing import assert_exact_when_killed
from torch import Tensor

from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.errors import UserSpecError
from talweg.worker.training import RecordingReporter
from talweg.worker.training.batching.batches import Order
from talweg.worker.training.batching.sampling import Sampler, drawn_by_weight, sampler_of
from talweg.worker.training.monitors.checks import imbalance_warnings
from talweg.worker.training.setup import Setup, set_up

ROWS = 200


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "blobs"
    folder.mkdir()
    monkeypatch.setenv("TALWEG_BLOBS", str(folder))
    monkeypatch.setenv("TALWEG_DATA_CACHE", str(tmp_path / "cache"))
    return folder


def imbalanced(**training: Any) -> JobSpec:
    shares = {"num_samples": 500, "num_classes": 3, "class_shares": [0.8, 0.15, 0.05]}
    return job(
        task="multiclass", dataset={"synthetic_classification": shares}, loss="cross_entropy",
        training={"epochs": 6, "batch_size": 30, **training},
    )  # fmt: skip


def ready(spec: JobSpec) -> Setup:
    return set_up(spec, torch.device("cpu"), RecordingReporter())


def epoch(setup: Setup, order: Order) -> list[Tensor]:
    """Return the samples of each step of an epoch, and stand before the next."""
    steps = []
    for _ in setup.batches.of_epoch(order):
        steps.append(torch.tensor(setup.batches.samples(order)[0]))
    order.position = 0
    return steps


@pytest.mark.parametrize("accumulation", [1, 3])
def test_each_class_is_drawn_as_often_as_any_other(accumulation: int) -> None:
    setup = ready(imbalanced(sampling="balanced", accumulation=accumulation))
    y = setup.splits.bundle.train.y
    num_samples, of_class = len(y), torch.bincount(y)
    assert of_class.max() > 10 * of_class.min()
    order = Order(0)
    times = torch.zeros(num_samples, dtype=torch.long)
    num_epochs = 60
    for _ in range(num_epochs):
        steps = epoch(setup, order)
        assert [len(step) for step in steps[:-1]] == [30 * accumulation] * (len(steps) - 1)
        drawn = torch.cat(steps)
        assert len(drawn) == num_samples
        counts = torch.bincount(y[drawn], minlength=3)
        assert counts.max() - counts.min() <= 1
        times += torch.bincount(drawn, minlength=num_samples)
        # Of the frequent class nothing occurs twice before the rest of it did.
        assert torch.bincount(drawn[y[drawn] == 0]).max() == 1
    for index in range(3):
        expected = num_epochs * num_samples / 3 / float(of_class[index])
        of_samples = times[y == index].double()
        assert of_samples.mean() == pytest.approx(expected, rel=0.01)
        # All samples of a class alike, and none left out.
        assert of_samples.min() > 0.3 * expected
        assert of_samples.max() < 2 * expected


def test_batches_hold_the_classes_mixed() -> None:
    setup = ready(imbalanced(sampling="balanced", batch_size=60))
    y = setup.splits.bundle.train.y
    for step in epoch(setup, Order(1))[:-1]:
        assert torch.bincount(y[step], minlength=3).min() > 5


def test_a_sample_is_drawn_in_proportion_to_its_weight() -> None:
    weights = torch.tensor([0.0, 0.5, 1.0, 2.0, 6.5], dtype=torch.float64).repeat(4)
    generator = torch.Generator().manual_seed(0)
    times = torch.zeros(20, dtype=torch.long)
    for _ in range(2000):
        drawn = drawn_by_weight(weights, None, generator)
        counts = torch.bincount(drawn, minlength=20)
        expected = weights / weights.sum() * 20
        assert bool((counts >= expected.floor()).all())
        assert bool((counts <= expected.ceil()).all())
        times += counts
    assert torch.allclose(times.double() / 2000, weights / weights.sum() * 20, rtol=0.1)
    assert times[weights == 0].sum() == 0


def test_another_seed_and_another_epoch_draw_others() -> None:
    setup = ready(imbalanced(sampling="balanced"))
    order = Order(0)
    first, second = (torch.cat(epoch(setup, order)) for _ in range(2))
    other = torch.cat(epoch(setup, Order(1)))
    again = torch.cat(epoch(setup, Order(0)))
    assert torch.equal(first, again)
    assert not torch.equal(first.sort().values, second.sort().values)
    assert not torch.equal(first.sort().values, other.sort().values)


def test_a_curriculum_draws_from_what_it_admits() -> None:
    setup = ready(
        imbalanced(
            sampling="balanced",
            curriculum={"start_share": 0.5, "difficulty": {"array": "y"}},
        )
    )
    setup.curriculum.epoch_begins(1)
    y = setup.splits.bundle.train.y
    assert set(y[torch.cat(epoch(setup, Order(0)))].tolist()) == {0}
    setup.batches.admit(torch.cat([torch.nonzero(y == 0)[:90, 0], torch.nonzero(y == 1)[:10, 0]]))
    steps = epoch(setup, Order(0))
    a_pass = torch.cat(steps)[:100]
    assert torch.bincount(y[a_pass]).tolist() == [50, 50]


@pytest.mark.parametrize("task", ["binary", "ordinal"])
def test_other_tasks_with_one_class_a_sample(task: str) -> None:
    loss = {"binary": "bce_with_logits", "ordinal": "coral"}[task]
    spec = job(task=task, dataset={"binary": "breast_cancer", "ordinal": "diabetes"}[task],
               loss=loss, training={"epochs": 1, "sampling": "balanced"})  # fmt: skip
    setup = ready(spec)
    y = setup.splits.bundle.train.y.long()
    counts = torch.bincount(y[torch.cat(epoch(setup, Order(0)))])
    assert counts.max() - counts.min() <= 1


def test_balanced_batches_need_no_class_weights() -> None:
    spec = rare("bce_with_logits", 0.02)
    (warning,) = imbalance_warnings(spec, data.load(spec))
    assert warning.kind == Warning.IMBALANCE_WITHOUT_WEIGHTS
    spec.training.sampling.balanced.SetInParent()
    assert not list(imbalance_warnings(spec, data.load(spec)))


def weighted(store: Path, weights: list[Any], **roles: Any) -> JobSpec:
    rng = random.Random(0)
    columns = {name: [rng.gauss(0, 1) for _ in range(ROWS)] for name in ("a", "b", "y")}
    info = store_table(store, {**columns, "w": weights})
    training = {"epochs": 4, "batch_size": 16, "log_every_steps": 1, "sampling": {"weighted": "w"}}
    model = {"mlp": {"hidden": [8], "dropout": 0.2}}
    return job_on(
        info, "regression", {"target": "y", "weight": "w", **roles}, training=training, model=model
    )


def test_a_column_of_weights(store: Path) -> None:
    spec = weighted(store, [float(row % 4) for row in range(ROWS)])
    bundle = data.load(spec)
    assert bundle.inputs.names == ("a", "b")
    assert bundle.weights is not None
    assert bundle.weights.tolist() == [row % 4 for row in bundle.train_rows.tolist()]
    sampler = sampler_of(spec, bundle)
    assert sampler is not None
    generator = torch.Generator().manual_seed(3)
    draw = sampler.among(None)
    drawn = torch.cat([draw(len(bundle.train), generator) for _ in range(50)])
    counts = torch.bincount(bundle.weights[drawn].long()).double()
    present = torch.bincount(bundle.weights.long())
    ratios = counts[1:] / present[1:] / (counts[1] / present[1])
    assert counts[0] == 0
    assert ratios.tolist() == pytest.approx([1, 2, 3], rel=0.05)


def test_a_run_by_weights_that_is_killed_ends_the_same(store: Path, tmp_path: Path) -> None:
    spec = weighted(store, [1.0 + row % 3 for row in range(ROWS)])
    whole, undisturbed = run(spec, may_be_unwell=True)
    plain = JobSpec()
    plain.CopyFrom(spec)
    plain.training.ClearField("sampling")
    other, _ = run(plain, may_be_unwell=True)
    assert whole.model is not None
    assert other.model is not None
    pairs = zip(whole.model.parameters(), other.model.parameters(), strict=True)
    assert not all(torch.equal(one, two) for one, two in pairs)

    assert_exact_when_killed(spec, tmp_path / "disk", 2, (whole, undisturbed))


def test_training_samples_without_any_weight_are_refused() -> None:
    sampler = Sampler(weights=torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    assert sampler.among(None)(3, torch.Generator()).tolist() == [2, 2, 2]
    with pytest.raises(UserSpecError, match="weights above 0 among the 2 samples"):
        sampler.among(torch.tensor([0, 1]))


def test_weights_whose_sum_is_beyond_floats_are_drawn_by_their_shares() -> None:
    weights = torch.tensor([1e308, 1e308, 1.0, 1.0], dtype=torch.float64)
    drawn = drawn_by_weight(weights, None, torch.Generator().manual_seed(0))
    assert sorted(drawn.tolist()) == [0, 0, 1, 1]
