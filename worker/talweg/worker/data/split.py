"""Divides samples into training, validation and test data."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from talweg.spec import split_sizes
from talweg.v1.spec_pb2 import Split
from talweg.worker.errors import UserSpecError

Indices = NDArray[np.intp]


class Division(NamedTuple):
    """Which samples stand in which part."""

    train: Indices
    validation: Indices
    test: Indices


def divide(split: Split, num_samples: int, classes: NDArray[np.int64] | None) -> Division:
    """Divide samples as a filled `Split` says.

    Args:
        split: Shares and seed.
        num_samples: How many samples there are.
        classes: The class of each sample where the parts must keep the classes' shares; else None.

    Raises:
        UserSpecError: A class is too rare to stand in every part.
    """
    counts = split_sizes(split, num_samples)
    if classes is None:
        order = np.random.default_rng(split.seed).permutation(num_samples)
        train, validation, test, _ = np.split(order, np.cumsum(counts))
        return Division(train, validation, test)
    rest = np.arange(num_samples)
    test, rest = _take(rest, counts[2], classes, split.seed)
    validation, rest = _take(rest, counts[1], classes, split.seed)
    if 0 < len(rest) - counts[0] < len(np.unique(classes)):
        # Fewer samples stay unused than there are classes: they cannot have every class.
        train = np.random.default_rng(split.seed).permutation(rest)[: counts[0]]
    else:
        train, _ = _take(rest, counts[0], classes, split.seed)
    return Division(train, validation, test)


def divide_classes(split: Split, classes: NDArray[np.int64]) -> Division:
    """Divide the classes as a filled `Split` says, with all samples of each.

    Args:
        split: Shares and seed.
        classes: The class of each sample.

    Raises:
        UserSpecError: A part that should have classes has fewer than two.
    """
    rng = np.random.default_rng(split.seed)
    shuffled = rng.permutation(np.unique(classes))
    shares = (split.train, split.validation, split.test)
    counts = split_sizes(split, len(shuffled))
    for share, count in zip(shares, counts, strict=True):
        if share > 0 and count < 2:
            raise UserSpecError(
                f"split must leave each part at least 2 of the {len(shuffled)} classes, since "
                f"classes are divided here, but got {', '.join(map(str, counts))}"
            )
    parts = np.split(shuffled, np.cumsum(counts))[:3]
    order = rng.permutation(len(classes))
    return Division(*(order[np.isin(classes[order], part)] for part in parts))


def _take(
    indices: Indices, count: int, classes: NDArray[np.int64], seed: int
) -> tuple[Indices, Indices]:
    """Take count of the indices, keeping the classes' shares; gives them and the others."""
    if count == 0:
        return indices[:0], indices
    if count == len(indices):
        return indices, indices[:0]
    try:
        rest, taken = train_test_split(
            indices, test_size=count, random_state=seed, stratify=classes[indices]
        )
    except ValueError as exc:
        rarest = np.unique(classes[indices], return_counts=True)[1].min()
        raise UserSpecError(
            f"split.stratified cannot take {count} of {len(indices)} samples of "
            f"{len(np.unique(classes[indices]))} classes, the rarest of {rarest} samples: set "
            f"split.stratified to false, or change the fractions ({exc})"
        ) from exc
    return taken, rest
