"""Normal distributions around points on a circle."""

import numpy as np
from numpy.typing import NDArray

from talweg.v1 import datasets_pb2 as messages


def ring_centres(spec: messages.GaussianRing) -> NDArray[np.float64]:
    """Return the points (K, 2) of a filled message, from the right on, against the clock."""
    angles = 2 * np.pi * np.arange(spec.num_classes) / spec.num_classes
    return spec.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def ring(spec: messages.GaussianRing) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw samples (N, 2) and the point that each belongs to (N,), as evenly as that goes."""
    rng = np.random.default_rng(spec.seed)
    modes = rng.permutation(np.arange(spec.num_samples) % spec.num_classes)
    noise = rng.normal(size=(spec.num_samples, 2)) * spec.sd
    return ring_centres(spec)[modes] + noise, modes.astype(np.int64)
