"""Scenes of digits: exact, the same for a seed, and of images that no other part has seen."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import datasets

from talweg.spec import fill_message, from_dict
from talweg.v1.datasets_pb2 import DigitScenes
from talweg.v1.spec_pb2 import Split
from talweg.worker.data import RawData
from talweg.worker.data.digit_scenes import SIDE, _made, digit_scenes
from talweg.worker.data.split import Division

PLAIN = {"min_digits": 1, "max_digits": 1, "noise": 0, "overlap": 0}


def scenes(split: Any = None, **fields: Any) -> tuple[RawData, Division]:
    message = from_dict({"num_samples": 60, **fields}, DigitScenes)
    return digit_scenes(fill_message(message), fill_message(from_dict(split or {}, Split)))


def same(first: RawData, second: RawData) -> bool:
    return all(np.array_equal(first.arrays[n], second.arrays[n]) for n in first.arrays)


def test_a_seed_decides_everything() -> None:
    first, _ = scenes(seed=1)
    _made.cache_clear()
    again, _ = scenes(seed=1)
    assert first is not again
    assert same(first, again)
    assert not np.array_equal(first.arrays["mask"], scenes(seed=2)[0].arrays["mask"])


def test_a_thousand_scenes() -> None:
    _made.cache_clear()
    raw, _ = scenes(num_samples=1000)
    assert len(raw.arrays["x"]) == 1000


def test_scenes_are_what_was_asked_for() -> None:
    raw, division = scenes(num_samples=300)
    a = raw.arrays
    assert a["x"].shape == a["image"].shape == (300, 1, SIDE, SIDE)
    assert a["mask"].shape == a["depth"].shape == (300, SIDE, SIDE)
    assert (a["x"].min(), a["x"].max()) >= (0, 0.9)
    assert set(a["count"].tolist()) == {2, 3, 4, 5}
    assert set(np.unique(a["mask"])) == set(range(11))
    # Every place beyond the count is empty, and no place before it is.
    empty = np.arange(5) >= a["count"][:, None]
    assert ((a["classes"] == 0) == empty).all()
    assert ((a["boxes"] == 0).all(axis=2) == empty).all()
    sides = a["boxes"][..., 2:] - a["boxes"][..., :2]
    assert sides[~empty].min() >= 1
    assert sides.max() <= 2 * 8 + 2
    parts = np.concatenate(division)
    assert parts.tolist() == list(range(300))
    assert list(map(len, division)) == [180, 60, 60]
    # What stands behind the digits is rough at every scale, of the mean and half of it as sd.
    free = a["x"][:, 0][a["image"][:, 0] == 0]
    assert float(free.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(free.std()) == pytest.approx(0.15, abs=0.02)
    still = scenes(num_samples=300, noise=0)[0].arrays
    assert np.array_equal(still["x"], still["image"])


def test_boxes_masks_and_depth_agree_where_one_digit_stands_alone() -> None:
    raw, _ = scenes(**PLAIN)
    for mask, box, digit, depth in zip(
        *(raw.arrays[name] for name in ("mask", "boxes", "classes", "depth")), strict=True
    ):
        rows, columns = np.nonzero(mask)
        around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box[0].tolist() == around
        assert set(np.unique(mask)) == {0, digit[0]}
        # A digit's distance is what its size says: 8 pixels times the scale, at the most.
        (near,) = np.unique(depth[mask > 0])
        assert 1 / 2 <= near <= 1 / 0.8
        assert max(box[0, 2] - box[0, 0], box[0, 3] - box[0, 1]) <= 8 / near + 1.5
        assert depth[mask == 0].min() > near


def test_the_nearest_digit_hides_the_others() -> None:
    raw, _ = scenes(num_samples=200, overlap=1.0)
    a = raw.arrays
    hidden = 0
    for n in range(200):
        nearest = a["count"][n] - 1
        x1, y1, x2, y2 = a["boxes"][n, nearest].astype(int)
        inside = a["depth"][n, y1:y2, x1:x2]
        assert float(inside.min()) == pytest.approx(a["depth"][n].min())
        for k in range(nearest):
            left, top, right, bottom = a["boxes"][n, k].astype(int)
            over = (a["mask"][n, top:bottom, left:right] != a["classes"][n, k]) & (
                a["mask"][n, top:bottom, left:right] > 0
            )
            hidden += int(over.any())
    assert hidden > 200


def test_digits_of_the_test_are_images_that_training_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = datasets.load_digits()
    count = len(raw.images)
    # Each image is one grey that tells which it is, and is painted as it is.
    greys = np.linspace(8, 16, count)
    raw.images = np.broadcast_to(greys[:, None, None], raw.images.shape)
    monkeypatch.setattr(datasets, "load_digits", lambda: raw)
    monkeypatch.setattr("talweg.worker.data.digit_scenes._DARKEST", 1.0)
    split = {"train": 0.5, "validation": 0.2, "test": 0.25, "seed": 3}
    _made.cache_clear()
    found, division = scenes(split, **PLAIN, num_samples=400)
    _made.cache_clear()
    brightest = found.arrays["image"].max(axis=(1, 2, 3)) * 16
    images = np.abs(brightest[:, None] - greys).argmin(axis=1)
    assert np.abs(greys[images] - brightest).max() < 1e-4
    seen = [set(images[part].tolist()) for part in division]
    assert [len(part) for part in division] == [200, 80, 100]
    assert all(len(part) > 50 for part in seen)
    assert not seen[0] & seen[1]
    assert not seen[2] & (seen[0] | seen[1])
    # The classes are those of the images.
    assert found.arrays["classes"][:, 0].tolist() == (raw.target[images] + 1).tolist()


def test_scenes_of_other_sizes_keep_every_digit() -> None:
    raw, _ = scenes(num_samples=200, min_scale=0.5, max_scale=8, max_digits=3)
    a = raw.arrays
    present = np.arange(3) < a["count"][:, None]
    assert ((a["boxes"][..., 2] > a["boxes"][..., 0]) == present).all()
    assert a["boxes"].max() <= SIDE
    assert torch.from_numpy(a["x"]).isfinite().all()
