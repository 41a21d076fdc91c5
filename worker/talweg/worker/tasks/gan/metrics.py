"""How alike two sets of samples are as wholes."""

import numpy as np

from talweg.worker.tasks.common.metrics import Floats

NUM_DIRECTIONS = 128
"""Random directions along which samples are compared."""


def sliced_wasserstein(one: Floats, other: Floats) -> float:
    """Mean over random directions of the distance between projections, put in order.

    Bonneel et al. 2015. The directions are the same each time.

    Args:
        one: Samples (N, …).
        other: As many (N, …).
    """
    flat, others = one.reshape(len(one), -1), other.reshape(len(other), -1)
    directions = np.random.default_rng(0).normal(size=(flat.shape[1], NUM_DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    gaps = np.sort(flat @ directions, axis=0) - np.sort(others @ directions, axis=0)
    return float(np.abs(gaps).mean())


def mode_shares(samples: Floats, modes: Floats, sd: float) -> Floats:
    """Share of the samples that lie within 4 sd of each mode.

    Args:
        samples: (N, D).
        modes: (K, D).
        sd: Around each mode.

    Returns:
        (K,).
    """
    distances = np.linalg.norm(samples[:, None] - modes, axis=-1)
    shares: Floats = (distances <= 4 * sd).mean(axis=0)
    return shares
