"""Baselines of boxes: the parts that stand out from their image, and a model of what each is.

No deep learning: an image is blurred and compared with its own median colour; what differs by more
than a threshold, at several thresholds, falls into connected components. The box of each is a
candidate. A model tells from a small crop of the image whether a candidate is an object, and of
which class.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.diagnostics.baselines import models
from talweg.worker.tasks.detection.metrics import box_metrics
from talweg.worker.tasks.detection.predictions import overlaps_of, undropped
from talweg.worker.tasks.detection.task import Detection

_BLURS = (0.5, 2.0)
"""Standard deviations, in pixels: small objects, and those with a texture."""
_SHARES = (0.7, 0.85, 0.93, 0.97)
"""Thresholds, as quantiles of an image's differences: for a background that is rough."""
_PARTS = (0.25, 0.5)
"""Further ones, as parts of the largest difference: for one that is plain."""
_LEAST_PIXELS = 4
_MOST_OF_A_THRESHOLD = 30
"""Components that are looked at, the largest."""
_SIDE = 8
"""Crops become so many pixels high and wide."""
_MARGIN = 0.2
"""What a crop takes beside its box on each side, in its sides: the object's surroundings."""
_RIGHT_FROM = 0.5
"""A candidate is the object with which it has this IoU or more."""
_MOST_LEARNT = 10_000
"""Candidates that are learnt from, drawn at random; and as many objects."""
_AT_ONCE = 100
"""Images whose crops are in memory together."""
# Numbers of images (pixels times channels), and images: no more are drawn of the training data,
# and of larger test data there is no baseline. An image of 64×64 takes about 5 ms.
_MOST_NUMBERS = 20_000_000
_MOST_IMAGES = 5000

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


def left_out(bundle: DataBundle) -> str:
    """Say why there would be too much to compute; empty where there is not."""
    x = bundle.test.x
    if x.numel() <= _MOST_NUMBERS and len(x) <= _MOST_IMAGES:
        return ""
    return (
        f"scikit-learn has no baseline here: {len(x):,} test images of {x[0].numel():,} numbers "
        f"would take it minutes. It predicts up to {_MOST_IMAGES:,} images, of up to "
        f"{_MOST_NUMBERS:,} numbers together"
    )


