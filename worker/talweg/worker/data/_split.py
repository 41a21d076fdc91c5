"""Divides samples into training, validation and test data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from talweg.v1.spec_pb2 import Split
from talweg.worker.errors import UserSpecError

Indices = NDArray[np.intp]


class Division(NamedTuple):
    """Which samples stand in which part."""

    train: Indices
    validation: Indices
    test: Indices


def divide(split: Split, num_samples: int, classes: NDArray[np.int64] | None) -> Division:
    """Divides samples as a filled `Split` says.

    Args:
        split: Shares and seed.
        num_samples: How many samples there are.
        classes: The class of each sample where the parts must keep the classes' shares; else None.

    Raises:
        UserSpecError: A part that is asked for would stay empty, or a class is too rare to stand
            in every part.
    """
    counts = _counts(split, num_samples)
    if classes is None:
        order = np.random.default_rng(split.seed).permutation(num_samples)
        train, validation, test, _ = np.split(order, np.cumsum(counts))
        return Division(train, validation, test)
    rest = np.arange(num_samples)
    test, rest = _take(rest, counts[2], classes, split.seed)
    validation, rest = _take(rest, counts[1], classes, split.seed)
    train, _ = _take(rest, counts[0], classes, split.seed)
    return Division(train, validation, test)


def _counts(split: Split, num_samples: int) -> tuple[int, int, int]:
    # A share such as 0.29 of 100 comes to 28.999… in floating point.
    def count(share: float) -> int:
        return math.floor(share * num_samples + 1e-9)

    validation, test = count(split.validation), count(split.test)
    whole = math.isclose(split.train + split.validation + split.test, 1.0, abs_tol=1e-9)
    train = num_samples - validation - test if whole else count(split.train)
    sizes = {"train": train, "validation": validation, "test": test}
    for name, size in sizes.items():
        share = getattr(split, name)
        if share > 0 and size < 1:
            raise UserSpecError(
                f"split.{name} must leave at least 1 of {num_samples} samples, but got {share:g}"
            )
    return train, validation, test


def _take(
    indices: Indices, count: int, classes: NDArray[np.int64], seed: int
) -> tuple[Indices, Indices]:
    """Takes count of the indices, keeping the classes' shares; gives them and the others."""
    if count == 0:
        return indices[:0], indices
    if count == len(indices):
        return indices, indices[:0]
    try:
        rest, taken = train_test_split(
            indices, test_size=count, random_state=seed, stratify=classes[indices]
        )
    except ValueError as exc:
        rarest = np.bincount(classes[indices]).min()
        raise UserSpecError(
            f"split.stratified cannot take {count} of {len(indices)} samples of "
            f"{len(np.unique(classes[indices]))} classes, the rarest of {rarest} samples: "
            f"set split.stratified to false, or change the shares ({exc})"
        ) from exc
    return taken, rest
