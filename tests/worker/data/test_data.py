import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split

from talweg.spec import fill, from_dict
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.options_pb2 import (
    GAN,
    METRIC_LEARNING,
    ORDINAL,
    SELF_SUPERVISED,
    VAE,
    TaskKind,
    dataset,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker import data
from talweg.worker.data.loading import BundleCache
from talweg.worker.errors import UserSpecError

OWN_DATA = ("stored", "file", "uri", "plugin")
MEMBERS = [
    field.name
    for field in Dataset.DESCRIPTOR.oneofs_by_name["kind"].fields
    if field.name not in OWN_DATA
]


def job(name: Any, task: str = "regression", **fields: Any) -> JobSpec:
    spec = {"task": task, "dataset": name, "model": "mlp", "loss": "mse", **fields}
    return fill(from_dict(spec))


def facts_of(name: str) -> Any:
    message = Dataset.DESCRIPTOR.fields_by_name[name].message_type
    assert message is not None
    return message.GetOptions().Extensions[dataset]


def test_every_data_set_has_a_loader() -> None:
    assert sorted([*data.LOADERS, *data.DIVIDED]) == sorted(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_data_hold_the_arrays_of_the_catalogue(name: str) -> None:
    spec = job(name)
    message = getattr(spec.dataset, name)
    if name in data.DIVIDED:
        raw, _ = data.DIVIDED[name](message, spec.split)
    else:
        raw = data.LOADERS[name](message)
    assert list(raw.arrays) == (list(facts_of(name).arrays) or ["x", "y"])


@pytest.mark.parametrize("name", MEMBERS)
def test_data_is_what_the_catalogue_says(name: str) -> None:
    facts = facts_of(name)
    for kind in facts.tasks:
        if kind in (METRIC_LEARNING, SELF_SUPERVISED, GAN, VAE):
            continue  # Their data is that of others, divided otherwise or without targets.
        bundle = data.load(job(name, TaskKind.Name(kind).lower()))
        parts = (bundle.train, bundle.validation, bundle.test)
        assert all(part.x.dtype == torch.float32 for part in parts)
        assert all(part.x.shape[1:] == bundle.inputs.shape for part in parts)
        assert all(list(part.arrays) == list(bundle.train.arrays) for part in parts)
        if facts.num_samples:
            assert sum(map(len, parts)) == facts.num_samples
            assert tuple(facts.shape) == bundle.inputs.shape
            ranks = 5 if kind == ORDINAL else 0
            assert (facts.num_classes or ranks) == len(bundle.class_names)
            if facts.num_classes:
                classes = torch.cat([part.y for part in parts])
                assert torch.bincount(classes.long()).min() == facts.smallest_class
        if len(bundle.inputs.shape) == 1:
            assert len(bundle.inputs.names) == bundle.inputs.shape[0]


@pytest.mark.parametrize("name", MEMBERS)
def test_numbers_in_the_unit_range_are_so_and_others_are_not(name: str) -> None:
    facts = facts_of(name)
    if not facts.HasField("in_unit_range"):
        return
    kind = next(kind for kind in facts.tasks if kind not in (METRIC_LEARNING, ORDINAL))
    spec = job(name, TaskKind.Name(kind).lower())
    spec.preprocessing.standardise_inputs = False
    x = data.load(spec).train.x
    assert (bool((x >= 0).all()) and bool((x <= 1).all())) == facts.in_unit_range


def test_targets_have_the_type_that_losses_take() -> None:
    def y(name: Any, task: str) -> torch.Tensor:
        return data.load(job(name, task)).train.y

    assert y("diabetes", "regression").dtype == torch.float32
    assert y("diabetes", "regression").dim() == 1
    assert y({"synthetic_regression": {"num_targets": 3}}, "regression").shape == (600, 3)
    assert y("breast_cancer", "binary").dtype == torch.float32
    assert y("breast_cancer", "multiclass").dtype == torch.int64
    assert set(y("synthetic_multilabel", "multilabel").flatten().tolist()) == {0.0, 1.0}
    assert y("synthetic_multilabel", "multilabel").shape == (600, 5)


def test_plain_split_and_outliers_against_an_independent_computation() -> None:
    inputs, targets = datasets.load_diabetes(return_X_y=True)
    order = np.random.default_rng(7).permutation(442)
    train, validation, test = order[:266], order[266:354], order[354:]
    y = targets[train].copy()
    rng = np.random.default_rng(3)
    moved = rng.choice(266, 27, replace=False)
    y[moved] += y.std() * rng.uniform(5, 10, 27)

    bundle = data.load(
        job("diabetes", split={"seed": 7}, preprocessing={"target_outliers": {"seed": 3}})
    )

    def standardised(values: Any, of: Any) -> torch.Tensor:
        return torch.tensor((values - of.mean(axis=0)) / of.std(axis=0), dtype=torch.float32)

    assert torch.equal(bundle.train.x, standardised(inputs[train], inputs[train]))
    assert torch.equal(bundle.validation.x, standardised(inputs[validation], inputs[train]))
    assert torch.equal(bundle.train.y, standardised(y, y))
    # The clean parts are scaled by the statistics of the training part, outliers and all.
    assert torch.equal(bundle.test.y, standardised(targets[test], y))
    assert bundle.target_scaler is not None
    back = bundle.target_scaler.unscale(bundle.test.y.double().numpy())
    assert back == pytest.approx(targets[test], abs=1e-4)


def test_stratified_split_against_scikit_learn() -> None:
    inputs, targets = datasets.load_breast_cancer(return_X_y=True)
    rest, test = train_test_split(np.arange(569), test_size=113, random_state=5, stratify=targets)
    train, validation = train_test_split(
        rest, test_size=113, random_state=5, stratify=targets[rest]
    )
    raw = {"standardise_inputs": False}
    bundle = data.load(job("breast_cancer", "binary", split={"seed": 5}, preprocessing=raw))
    for part, indices in (
        (bundle.train, train),
        (bundle.validation, validation),
        (bundle.test, test),
    ):
        assert torch.equal(part.x, torch.tensor(inputs[indices], dtype=torch.float32))
        assert part.y.tolist() == targets[indices].tolist()
        assert float(part.y.mean()) == pytest.approx(targets.mean(), abs=0.01)


def test_shares_below_one_leave_samples_out() -> None:
    for stratified in (True, False):
        split = {"train": 0.29, "validation": 0.1, "test": 0, "stratified": stratified}
        bundle = data.load(job("iris", "multiclass", split=split))
        # 0.29 · 150 = 43.5, and 0.1 · 150 = 15.000000000000002 in floating point.
        assert (len(bundle.train), len(bundle.validation), len(bundle.test)) == (43, 15, 0)


def test_a_rest_of_fewer_samples_than_classes_is_left_out_too() -> None:
    # 148 of 150 are taken: the 2 that stay cannot have each of 3 classes.
    split = {"train": 0.59, "validation": 0.2, "test": 0.2, "stratified": True}
    bundle = data.load(job("iris", "multiclass", split=split))
    assert (len(bundle.train), len(bundle.validation), len(bundle.test)) == (88, 30, 30)
    assert min(torch.bincount(bundle.train.y.long()).tolist()) >= 28


def test_a_class_too_rare_for_every_part_is_the_specs_fault() -> None:
    rare = {"num_samples": 60, "class_shares": [0.99, 0.01], "label_noise": 0}
    with pytest.raises(UserSpecError, match=r"split\.stratified .* the rarest of"):
        data.load(job({"synthetic_classification": rare}, "binary"))


def test_images_are_standardised_by_one_mean_and_sd() -> None:
    raw = job("digits", "multiclass", preprocessing={"standardise_inputs": False})
    pixels = data.load(raw).train.x
    assert pixels.shape == (1079, 1, 8, 8)
    assert (float(pixels.min()), float(pixels.max())) == (0, 1)
    bundle = data.load(job("digits", "multiclass"))
    expected = (pixels - pixels.mean()) / pixels.std(correction=0)
    assert torch.allclose(bundle.train.x, expected, atol=1e-6)


def test_a_column_that_does_not_vary_is_not_blown_up() -> None:
    values = np.array([[0.1, 1.0], [0.1, 3.0], [0.1, 5.0]])
    # The mean of equal numbers may be off by a rounding error, and so their sd.
    values[:, 0] = 0.1 + 1e-17 * np.arange(3)
    scaled = data.StandardScaler.of(values).scale(values)
    assert np.abs(scaled[:, 0]).max() < 1e-15
    assert scaled[:, 1] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


@pytest.mark.parametrize("value", [1e30, 2.0**63 - 1024, -1e18])
def test_a_large_column_that_does_not_vary_stays_near_0(value: float) -> None:
    values = np.full((47, 1), value)
    assert np.abs(data.StandardScaler.of(values).scale(values)).max() < 1e-3


def test_each_of_several_targets_is_moved_by_its_own_sd() -> None:
    def targets(outliers: bool) -> Any:
        spec = job(
            {"synthetic_regression": {"num_targets": 2, "noise": 0}},
            preprocessing={
                "standardise_targets": False,
                **({"target_outliers": {"low_sd": 6, "high_sd": 6}} if outliers else {}),
            },
        )
        return data.load(spec).train.y.double().numpy()

    clean, moved = targets(False), targets(True)
    shift = (moved - clean) / clean.std(axis=0)
    rows = shift[:, 0] > 1e-3
    assert rows.sum() == 60
    assert shift[rows] == pytest.approx(6, abs=1e-3)
    assert shift[~rows] == pytest.approx(0, abs=1e-6)


def test_generated_data_heeds_its_parameters() -> None:
    few = {"num_classes": 3, "num_informative": 2, "class_shares": [0.7, 0.2, 0.1]}
    bundle = data.load(job({"synthetic_classification": few | {"label_noise": 0}}, "multiclass"))
    shares = torch.bincount(bundle.train.y) / len(bundle.train)
    assert shares.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.02)

    labels = {"num_classes": 8, "mean_labels": 2.5, "num_samples": 4000}
    bundle = data.load(job({"synthetic_multilabel": labels}, "multilabel"))
    assert float(bundle.train.y.sum(dim=1).mean()) == pytest.approx(2.5, abs=0.3)

    one, two = (data.load(job({"synthetic_regression": {"seed": seed}})).digest for seed in (1, 2))
    assert one != two


def test_digest_is_of_the_data_as_loaded() -> None:
    preprocessings: list[dict[str, Any]] = [
        {},
        {"standardise_inputs": False},
        {"target_outliers": {}},
    ]
    digests = {
        data.load(job("diabetes", split={"seed": seed}, preprocessing=preprocessing)).digest
        for seed in (0, 1)
        for preprocessing in preprocessings
    }
    inputs, targets = datasets.load_diabetes(return_X_y=True)
    sha = hashlib.sha256(b"<f8 (442, 10);" + inputs.tobytes())
    sha.update(b"<f8 (442,);" + targets.tobytes())
    assert digests == {sha.hexdigest()}


def test_cache_keeps_what_fits_and_tells_tasks_apart() -> None:
    cache = BundleCache(most=2)
    first = cache.load(job("iris", "multiclass"))
    # Neither loss nor training decides the data.
    again = fill(
        from_dict(
            {
                "task": "multiclass",
                "dataset": "iris",
                "model": "linear",
                "loss": "poly1",
                "training": {"seed": 3},
            }
        )
    )
    assert cache.load(again) is first
    as_binary = cache.load(job("breast_cancer", "binary"))
    as_classes = cache.load(job("breast_cancer", "multiclass"))
    assert as_binary.train.y.dtype != as_classes.train.y.dtype
    # Two others came since.
    assert cache.load(job("iris", "multiclass")) is not first
    small = BundleCache(most_bytes=100)
    assert small.load(job("iris", "multiclass")) is not small.load(job("iris", "multiclass"))
