"""What several tasks look for in the training split."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from talweg.spec import Measured
from talweg.worker.data import DataBundle

Counts = NDArray[np.int64]

# Batches of fewer samples are small.
_SMALL_BATCH = 64
# Classes of a part that lack samples, named in a text.
_MOST_NAMED = 5


def imbalance(counts: Counts, names: tuple[str, ...], what: str) -> Iterator[Measured]:
    """Compare the most frequent with the rarest of those that occur."""
    lacking = [name for name, count in zip(names, counts, strict=True) if not count]
    if lacking:
        some = ", ".join(lacking[:_MOST_NAMED]) + (", …" if lacking[_MOST_NAMED:] else "")
        yield Measured(f"no training sample of {what} {some}")
    occurring = np.flatnonzero(counts)
    if len(occurring) < 2:
        return
    most = int(occurring[counts[occurring].argmax()])
    least = int(occurring[counts[occurring].argmin()])
    yield Measured(
        f"{counts[most]} samples of the most frequent {what} ({names[most]}), {counts[least]} of "
        f"the rarest ({names[least]})",
        "imbalance", ratio(counts[most], counts[least]),
    )  # fmt: skip


def class_counts(bundle: DataBundle) -> Counts:
    """Count the training samples of each class."""
    return np.bincount(bundle.train.y.numpy(), minlength=bundle.num_targets)


def small_batches(bundle: DataBundle) -> Iterator[Measured]:
    """Tell of training splits that fit into a small batch."""
    count = len(bundle.train)
    if 2 <= count < _SMALL_BATCH:
        yield Measured("no batch holds more than the training split", "batch_size", count)


def ratio(most: float, least: float) -> float:
    """Divide, and keep four digits."""
    return shortened(most / least)


def shortened(value: float) -> float:
    """Keep four digits."""
    return float(f"{value:.4g}")
