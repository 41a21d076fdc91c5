"""Scenes of handwritten digits over textured noise, with exact masks, boxes, classes and depth.

Everything is drawn for all scenes at once; a digit is laid into its scenes by two small matrix
products, since bilinear interpolation goes row by row and column by column.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from talweg.spec import is_fold, split_sizes
from talweg.v1.datasets_pb2 import DigitScenes
from talweg.v1.spec_pb2 import Split
from talweg.worker.data.raw import RawData
from talweg.worker.data.scikit_learn import datasets
from talweg.worker.data.split import Division, divide

SIDE = 64
"""Pixels of a scene's side."""
CLASSES = ("background", *map(str, range(10)))
"""What masks and classes count."""
_DIGIT = 8
# Where a digit's ink is this share of its darkest, the pixel is the digit's.
_INK = 0.4
_DARKEST, _BRIGHTEST = 0.6, 1.0
# Sides of the random grids whose sum is the texture, coarse to fine.
_GRIDS = (4, 8, 16, 32, 64)
# How far from the digit before it an overlapping digit stands, in sizes of a digit.
_NEAR = 0.7
_BACKGROUND_DEPTH = 1.25

Floats = NDArray[np.float32]


def digit_scenes(message: DigitScenes, split: Split) -> tuple[RawData, Division]:
    """Make scenes, and tell which stand in which part.

    The digits' images are divided first, as the split says, and each part's scenes are made of its
    own: no image of a test scene has been seen in training.

    Args:
        message: Filled.
        split: Filled.
    """
    return _made(message.SerializeToString(deterministic=True), split.SerializeToString())


@functools.lru_cache(maxsize=2)
def _made(message_bytes: bytes, split_bytes: bytes) -> tuple[RawData, Division]:
    message, split = DigitScenes.FromString(message_bytes), Split.FromString(split_bytes)
    sizes = split_sizes(split, message.num_samples)
    raw = datasets().load_digits()
    images = (raw.images / 16.0).astype(np.float32)
    pools = divide_images(split, len(images))

    layout = _Layout(message, sum(sizes))
    ends = np.cumsum(sizes)
    chosen = np.concatenate(
        [
            pool[(layout.choice[end - size : end] * len(pool)).astype(int)]
            for pool, size, end in zip(pools, sizes, ends, strict=True)
        ]
    )
    arrays = _drawn(layout, images[chosen], raw.target[chosen] + 1, message)
    parts = np.split(np.arange(sum(sizes)), ends[:2])
    return RawData(arrays, class_names=CLASSES), Division(*parts)


def divide_images(split: Split, count: int) -> Sequence[NDArray[np.intp]]:
    """Divide the images that scenes are made of; each part gets one at the least."""
    if is_fold(split):
        train, *others = divide(split, count, None)
        for index, part in enumerate(others):
            if not len(part):
                train, others[index] = train[1:], train[:1]
        return [train, *others]
    order = np.random.default_rng(split.seed).permutation(count)
    shares = [max(size, 1) for size in split_sizes(split, count)]
    return np.split(order, np.cumsum(shares))[:3]


class _Layout:
    """Where the digits stand: K places a scene, the farthest first, the last of them empty."""

    def __init__(self, message: DigitScenes, num_scenes: int) -> None:
        rng = np.random.default_rng(message.seed)
        shape = (num_scenes, message.max_digits)
        self.rng = rng
        self.num_scenes = num_scenes
        self.count = rng.integers(message.min_digits, message.max_digits + 1, num_scenes)
        self.present = np.arange(shape[1]) < self.count[:, None]
        self.choice = rng.random(shape)
        scale = rng.uniform(message.min_scale, message.max_scale, shape)
        # The smaller stands farther off, and is painted first.
        self.scale = np.sort(np.where(self.present, scale, np.inf), axis=1)
        self.scale[~self.present] = message.max_scale
        size = _DIGIT * self.scale
        place = rng.random((*shape, 2)) * (SIDE - size)[..., None]
        beside = rng.random(shape) < message.overlap
        offset = rng.uniform(-_NEAR, _NEAR, (*shape, 2)) * size[..., None]
        for digit in range(1, shape[1]):
            near = np.clip(
                place[:, digit - 1] + offset[:, digit], 0, (SIDE - size[:, digit])[:, None]
            )
            place[:, digit] = np.where(beside[:, digit, None], near, place[:, digit])
        self.place = place
        """Top and left of each digit, in pixels (N, K, 2)."""
        self.brightness = rng.uniform(_DARKEST, _BRIGHTEST, shape)


