"""Baselines of masks and images: models of what stands around each pixel.

The features are those that segmentation by trained classifiers usually takes (ilastik, or
`multiscale_basic_features` of scikit-image): of each channel its value, and at several scales its
blurred value, the length of its gradient and the eigenvalues of its Hessian; and where the pixel
is.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from talweg.v1.spec_pb2 import Baselines, JobSpec
from talweg.worker.data import DataBundle, DataSplit
from talweg.worker.diagnostics.baselines import models
from talweg.worker.tasks.image_translation.task import ImageTranslation, psnr, ssim
from talweg.worker.tasks.segmentation.task import Segmentation, confusion, overlaps

_SCALES = (1.0, 2.0, 4.0, 8.0)
"""Standard deviations of the blurs, in pixels."""
_MOST_LEARNT = 50_000
"""Pixels that are learnt from, drawn at random, as many of each image."""
# Numbers of images (pixels times channels): drawn training images have no more, and of larger
# test data there is no baseline. Features take about a microsecond for each, on one core.
_MOST_NUMBERS = 20_000_000
_AT_ONCE = 200_000
"""Pixels that a model predicts at once."""
# Features of a pixel take 68 bytes for each channel.
_MOST_OF_AN_IMAGE = 4_000_000
# Boosting grows up to a hundred trees for each class, or number, and asks each of them of every
# pixel: so many take about a minute of one core.
_MOST_TREES = 20_000_000

Floats = NDArray[np.float32]


def asked_of(
    task: Segmentation | ImageTranslation, spec: JobSpec, bundle: DataBundle
) -> tuple[Baselines, str]:
    """Return which models are trained, and what is left out and why; empty where nothing is."""
    asked = Baselines()
    asked.CopyFrom(spec.diagnostics.baseline)
    x = bundle.test.x
    if x.numel() > _MOST_NUMBERS or x[0].numel() > _MOST_OF_AN_IMAGE:
        return Baselines(), (
            f"scikit-learn has no baseline here: {len(x):,} test images of {x[0].numel():,} "
            f"numbers would take it minutes. It predicts up to {_MOST_NUMBERS:,} numbers, and "
            f"{_MOST_OF_AN_IMAGE:,} of an image"
        )
    pixels = x.numel() // x.shape[1]
    trees, of = bundle.num_targets, "channels"
    if isinstance(task, Segmentation):
        # Of two classes there is one tree in each round.
        trees, of = len(task.class_names) if len(task.class_names) > 2 else 1, "classes"
    if not asked.gradient_boosting or pixels * trees <= _MOST_TREES:
        return asked, ""
    asked.gradient_boosting = False
    each = f" for each of {trees} {of}" if trees > 1 else ""
    return asked, (
        f"{models.BOOSTING} (scikit-learn) is left out: {pixels:,} test pixels{each} would take "
        f"it minutes. It predicts up to {_MOST_TREES // trees:,}"
    )


def mask_metrics(
    task: Segmentation, asked: Baselines, bundle: DataBundle, *, seed: int
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Train classifiers of pixels, and evaluate their masks of the test data.

    Pixels without a class are left out.

    Yields:
        Name and metrics, one model after another.
    """
    num_classes = len(task.class_names)
    x, y = _learnt(bundle.train, _classes(task, bundle.train)[:, None], num_classes, seed=seed)
    masks = _classes(task, bundle.test)
    if len(np.unique(y)) < 2:
        return
    for name, model in models.classifiers(asked, seed=seed):
        counts = np.zeros((num_classes, num_classes), np.int64)
        with models.one_thread():
            model.fit(x, y[:, 0].astype(np.int64))
            for image, mask in zip(bundle.test.x.numpy(), masks, strict=True):
                parts = [models.probabilities(model, part, num_classes) for part in _parts(image)]
                if task.foreground:
                    predicted = [(shares[:, 1] >= task.threshold).astype(int) for shares in parts]
                else:
                    predicted = [shares.argmax(axis=1) for shares in parts]
                pixels = torch.from_numpy(np.concatenate(predicted)).reshape(mask.shape)
                counts += confusion(mask, pixels, num_classes)
        yield name, overlaps(counts, task.class_names)


