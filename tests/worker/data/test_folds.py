"""Cross-validation: folds partition the samples, and the other parts come from the rest."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import datasets

from talweg.client import read_jobs
from talweg.spec import check, fill, from_dict, kind
from talweg.v1.spec_pb2 import JobSpec, Split
from talweg.worker import data
from talweg.worker.data.split import Division, divide, divide_classes
from talweg.worker.data.stored.division import divide_groups
from talweg.worker.errors import UserSpecError

EXAMPLE = Path(__file__).parents[3] / "client/examples/cross_validation.yaml"


def split_of(fold: int, folds: int, **fields: Any) -> Split:
    text = {"task": "regression", "split": {"fold": fold, "folds": folds, **fields}}
    return fill(from_dict(text, JobSpec)).split


def assert_partition(divisions: list[Division], num_samples: int) -> None:
    """Check that each sample is test data once, and that no part has what another has."""
    tests = np.concatenate([division.test for division in divisions])
    assert sorted(tests) == list(range(num_samples))
    for division in divisions:
        together = np.concatenate(division)
        assert len(set(together)) == len(together) == num_samples


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(("num_samples", "folds"), [(10, 3), (103, 5), (12, 12), (50, 2)])
def test_each_sample_is_test_data_once(num_samples: int, folds: int, seed: int) -> None:
    splits = [split_of(fold, folds, seed=seed, validation=0.1) for fold in range(1, folds + 1)]
    divisions = [divide(split, num_samples, None) for split in splits]
    assert_partition(divisions, num_samples)
    sizes = [len(division.test) for division in divisions]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(division.validation) == num_samples // 10 for division in divisions)
    for split, division in zip(splits, divisions, strict=True):
        again = divide(split, num_samples, None)
        assert all(np.array_equal(a, b) for a, b in zip(division, again, strict=True))


def test_another_seed_gives_other_folds_and_another_fold_other_validation_data() -> None:
    one, other = (divide(split_of(1, 5, seed=seed), 100, None) for seed in (0, 1))
    assert set(one.test) != set(other.test)
    second = divide(split_of(2, 5), 100, None)
    assert len(set(one.validation) & set(second.validation)) < 15


def test_the_training_data_may_be_fewer() -> None:
    division = divide(split_of(2, 5, train=0.3, validation=0.1), 100, None)
    assert [len(part) for part in division] == [30, 10, 20]


@pytest.mark.parametrize("counts", [(60, 30, 10), (7, 5, 5), (103, 11, 5)])
def test_stratified_folds_keep_the_classes(counts: tuple[int, ...]) -> None:
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(3), counts))
    folds = 5
    divisions = [
        divide(split_of(fold, folds, validation=0.2), len(classes), classes)
        for fold in range(1, folds + 1)
    ]
    assert_partition(divisions, len(classes))
    for index, count in enumerate(counts):
        of_class = [int((classes[division.test] == index).sum()) for division in divisions]
        assert sum(of_class) == count
        assert max(of_class) - min(of_class) <= 1
        for division in divisions:
            share = (classes[division.validation] == index).mean()
            assert share == pytest.approx(count / len(classes), abs=0.1)
    sizes = [len(division.test) for division in divisions]
    assert max(sizes) - min(sizes) <= 1


def test_more_folds_than_samples_of_a_class_are_refused() -> None:
    classes = np.repeat([0, 1], [20, 4])
    with pytest.raises(UserSpecError, match=r"split\.folds must be at most 4, .* but got 5"):
        divide(split_of(1, 5), 24, classes)
    with pytest.raises(UserSpecError, match="at most 3, the number of samples, but got 5"):
        divide(split_of(1, 5), 3, None)


def grouped(seed: int, num_groups: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return groups of 1 to 9 samples, and a class of each sample that its group has mostly."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(num_groups), rng.integers(1, 10, num_groups))
    common = rng.random(num_groups) < 0.25
    classes = np.where(rng.random(len(codes)) < 0.1, ~common[codes], common[codes])
    order = rng.permutation(len(codes))
    # Numbers that no sample has, as a dictionary of values leaves them.
    return 3 * codes[order], classes[order].astype(np.int64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stratified", [False, True])
def test_groups_never_stand_on_both_sides(seed: int, stratified: bool) -> None:
    codes, classes = grouped(seed, 80)
    folds = 5
    divisions = [
        divide_groups(
            split_of(fold, folds, seed=seed), codes, "ward", classes if stratified else None
        )
        for fold in range(1, folds + 1)
    ]
    assert_partition(divisions, len(codes))
    for division in divisions:
        parts = [set(codes[rows]) for rows in division]
        assert all(not one & other for one, other in pairwise([*parts, parts[0]]))
        assert all(parts)
        assert len(division.test) == pytest.approx(len(codes) / folds, rel=0.1)
        assert len(division.validation) == pytest.approx(len(codes) / 5, rel=0.15)
    if stratified:
        shares = [classes[division.test].mean() for division in divisions]
        assert max(shares) - min(shares) < 0.06


def test_as_many_folds_as_groups() -> None:
    codes, _ = grouped(0, 6)
    divisions = [
        divide_groups(split_of(fold, 6, validation=0.1), codes, "ward") for fold in range(1, 7)
    ]
    assert_partition(divisions, len(codes))
    assert {len(set(codes[division.test])) for division in divisions} == {1}
    with pytest.raises(UserSpecError, match=r"at most 6, the number of groups in ward, but got 7"):
        divide_groups(split_of(1, 7), codes, "ward")


def test_two_groups_leave_none_for_validation() -> None:
    codes = np.repeat([0, 1], [60, 40])
    for fold in (1, 2):
        said = rf"there is 1 group beside fold {fold}, .* set split\.validation to 0"
        with pytest.raises(UserSpecError, match=said):
            divide_groups(split_of(fold, 2), codes, "ward")
    divisions = [divide_groups(split_of(fold, 2, validation=0), codes, "ward") for fold in (1, 2)]
    assert_partition(divisions, 100)


def test_whole_classes_are_divided_for_metric_learning() -> None:
    classes = np.random.default_rng(0).integers(0, 10, 200)
    tests: list[int] = []
    for fold in range(1, 6):
        division = divide_classes(split_of(fold, 5), classes)
        parts = [set(classes[rows]) for rows in division]
        assert [len(part) for part in parts] == [6, 2, 2]
        assert not parts[0] & parts[1] | parts[1] & parts[2] | parts[0] & parts[2]
        tests += parts[2]
    assert sorted(tests) == list(range(10))


def bundle(dataset: Any, task: str, fold: int, folds: int = 3, **fields: Any) -> data.DataBundle:
    spec = {"task": task, "dataset": dataset, "model": "mlp", "loss": "mse", **fields}
    return data.load(fill(from_dict({**spec, "split": {"fold": fold, "folds": folds}})))


def test_folds_of_a_built_in_data_set() -> None:
    bundles = [bundle("iris", "multiclass", fold) for fold in (1, 2, 3)]
    for each in bundles:
        assert sorted(torch.bincount(each.test.y).tolist()) == [16, 17, 17]
    rows = []
    for each in bundles:
        assert each.inputs.scaler is not None
        rows += each.inputs.scaler.unscale(each.test.x.double().numpy()).round(1).tolist()
    assert sorted(rows) == sorted(datasets.load_iris().data.round(1).tolist())


@pytest.mark.parametrize(
    ("dataset", "task"),
    [
        ({"digit_pairs": {"num_samples": 300}}, "metric_learning"),
        ({"digit_triplets": {"num_samples": 300}}, "metric_learning"),
        ({"digit_scenes": {"num_samples": 90}}, "segmentation"),
    ],
)
def test_folds_of_data_made_from_images(dataset: Any, task: str) -> None:
    bundles = [bundle(dataset, task, fold) for fold in (1, 2, 3)]
    count = sum(len(each.test) for each in bundles)
    assert count == next(iter(dataset.values()))["num_samples"]
    if task == "metric_learning":
        images = [{row.numpy().tobytes() for row in each.test.x} for each in bundles]
        assert not images[0] & images[1] | images[1] & images[2]
        for each in bundles:
            training = {row.numpy().tobytes() for row in each.train.x}
            assert not training & {row.numpy().tobytes() for row in each.test.x}


def test_the_example_trains_every_fold_once() -> None:
    specs = list(read_jobs(EXAMPLE))
    for spec in specs:
        assert not check(fill(spec))[0]
    by_loss: dict[str, list[int]] = {}
    for spec in specs:
        by_loss.setdefault(kind(spec.loss)[0], []).append(spec.split.fold)
    assert list(by_loss.values()) == [[1, 2, 3, 4, 5]] * 2
    rows = [data.load(fill(spec)).test.y for spec in specs[:5]]
    assert (len(torch.cat(rows)), int(torch.cat(rows).sum())) == (569, 357)
