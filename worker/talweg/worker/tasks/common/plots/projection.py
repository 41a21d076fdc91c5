"""Vectors projected onto a plane."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def principal(vectors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Project onto the two directions of the largest variance.

    Args:
        vectors: (N, D).

    Returns:
        Places (N, 2), and each direction's share of the variance (2,); 0 where there is no
        such direction.
    """
    centred = np.nan_to_num(vectors.astype(np.float64))
    centred -= centred.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    places, share = np.zeros((len(vectors), 2)), np.zeros(2)
    count = min(2, len(sizes))
    places[:, :count] = left[:, :count] * sizes[:count]
    share[:count] = sizes[:count] ** 2 / max(float((sizes**2).sum()), 1e-300)
    return places, share
