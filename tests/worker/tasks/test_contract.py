"""What a data set must hold for a task, wherever it comes from."""

from dataclasses import replace

import pytest
import torch
from tests.worker.tasks.test_tasks import DATASETS, job

from talweg.worker import data, tasks
from talweg.worker.data import DataSplit
from talweg.worker.data.loaders import LOADERS
from talweg.worker.data.raw import RawData
from talweg.worker.errors import UserSpecError
from talweg.worker.tasks import Array
from talweg.worker.tasks.common.array_contract import check_split

IMAGES = {
    "x": Array(("N C H W",), "the images"),
    "mask": Array(("N H W",), "a class index per pixel", whole=True),
}


def test_arrays_of_a_part_have_one_length() -> None:
    with pytest.raises(ValueError, match=r"the same length, but got \{'x': 3, 'y': 2\}"):
        DataSplit({"x": torch.zeros(3, 1), "y": torch.zeros(2)})


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (torch.zeros(5, 8, 6), "whole numbers of shape (N, H, W), a class index per pixel"),
        (torch.zeros(5, 6, 8).long(), "shape (5, 6, 8), where N = 5, C = 1, H = 8, W = 6"),
        (torch.zeros(5, 1, 8, 6).long(), "shape (5, 1, 8, 6)"),
        (torch.zeros(5).long(), "shape (5,)"),
    ],
)
def test_shapes_hold_throughout_a_part(mask: torch.Tensor, said: str) -> None:
    x = torch.zeros(5, 1, 8, 6)
    check_split(DataSplit({"x": x, "mask": torch.zeros(5, 8, 6).long()}), IMAGES, "test")
    with pytest.raises(UserSpecError, match="mask of the test data") as error:
        check_split(DataSplit({"x": x, "mask": mask}), IMAGES, "test")
    assert said in str(error.value)


def test_numbers_and_further_sizes() -> None:
    boxes = {"boxes": Array(("N K 4", "N K 5 …"), "boxes")}
    check_split(DataSplit({"boxes": torch.zeros(2, 3, 4)}), boxes, "train")
    check_split(DataSplit({"boxes": torch.zeros(2, 3, 5, 7, 7)}), boxes, "train")
    with pytest.raises(UserSpecError, match=r"\(N, K, 4\) or \(N, K, 5, …\)"):
        check_split(DataSplit({"boxes": torch.zeros(2, 3, 6)}), boxes, "train")


@pytest.mark.parametrize("name", DATASETS)
def test_a_task_refuses_targets_of_another_shape(name: str) -> None:
    spec = job(name)
    bundle = data.load(spec)
    x, y = bundle.test.x, bundle.test.y
    # Images of targets, which no task with one target a sample reads.
    wrong = replace(bundle, test=DataSplit({"x": x, "y": y.reshape(len(y), -1, 1, 1)}))
    with pytest.raises(UserSpecError, match="dataset: y of the test data must be"):
        tasks.make(spec, wrong)
    with pytest.raises(UserSpecError, match="the test data must have an array y, .* has x"):
        tasks.make(spec, replace(bundle, test=DataSplit({"x": x})))


def test_a_data_set_without_the_tasks_arrays_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def masks(message: object) -> RawData:
        raw = iris(message)
        return RawData({"x": raw.arrays["x"], "mask": raw.arrays["y"]}, raw.feature_names)

    iris = LOADERS["iris"]
    monkeypatch.setitem(LOADERS, "iris", masks)
    # Settings of their own, since data sets are kept.
    with pytest.raises(UserSpecError, match="iris has no array y, which task multiclass reads"):
        data.load(job("multiclass", split={"seed": 12345}))