def image_metrics(
    asked: Baselines, bundle: DataBundle, *, seed: int
) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Train regressions of pixels, and evaluate their images of the test data.

    Yields:
        Name and metrics, one model after another.
    """
    x, y = _learnt(bundle.train, bundle.train.arrays["image"], None, seed=seed)
    targets = bundle.test.arrays["image"]
    several = y.shape[1] > 1
    for name, model in models.regressors(asked, seed=seed, several=several):
        sums = {"psnr": 0.0, "ssim": 0.0}
        with models.one_thread():
            model.fit(x, y if several else y[:, 0])
            for image, target in zip(bundle.test.x.numpy(), targets, strict=True):
                pixels = np.concatenate([model.predict(part) for part in _parts(image)])
                pixels = pixels.astype(np.float32).clip(0, 1)
                predicted = torch.from_numpy(pixels.reshape(*target.shape[1:], -1)).movedim(-1, 0)
                sums["psnr"] += float(psnr(predicted[None], target[None]))
                sums["ssim"] += float(ssim(predicted[None], target[None]))
        yield name, {metric: total / len(targets) for metric, total in sums.items()}


def _parts(image: Floats) -> Iterator[Floats]:
    """Yield the features of pixels one after another, so that models copy few at once."""
    x = features(image)
    for start in range(0, len(x), _AT_ONCE):
        yield x[start : start + _AT_ONCE]


def features(image: Floats) -> Floats:
    """Return the features of each pixel of an image (C, H, W), row by row (H·W, F)."""
    _, height, width = image.shape
    down, across = np.mgrid[:height, :width].astype(np.float32)
    maps = [down / height, across / width]
    for channel in image:
        maps.append(channel)
        for scale in _SCALES:
            maps += _at_scale(channel, scale)
    return np.stack(maps, axis=-1).reshape(height * width, -1)


def _at_scale(channel: Floats, scale: float) -> list[Floats]:
    """Return blurred value, length of the gradient, and the eigenvalues of the Hessian."""
    blurred = ndimage.gaussian_filter(channel, scale, mode="nearest")
    down, across = (ndimage.sobel(blurred, axis, mode="nearest") for axis in (0, 1))
    along = ndimage.sobel(down, 0, mode="nearest")
    mixed = ndimage.sobel(down, 1, mode="nearest")
    beside = ndimage.sobel(across, 1, mode="nearest")
    middle, spread = (along + beside) / 2, np.hypot((along - beside) / 2, mixed)
    return [blurred, np.hypot(down, across), middle + spread, middle - spread]


def _classes(task: Segmentation, part: DataSplit) -> Tensor:
    """Return the class of each pixel as the task counts it (N, H, W)."""
    target = task.arrays(part)["target"].long()
    return target[:, 0] if task.foreground else target


def _learnt(
    part: DataSplit, targets: Tensor, num_classes: int | None, *, seed: int
) -> tuple[Floats, Floats]:
    """Draw pixels: their features (n, F), and their targets (n, K).

    Args:
        part: Of the data.
        targets: Of each pixel (N, K, H, W).
        num_classes: Pixels whose target is not below it, or below 0, are left out.
        seed: Decides which images and pixels are drawn.
    """
    rng = np.random.default_rng(seed)
    images = part.x.numpy()
    most = max(1, min(len(images), _MOST_LEARNT, _MOST_NUMBERS // max(images[0].size, 1)))
    drawn = np.sort(rng.permutation(len(images))[:most])
    quota = -(-_MOST_LEARNT // most)
    x, y = [], []
    for index in drawn:
        of_image = targets[index].numpy()
        of_pixels = of_image.reshape(len(of_image), -1).T
        counted = np.arange(len(of_pixels))
        if num_classes is not None:
            counted = counted[((of_pixels >= 0) & (of_pixels < num_classes)).all(axis=1)]
        chosen = np.sort(rng.permutation(counted)[:quota])
        x.append(features(images[index])[chosen])
        y.append(of_pixels[chosen])
    return np.concatenate(x), np.concatenate(y)
