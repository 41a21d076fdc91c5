"""How well embeddings find samples of one class: recall among neighbours, and verification."""

import numpy as np
from numpy.typing import NDArray

from talweg.worker.tasks.common.metrics import Floats, auroc_and_average_precision

# Pairs that stand for all where there are more.
_MOST_PAIRS = 500_000


def recall_at(vectors: Floats, labels: NDArray[np.int64], counts: tuple[int, ...]) -> list[float]:
    """Share of samples with one of their class among their nearest, by Euclidean distance.

    Args:
        vectors: (N, D).
        labels: (N,). A sample that is alone in its class finds none.
        counts: How many of the nearest count, for each share that is asked for.
    """
    most = min(max(counts), len(labels) - 1)
    if not most:
        return [0.0] * len(counts)
    from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415 - at its first use

    search = NearestNeighbors(n_neighbors=most, algorithm="brute").fit(vectors)
    # Without arguments nobody is a neighbour of its own.
    hits = labels[search.kneighbors(return_distance=False)] == labels[:, None]
    return [float(hits[:, :count].any(axis=1).mean()) for count in counts]


def verification_auroc(vectors: Floats, labels: NDArray[np.int64]) -> float | None:
    """Return the area under the ROC curve of telling pairs of one class by their distance.

    Of many samples a fixed draw of pairs stands for all. None where all pairs are of one kind.

    Args:
        vectors: (N, D).
        labels: (N,).
    """
    count = len(labels)
    if count * (count - 1) // 2 <= _MOST_PAIRS:
        one, other = np.triu_indices(count, k=1)
    else:
        rng = np.random.default_rng(0)
        one = rng.integers(0, count, _MOST_PAIRS)
        other = (one + rng.integers(1, count, _MOST_PAIRS)) % count
    scores = np.empty(len(one))
    for start in range(0, len(one), 2**16):
        part = slice(start, start + 2**16)
        scores[part] = -np.square(vectors[one[part]] - vectors[other[part]]).sum(axis=1)
    same = (labels[one] == labels[other]).astype(np.int64)
    return auroc_and_average_precision(same, scores)[0] if len(same) else None


def vector_metrics(vectors: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Return recall_at_1, recall_at_5 and, where it is defined, verification_auroc.

    Args:
        vectors: (N, D), at least two.
        labels: (N,).
    """
    at_1, at_5 = recall_at(vectors, labels, (1, 5))
    auroc = verification_auroc(vectors, labels)
    values = {"recall_at_1": at_1, "recall_at_5": at_5}
    return values if auroc is None else {**values, "verification_auroc": auroc}
