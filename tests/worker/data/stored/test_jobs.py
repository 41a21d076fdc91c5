"""Whole jobs on stored data: each kind of task, and runs that are killed and go on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets
from tests.worker.data.stored.storing import job_on, store_arrays, store_table
from tests.worker.training.jobs import job, run
from tests.worker.training.killing import assert_exact_when_killed, assert_same_weights, points_of

from talweg.v1.jobs_pb2 import Job, Outcome, Warning
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import StoredDataset
from talweg.worker.tasks import Batch
from talweg.worker.training import NullReporter
from talweg.worker.training.setup import set_up

MODEL = {"mlp": {"hidden": [8], "dropout": 0.2}}


def iris_with_gaps(store: Path) -> StoredDataset:
    """Iris with a category, a date-free id, and a tenth of a column missing."""
    raw = datasets.load_iris()
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {
        f"f{index}": raw.data[:, index].tolist() for index in range(4)
    }
    gaps = rng.random(150) < 0.1
    columns["f1"] = [None if gap else v for v, gap in zip(columns["f1"], gaps, strict=True)]
    columns["meadow"] = [None if c == 3 else f"m{c}" for c in rng.integers(0, 4, 150).tolist()]
    columns["species"] = [str(raw.target_names[target]) for target in raw.target]
    return store_table(store, columns)


def images(store: Path, **more: Any) -> StoredDataset:
    """The digits as bytes of 16 by 16 pixels, with their labels."""
    raw = datasets.load_digits()
    pixels = (raw.images[:200, None] / 16 * 255).round().astype(np.uint8)
    pixels = np.kron(pixels, np.ones((1, 1, 2, 2), np.uint8))
    arrays = {"image": pixels, "label": raw.target[:200].astype(np.int64), **more}
    return store_arrays(store, arrays, categories={"label": [f"digit {n}" for n in range(10)]})


def scenes(store: Path) -> StoredDataset:
    """Bright rectangles of two classes, with everything that is known of them."""
    rng = np.random.default_rng(0)
    count, most, side = 40, 3, 32
    x = rng.integers(0, 60, (count, 1, side, side)).astype(np.uint8)
    mask = np.zeros((count, side, side), np.int64)
    depth = np.full((count, side, side), 5.0, np.float64)
    boxes = np.zeros((count, most, 4))
    classes = np.zeros((count, most), np.int64)
    number = rng.integers(1, most + 1, count)
    for image in range(count):
        for place in range(most):
            left, top = rng.integers(0, side - 12, 2)
            width, height = rng.integers(6, 12, 2)
            kind = int(rng.integers(1, 3))
            # What lies beyond the number of boxes is padding, and may hold anything.
            boxes[image, place] = left, top, left + width, top + height
            classes[image, place] = kind
            if place < number[image]:
                area = (image, slice(top, top + height), slice(left, left + width))
                x[image, 0][area[1:]] = 120 * kind
                mask[area], depth[area] = kind, kind
    return store_arrays(
        store,
        {
            "x": x, "image": 255 - x, "mask": mask, "depth": depth,
            "boxes": boxes, "classes": classes, "count": number,
        },
    )  # fmt: skip


def pairs(store: Path) -> StoredDataset:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 120, 6)).astype(np.float32)
    same = rng.integers(0, 2, 120)
    right[same == 1] = left[same == 1] + 0.1
    positive, negative = left + 0.1, right + 2
    return store_arrays(
        store,
        {
            "left": left, "right": right, "same": same,
            "anchor": left, "positive": positive, "negative": negative,
        },
    )  # fmt: skip


def diabetes(store: Path) -> StoredDataset:
    raw = datasets.load_diabetes()
    columns = {name: raw.data[:, index].tolist() for index, name in enumerate(raw.feature_names)}
    return store_table(store, {**columns, "progression": raw.target.tolist()})


def trained(spec: JobSpec) -> Any:
    result, report = run(spec, may_be_unwell=True)
    assert result.state == Job.SUCCEEDED, result.message
    return result, report


ROLES = {"target": "species"}
LABELS = {"inputs": ["image"], "target": "label"}
CONVNET = {"convnet": {"channels": [4]}}
UNET = {"unet": {"channels": [4, 6]}}
EMBEDDER = {"embedder": {"trunk": {"mlp": {"hidden": [8]}}, "size": 4}}
HALVES = {"train": 0.5, "validation": 0, "test": 0.5}


@pytest.mark.parametrize(
    ("make", "task", "roles", "fields"),
    [
        (iris_with_gaps, "multiclass", ROLES, {"loss": "cross_entropy"}),
        (
            iris_with_gaps, {"self_supervised": {"views": {"noise": 0.3}}}, ROLES,
            {"model": EMBEDDER, "loss": "nt_xent"},
        ),
        (
            iris_with_gaps, "vae", {"ignore": ["species"]},
            {"model": {"autoencoder": {"code": 2, "hidden": [8]}}, "loss": "vae"},
        ),
        (
            images, "metric_learning", LABELS,
            {"split": HALVES, "loss": "multi_similarity",
             "model": {"embedder": {"trunk": CONVNET, "size": 4}}},
        ),
        (
            images, "multiclass", LABELS,
            {"model": CONVNET, "loss": {"cross_entropy": {"weight": "balanced"}}},
        ),
        (scenes, "segmentation", {}, {"model": UNET, "loss": "dice"}),
        (scenes, "detection", {}, {"model": {"detector": {"channels": [8]}}, "loss": "detection"}),
        (scenes, "image_translation", {}, {"model": UNET, "loss": "mae"}),
        (
            scenes, {"multitask": {"heads": ["segmentation", "depth"]}}, {},
            {"model": {"multi_head": {"trunk": UNET}},
             "loss": {"uncertainty": {"losses": ["cross_entropy", "mae"]}}},
        ),
        (
            diabetes, {"multitask": {"heads": ["number"]}}, {"target": "progression"},
            {"model": {"multi_head": {"trunk": {"mlp": {"hidden": [8]}}}},
             "loss": {"uncertainty": {"losses": ["mse"]}}},
        ),
        (pairs, "metric_learning", {}, {"model": EMBEDDER, "loss": "contrastive"}),
        (
            pairs, {"metric_learning": {"given": "triplets"}}, {},
            {"model": EMBEDDER, "loss": "triplet"},
        ),
    ],
)  # fmt: skip
def test_jobs_of_each_kind_of_task(
    make: Any, task: Any, roles: Any, fields: dict[str, Any], store: Path
) -> None:
    spec = job_on(make(store), task, roles, **{"model": MODEL, **fields})
    result, _ = trained(spec)
    assert result.steps > 0


def test_batches_of_mixed_targets_make_up_a_larger_one(store: Path) -> None:
    raw = datasets.load_digits()
    pixels = np.kron(raw.images[:60, None], np.ones((1, 1, 2, 2))).astype(np.uint8)
    rare = {"image": pixels, "label": (raw.target[:60] == 3).astype(np.int64)}
    info = store_arrays(store, rare, categories={"label": ["other", "three"]})
    # It divides by the targets, which are mixed, and differ from batch to batch.
    loss = {"focal_binary": {"normalizer": "positives"}}
    training = {
        "batch_size": 12, "accumulation": 3, "augmentation": {"mixup": {"probability": 1}},
    }  # fmt: skip
    spec = job_on(info, "binary", LABELS, model=CONVNET, loss=loss, training=training)
    setup = set_up(spec, torch.device("cpu"), NullReporter())
    # Statistics of batches would differ.
    setup.state.model.eval()
    window = next(setup.batches.of_epoch(setup.state.order))
    names = window[0].arrays
    together = Batch({name: torch.cat([b.arrays[name] for b in window]) for name in names})
    total = torch.stack([setup.loss_of(batch) for batch in window]).sum()
    torch.testing.assert_close(total, setup.loss_of(together))


def test_arrays_are_what_the_built_in_data_sets_have(store: Path) -> None:
    from talweg.worker import data

    bundle = data.load(
        job_on(
            scenes(store), "detection", {}, model={"detector": {"channels": [8]}}, loss="detection"
        )
    )
    arrays = bundle.train.arrays
    assert arrays["x"].dtype == arrays["boxes"].dtype == torch.float32
    assert arrays["classes"].dtype == arrays["count"].dtype == torch.int64
    padding = torch.arange(3) >= arrays["count"][:, None]
    assert bool(padding.any())
    assert not arrays["boxes"][padding].any()
    assert not arrays["classes"][padding].any()
    assert bundle.class_names == ("background", "class 1", "class 2")

    spec = job_on(scenes(store), "segmentation", {}, model=UNET, loss="dice")
    spec.preprocessing.standardise_inputs = False
    bundle = data.load(spec)
    assert bundle.train.arrays["mask"].dtype == torch.int64
    assert bundle.num_targets == spec.dataset.stored.facts.num_classes == 3
    x = bundle.train.x
    assert float(x.max()) == pytest.approx(240 / 255)
    assert torch.equal((x * 255).round() / 255, x)
    assert list(x.shape[1:]) == list(spec.dataset.stored.facts.shape) == [1, 32, 32]


def test_a_stored_table_trains_as_the_built_in_one_bit_for_bit(store: Path) -> None:
    fields: dict[str, Any] = {"model": MODEL, "training": {"epochs": 3, "log_every_steps": 1}}
    spec = job_on(diabetes(store), "regression", {"target": "progression"}, **fields)
    stored, report = trained(spec)
    built_in, other = trained(job(**fields))
    assert_same_weights(stored, built_in)
    assert points_of(report) == points_of(other)


def test_leakage_is_a_warning_and_what_was_filled_in_a_line(store: Path) -> None:
    spec = job_on(
        iris_with_gaps(store), "multiclass", {**ROLES, "inputs": ["f0", "f1", "f2", "f3"]},
        loss="cross_entropy", model=MODEL,
    )  # fmt: skip
    _, report = trained(spec)
    leakage = [each for each in report.warnings if each.kind == Warning.DATA_LEAKAGE]
    # Iris has two flowers of the same four measures.
    assert all(each.field == "split" for each in leakage)
    assert any("f1 lacks" in line for line in report.lines)


@pytest.mark.parametrize("kind", ["table", "images"])
def test_killed_again_and_again_it_ends_the_same(kind: str, store: Path, tmp_path: Path) -> None:
    if kind == "table":
        spec = job_on(
            iris_with_gaps(store), "multiclass", ROLES,
            model=MODEL, loss="cross_entropy", training={"epochs": 8, "log_every_steps": 2},
        )  # fmt: skip
    else:
        spec = job_on(
            images(store), "multiclass", LABELS,
            model={"convnet": {"channels": [4], "batch_norm": True, "dropout": 0.2}},
            loss="cross_entropy", training={"epochs": 5, "log_every_steps": 2},
        )  # fmt: skip
    undisturbed = trained(spec)
    assert_exact_when_killed(spec, tmp_path / "checkpoints", kind, undisturbed)


def test_a_job_waits_for_a_store_and_fails_without_its_data(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No other job of these tests has left the data in memory.
    split = {"seed": 4711}
    spec = job_on(iris_with_gaps(store), "multiclass", ROLES, loss="cross_entropy", split=split)
    monkeypatch.setenv("TALWEG_BLOBS", str(store / "not mounted"))
    result, _ = run(spec)
    assert (result.state, result.cause) == (Job.QUEUED, Outcome.SERVICE)
    (store / "empty").mkdir()
    monkeypatch.setenv("TALWEG_BLOBS", str(store / "empty"))
    result, _ = run(spec)
    assert (result.state, result.cause) == (Job.FAILED, Outcome.USER_SPEC)
    assert "is gone from the store" in result.message
