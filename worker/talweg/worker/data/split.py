"""Divides samples into training, validation and test data."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from talweg.spec import is_fold, split_sizes
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
    if is_fold(split):
        return _divide_folds(split, num_samples, classes)
    counts = split_sizes(split, num_samples)
    if classes is None:
        order = np.random.default_rng(split.seed).permutation(num_samples)
        train, validation, test, _ = np.split(order, np.cumsum(counts))
        return Division(train, validation, test)
    test, rest = _take(np.arange(num_samples), counts[2], classes, split.seed)
    train, validation = _divide_rest(split, rest, counts, classes)
    return Division(train, validation, test)


def folds_of(split: Split, num_samples: int, classes: NDArray[np.int64] | None) -> Indices:
    """Deal samples out to the folds of a cross-validation.

    The folds' sizes differ by one at the most; where classes are given, so do the numbers of
    samples of each class. Which fold is a job's test does not enter.

    Args:
        split: The number of folds, and the seed.
        num_samples: How many samples there are.
        classes: The class of each sample where the folds must keep the classes' shares; else None.

    Returns:
        The fold of each sample, from 1 (N,).

    Raises:
        UserSpecError: There are fewer samples, or samples of a class, than folds.
    """
    smallest = num_samples
    if classes is not None:
        smallest = int(np.unique(classes, return_counts=True)[1].min())
    if smallest < split.folds:
        of_class = "" if classes is None else " of the smallest class"
        hint = "" if classes is None else ", or split.stratified to false"
        raise UserSpecError(
            f"split.folds must be at most {smallest}, the number of samples{of_class}, but got "
            f"{split.folds}: set fewer{hint}"
        )
    order = np.random.default_rng(split.seed).permutation(num_samples)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    folds = np.empty(num_samples, dtype=np.intp)
    folds[order] = np.arange(num_samples) % split.folds + 1
    return folds


def shuffled_rest(split: Split, in_test: NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Return the indices of a fold, and of what is left, in random order.

    The order of what is left is another one for each fold, so that not all validate on the same.
    """
    rows = np.random.default_rng(split.seed).permutation(len(in_test))
    rest = rows[~in_test[rows]]
    return rows[in_test[rows]], np.random.default_rng([split.seed, split.fold]).permutation(rest)


def _divide_folds(split: Split, num_samples: int, classes: NDArray[np.int64] | None) -> Division:
    """Give a fold to the test, and divide the others into training and validation."""
    test, rest = shuffled_rest(split, folds_of(split, num_samples, classes) == split.fold)
    counts = split_sizes(split, num_samples)
    if classes is None:
        validation, train, _ = np.split(rest, np.cumsum([counts[1], counts[0]]))
    else:
        train, validation = _divide_rest(split, rest, counts, classes)
    return Division(train, validation, test)


def _divide_rest(
    split: Split, rest: Indices, counts: tuple[int, int, int], classes: NDArray[np.int64]
) -> tuple[Indices, Indices]:
    """Divide what the test leaves into training and validation, keeping the classes' shares."""
    validation, rest = _take(rest, counts[1], classes, split.seed)
    if 0 < len(rest) - counts[0] < len(np.unique(classes)):
        # Fewer samples stay unused than there are classes: they cannot have every class.
        train = np.random.default_rng(split.seed).permutation(rest)[: counts[0]]
    else:
        train, _ = _take(rest, counts[0], classes, split.seed)
    return train, validation


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
    if is_fold(split):
        parts = [shuffled[part] for part in _divide_folds(split, len(shuffled), None)]
    else:
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
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - at its first use

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
