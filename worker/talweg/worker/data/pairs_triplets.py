"""Pairs and triplets of handwritten digits."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.spec import split_sizes
from talweg.v1.datasets_pb2 import DigitPairs, DigitTriplets
from talweg.v1.spec_pb2 import Split
from talweg.worker.data.raw import RawData
from talweg.worker.data.scikit_learn import datasets
from talweg.worker.data.split import Division, divide
from talweg.worker.errors import UserSpecError

Indices = NDArray[np.intp]

_CLASSES = tuple(map(str, range(10)))


def digit_pairs(message: DigitPairs, split: Split) -> tuple[RawData, Division]:
    """Make pairs, and tell which stand in which part.

    The images are divided first, as the split says, and each part's pairs are made of its own.

    Args:
        message: Filled.
        split: Filled.

    Raises:
        UserSpecError: A part has too few images.
    """
    images, digits = _digits()
    rng = np.random.default_rng(message.seed)
    parts: list[tuple[Indices, Indices, NDArray[np.int64]]] = []
    for pool, count in _pools(split, message.num_samples, digits):
        left = _each(pool, count, rng)
        same = (rng.permutation(count) < round(message.same_share * count)).astype(np.int64)
        alike, unlike = _alike(left, pool, digits, rng), _unlike(left, pool, digits, rng)
        right: Indices = np.where(same, alike, unlike)
        parts.append((left, right, same))
    lefts, rights = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    arrays: dict[str, NDArray[Any]] = {
        "left": images[lefts],
        "right": images[rights],
        "same": np.concatenate([same for *_, same in parts]),
        "y": digits[lefts],
    }
    return RawData(arrays, class_names=_CLASSES), _division(parts)


def digit_triplets(message: DigitTriplets, split: Split) -> tuple[RawData, Division]:
    """Make triplets, and tell which stand in which part; see `digit_pairs`."""
    images, digits = _digits()
    rng = np.random.default_rng(message.seed)
    parts: list[tuple[Indices, Indices, Indices]] = []
    for pool, count in _pools(split, message.num_samples, digits):
        anchor = _each(pool, count, rng)
        positive = _alike(anchor, pool, digits, rng)
        parts.append((anchor, positive, _unlike(anchor, pool, digits, rng)))
    anchor, positive, negative = (np.concatenate(each) for each in zip(*parts, strict=True))
    arrays = {
        "anchor": images[anchor],
        "positive": images[positive],
        "negative": images[negative],
        "y": digits[anchor],
    }
    return RawData(arrays, class_names=_CLASSES), _division(parts)


def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    raw = datasets().load_digits()
    return (raw.images[:, None] / 16.0).astype(np.float32), raw.target.astype(np.int64)


def _pools(
    split: Split, num_samples: int, digits: NDArray[np.int64]
) -> Iterator[tuple[Indices, int]]:
    """Return each part's images, none of them twice, and how many pairs or triplets it has."""
    pools = divide(split, len(digits), None)
    for pool, count in zip(pools, split_sizes(split, num_samples), strict=True):
        if count and np.bincount(digits[pool], minlength=len(_CLASSES)).min() < 2:
            raise UserSpecError(
                "split must leave at least 2 images of each digit in each split, but one has "
                f"{len(pool)} of {len(digits)} images, and fewer than 2 of some digit"
            )
        yield pool, count


def _each(pool: Indices, count: int, rng: np.random.Generator) -> Indices:
    """Draw so many images, none of them again before all were drawn."""
    rounds = -(-count // max(len(pool), 1))
    return np.concatenate([pool[:0], *(rng.permutation(pool) for _ in range(rounds))])[:count]


def _alike(
    first: Indices, pool: Indices, digits: NDArray[np.int64], rng: np.random.Generator
) -> Indices:
    """Draw for each image another of its digit."""
    drawn = np.empty_like(first)
    for digit in range(len(_CLASSES)):
        rows = np.flatnonzero(digits[first] == digit)
        members = np.sort(pool[digits[pool] == digit])
        # From so many places behind itself, itself is never met.
        steps = rng.integers(1, len(members), len(rows)) if len(rows) else rows
        drawn[rows] = members[(np.searchsorted(members, first[rows]) + steps) % len(members)]
    return drawn


def _unlike(
    first: Indices, pool: Indices, digits: NDArray[np.int64], rng: np.random.Generator
) -> Indices:
    """Draw for each image one of another digit."""
    drawn = np.empty_like(first)
    for digit in range(len(_CLASSES)):
        rows = np.flatnonzero(digits[first] == digit)
        drawn[rows] = rng.choice(pool[digits[pool] != digit], len(rows))
    return drawn


def _division(parts: list[Any]) -> Division:
    sizes = [len(first) for first, *_ in parts]
    return Division(*np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:2]))