def _drawn(
    layout: _Layout, digits: Floats, classes: NDArray[np.int64], message: DigitScenes
) -> dict[str, NDArray[np.generic]]:
    """Paint digits (N, K, 8, 8) of classes (N, K), from the farthest to the nearest."""
    num_scenes, most = layout.present.shape
    texture = message.noise * (1 + _texture(layout.rng, num_scenes) / 2)
    x = np.clip(texture, 0, 1).astype(np.float32)
    image = np.zeros_like(x)
    mask = np.zeros(x.shape, np.uint8)
    depth = np.full(x.shape, _BACKGROUND_DEPTH / message.min_scale, np.float32)
    boxes = np.zeros((num_scenes, most, 4), np.float32)
    for k in range(most):
        rows, columns = (_hats(layout.place[:, k, axis], layout.scale[:, k]) for axis in range(2))
        ink = rows @ digits[:, k] @ columns.transpose(0, 2, 1)
        ink *= layout.present[:, k, None, None]
        bright = layout.brightness[:, k, None, None].astype(np.float32)
        for canvas in (x, image):
            canvas += ink * (bright - canvas)
        inside = ink > _INK * ink.max(axis=(1, 2), keepdims=True)
        np.copyto(mask, classes[:, k, None, None].astype(np.uint8), where=inside)
        np.copyto(depth, (1 / layout.scale[:, k, None, None]).astype(np.float32), where=inside)
        boxes[:, k] = _boxes(inside)
    return {
        "x": x[:, None],
        "image": image[:, None],
        "mask": mask,
        "boxes": boxes,
        "classes": np.where(layout.present, classes, 0),
        "count": layout.count,
        "depth": depth,
    }


def _hats(start: NDArray[np.float64], scale: NDArray[np.float64]) -> Floats:
    """Return the weights (N, 64, 8) by which a digit's rows become a scene's."""
    at = (np.arange(SIDE) + 0.5 - start[:, None]) / scale[:, None] - 0.5
    weights: Floats = np.maximum(
        0, 1 - np.abs(at[..., None] - np.arange(_DIGIT)), dtype=np.float32
    )
    return weights


def _boxes(inside: NDArray[np.bool_]) -> Floats:
    """Return the box x1, y1, x2, y2 around each scene's digit, in pixels; zeros without one."""
    across: NDArray[np.bool_] = np.asarray(inside.any(axis=1))
    down: NDArray[np.bool_] = np.asarray(inside.any(axis=2))
    sides = [
        np.stack([line.argmax(axis=1), SIDE - line[:, ::-1].argmax(axis=1)], axis=1)
        for line in (across, down)
    ]
    box = np.concatenate(sides, axis=1)[:, [0, 2, 1, 3]]
    return np.where(across.sum(axis=1)[:, None] > 0, box, 0).astype(np.float32)


def _texture(rng: np.random.Generator, num_scenes: int) -> Floats:
    """Draw noise that is rough at every scale (N, 64, 64), of mean 0 and about sd 1."""
    total = np.zeros((num_scenes, SIDE, SIDE), np.float32)
    for side in _GRIDS:
        at = (np.arange(SIDE) + 0.5) * side / SIDE - 0.5
        at = np.clip(at, 0, side - 1)
        weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side))).astype(np.float32)
        grid = rng.standard_normal((num_scenes, side, side), dtype=np.float32)
        total += weights @ grid @ weights.T
    return total / np.float32(np.sqrt(len(_GRIDS) / 2))
