"""Jobs with augmentation: each task trains, and a run that is killed ends the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.worker.diagnostics.replayed import Original
from tests.worker.training.jobs import job, run
from tests.worker.training.killing import assert_exact_when_killed
from torch import Tensor

from talweg.client import read_jobs
from talweg.spec import check, fill
from talweg.v1.jobs_pb2 import Job
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.training import RecordingReporter
from talweg.worker.training.batching.batches import Batches, Order, Plan
from talweg.worker.training.setup import set_up

EXAMPLE = Path(__file__).parents[3] / "client/examples/augmentation_digits.yaml"
ALL = {"flip": {}, "rotate": 10, "crop": {}, "color": {}, "noise": {}, "cutout": {}}
SCENES = {"digit_scenes": {"num_samples": 20}}
SPLIT = {"train": 0.6, "validation": 0.2, "test": 0.2}
CASES: dict[str, dict[str, Any]] = {
    "multiclass": {
        "task": "multiclass",
        "dataset": "digits",
        "model": {"convnet": {"channels": [4], "dropout": 0.2}},
        "loss": "cross_entropy",
        "split": {"train": 0.1, "validation": 0.1, "test": 0.1},
        "augmentation": {**ALL, "mixup": {}, "cutmix": {}},
    },
    "segmentation": {
        "task": "segmentation",
        "dataset": SCENES,
        "model": {"unet": {"channels": [4, 6]}},
        "loss": "ce_dice",
        "split": SPLIT,
        "augmentation": ALL,
    },
    "foreground": {
        "task": {"segmentation": {"target": "foreground"}},
        "dataset": SCENES,
        "model": {"unet": {"channels": [4, 6]}},
        "loss": "bce_with_logits",
        "split": SPLIT,
        "augmentation": ALL,
    },
    "detection": {
        "task": "detection",
        "dataset": SCENES,
        "model": {"detector": {"channels": [6]}},
        "loss": "detection",
        "split": SPLIT,
        "augmentation": ALL,
    },
    "image_translation": {
        "task": "image_translation",
        "dataset": SCENES,
        "model": {"unet": {"channels": [4, 6]}},
        "loss": "mae",
        "split": SPLIT,
        "augmentation": {"flip": {}, "crop": 0.8},
    },
    "self_supervised": {
        "task": "self_supervised",
        "dataset": "digits",
        "model": {"embedder": {"trunk": {"convnet": {"channels": [4]}}, "size": 8}},
        "loss": "nt_xent",
        "split": {"train": 0.05, "validation": 0.05, "test": 0.05},
        "augmentation": {"flip": {}, "rotate": {}},
    },
    "metric_learning": {
        "task": "metric_learning",
        "dataset": "digits",
        "model": {"embedder": {"trunk": {"convnet": {"channels": [4]}}, "size": 8}},
        "loss": "supcon",
        "augmentation": {"rotate": 5, "noise": 0.05},
    },
    "vae": {
        "task": "vae",
        "dataset": "digits",
        "model": {"autoencoder": {}},
        "loss": "vae",
        "split": {"train": 0.05, "validation": 0.05, "test": 0.05},
        "augmentation": {"rotate": 5, "crop": 0.8},
    },
    "gan": {
        "task": "gan",
        "dataset": "digits",
        "model": {"adversarial": {}},
        "loss": "gan",
        "split": {"train": 0.05, "validation": 0.05, "test": 0.05},
        "augmentation": {"rotate": 5},
    },
}


def of(kind: str, **training: Any) -> JobSpec:
    fields = dict(CASES[kind])
    settings = {
        "epochs": 3, "batch_size": 4, "log_every_steps": 1,
        "augmentation": fields.pop("augmentation"), **training,
    }  # fmt: skip
    spec = job(**fields, training=settings)
    assert check(spec)[0] == []
    return spec


@pytest.mark.parametrize("kind", CASES)
def test_each_task_trains(kind: str) -> None:
    spec = of(kind, epochs=1, batch_size=32)
    result, _ = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    assert result.steps


@pytest.mark.parametrize(
    ("kind", "training"),
    [
        ("multiclass", {"batch_size": 30}),
        ("multiclass", {"batch_size": 15, "accumulation": 3}),
        ("segmentation", {}),
        ("detection", {}),
        ("self_supervised", {"batch_size": 16}),
    ],
)
def test_killed_again_and_again_it_ends_the_same(
    kind: str, training: dict[str, Any], tmp_path: Path
) -> None:
    spec = of(kind, **{"epochs": 4, **training})
    undisturbed = run(spec, may_be_unwell=True)
    assert_exact_when_killed(spec, tmp_path / "checkpoints", kind, undisturbed, at_least=1)


def test_a_replayed_step_sees_the_same_images() -> None:
    original = Original(of("multiclass", epochs=1, batch_size=32))
    replayed = original.replay(4, start=2)
    assert replayed.report.loss == original.losses[4]


def window_of(spec: JobSpec) -> list[Any]:
    setup = set_up(spec, torch.device("cpu"), RecordingReporter())
    return [batch for window in setup.batches.of_epoch(setup.state.order) for batch in window]


def test_images_differ_by_seed_and_epoch_and_the_random_state_stays() -> None:
    first, again, other = (window_of(of("multiclass", seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a.x, b.x) for a, b in zip(first, other, strict=True))
    spec = of("multiclass")
    setup = set_up(spec, torch.device("cpu"), RecordingReporter())
    state = torch.get_rng_state()
    order = setup.state.order
    for _ in setup.batches.of_epoch(order):
        assert torch.equal(torch.get_rng_state(), state)


def test_each_batch_of_each_epoch_has_its_own_seed() -> None:
    seeds: list[int] = []

    def augment(arrays: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        seeds.append(torch.initial_seed())
        return arrays

    order = Order(0)
    training = job().training
    batches = Batches(
        {"x": torch.arange(64.0)},
        Plan.of(training, 64, sums=False),
        augment=augment,
    )
    for _ in range(3):
        order.position = 0
        list(batches.of_epoch(order))
    assert len(set(seeds)) == len(seeds) == 6


def test_evaluations_see_the_images_as_they_are() -> None:
    spec, plain = of("multiclass", epochs=1), of("multiclass", epochs=1)
    plain.training.ClearField("augmentation")
    setups = [set_up(each, torch.device("cpu"), RecordingReporter()) for each in (spec, plain)]
    for part in ("train", "validation", "test"):
        augmented, as_is = (getattr(each.splits, part).arrays["x"] for each in setups)
        assert torch.equal(augmented, as_is)


def test_mixed_targets_are_probabilities_of_classes() -> None:
    for batch in window_of(of("multiclass")):
        target = batch.arrays["target_prob"]
        torch.testing.assert_close(target.sum(dim=1), torch.ones(len(batch)))
        assert (target.gather(1, batch.target[:, None]) > 0).all()


@pytest.mark.faults
def test_the_example_predicts_better_with_augmentation() -> None:
    losses: dict[bool, list[float]] = {True: [], False: []}
    for given in read_jobs(EXAMPLE):
        spec = fill(given)
        _, report = run(spec)
        (loss,) = (values["test/loss"] for _, values in report.points if "test/loss" in values)
        losses[spec.training.HasField("augmentation")].append(loss)
    assert len(losses[True]) == len(losses[False]) == 2
    assert max(losses[True]) < min(losses[False])