def metrics(
    task: Detection, spec: JobSpec, bundle: DataBundle
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Train classifiers of candidates, and evaluate their boxes of the test data.

    Yields:
        Name and metrics, one model after another.
    """
    seed = spec.training.seed
    x, y = _learnt(bundle.train, seed)
    if len(np.unique(y)) < 2:
        return
    test = bundle.test
    true = [_objects(test, index) for index in range(len(test))]
    boxes = [candidates(image) for image in test.x.numpy()]
    for name, model in models.classifiers(spec.diagnostics.baseline, seed=seed):
        with models.one_thread():
            model.fit(x, y)
            predicted = [
                found
                for start in range(0, len(test), _AT_ONCE)
                for found in _predicted(
                    task, model, test.x[start : start + _AT_ONCE].numpy(),
                    boxes[start : start + _AT_ONCE], bundle.num_targets,
                )
            ]  # fmt: skip
        yield name, box_metrics(true, predicted)


def _predicted(
    task: Detection, model: Any, images: Floats, boxes: Sequence[Floats], num_classes: int
) -> list[tuple[NDArray[np.float64], Indices, NDArray[np.float64]]]:
    """Return the boxes that remain of each image's candidates, their classes and scores."""
    crops = [_crops(image, some) for image, some in zip(images, boxes, strict=True)]
    shares = models.probabilities(model, np.concatenate(crops), num_classes)
    ends = np.cumsum([len(some) for some in boxes])[:-1]
    return [
        _found(task, some, of_image)
        for some, of_image in zip(boxes, np.split(shares, ends), strict=True)
    ]


def candidates(image: Floats) -> Floats:
    """Return boxes x1, y1, x2, y2 around what stands out of an image (C, H, W), at least one."""
    height, width = image.shape[1:]
    found = []
    for blur in _BLURS:
        blurred = ndimage.gaussian_filter(image, (0, blur, blur), mode="nearest")
        usual = np.median(blurred, axis=(1, 2), keepdims=True)
        differs = np.sqrt(np.square(blurred - usual).sum(axis=0))
        for threshold in (*np.quantile(differs, _SHARES), *differs.max() * np.array(_PARTS)):
            parts, count = ndimage.label(differs > threshold, np.ones((3, 3)))
            sizes = np.bincount(parts.reshape(-1), minlength=count + 1)[1:]
            largest = np.argsort(-sizes, kind="stable")[:_MOST_OF_A_THRESHOLD]
            places = ndimage.find_objects(parts)
            for part in largest[sizes[largest] >= _LEAST_PIXELS]:
                rows, columns = places[part]
                found.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.unique(np.array(found or [(0, 0, width, height)], np.float32), axis=0)


def _learnt(part: DataSplit, seed: int) -> tuple[Floats, Indices]:
    """Return crops of objects and candidates (n, F), and the class of each (n,)."""
    rng = np.random.default_rng(seed)
    images = part.x.numpy()
    most = max(1, min(len(images), _MOST_IMAGES, _MOST_NUMBERS // max(images[0].size, 1)))
    drawn = np.sort(rng.permutation(len(images))[:most])
    quota = max(1, _MOST_LEARNT // most)
    x, y = [], []
    for index in drawn:
        boxes, classes = everything = _objects(part, index)
        chosen = rng.permutation(len(boxes))[:quota]
        boxes, classes = boxes[chosen], classes[chosen]
        some = rng.permutation(candidates(images[index]))[:quota]
        x.append(_crops(images[index], np.concatenate([boxes.astype(np.float32), some])))
        y += [classes, _classes_of(some, *everything)]
    return np.concatenate(x), np.concatenate(y)


def _classes_of(some: Floats, boxes: NDArray[Any], classes: Indices) -> Indices:
    """Return the class of the object that each candidate is, 0 where it is none."""
    if not len(boxes):
        return np.zeros(len(some), np.int64)
    shares = overlaps_of(torch.from_numpy(some).double(), torch.from_numpy(boxes)).numpy()
    best = shares.argmax(axis=1)
    return np.where(shares.max(axis=1) >= _RIGHT_FROM, classes[best], 0)


def _crops(image: Floats, boxes: Floats) -> Floats:
    """Return what a model is told of boxes (K, F): a small crop, and the logarithms of the sides.

    Places outside of the image have the values of its edge.
    """
    height, width = image.shape[1:]
    x1, y1, x2, y2 = (torch.from_numpy(side) for side in boxes.T.copy())
    steps = (torch.arange(_SIDE) + 0.5) / _SIDE * (1 + 2 * _MARGIN) - _MARGIN
    across = (x1[:, None] + steps * (x2 - x1)[:, None]) / width * 2 - 1
    down = (y1[:, None] + steps * (y2 - y1)[:, None]) / height * 2 - 1
    grid = torch.stack(
        [across[:, None, :].expand(-1, _SIDE, -1), down[:, :, None].expand(-1, -1, _SIDE)], dim=-1
    )
    # All crops below each other: one image is sampled once.
    pixels = F.grid_sample(
        torch.from_numpy(image)[None],
        grid.reshape(1, -1, _SIDE, 2),
        padding_mode="border",
        align_corners=False,
    )
    crops = pixels[0].reshape(len(image), len(boxes), -1).movedim(0, 1).reshape(len(boxes), -1)
    sides = torch.stack([x2 - x1, y2 - y1], dim=1).log()
    return torch.cat([crops, sides], dim=1).numpy()


def _found(
    task: Detection, boxes: Floats, shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], Indices, NDArray[np.float64]]:
    """Return the boxes that remain, their classes and their scores, as the task chooses them."""
    which = task.postprocess
    label, score = shares[:, 1:].argmax(axis=1) + 1, shares[:, 1:].max(axis=1)
    order = np.argsort(-score, kind="stable")[: which.most_boxes]
    remain = undropped(
        torch.from_numpy(boxes[order])[None],
        torch.from_numpy(label[order])[None],
        torch.from_numpy(score[order] > which.score_threshold)[None],
        which.overlap,
    )
    order = order[remain[0].numpy()]
    return boxes[order].astype(np.float64), label[order], score[order]


def _objects(part: DataSplit, index: int) -> tuple[NDArray[np.float64], Indices]:
    """Return the boxes of a sample's objects (K, 4), and their classes (K,)."""
    count = int(part.arrays["count"][index])
    boxes = part.arrays["boxes"][index, :count].double().numpy()
    return boxes, part.arrays["classes"][index, :count].numpy()
