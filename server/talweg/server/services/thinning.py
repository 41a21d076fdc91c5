"""Thinning of metric events, so that a job's log grows with its time and not with its steps."""

import math
from collections.abc import Sequence

from talweg.server.store.clock import SECOND
from talweg.v1.jobs_pb2 import Event

POINTS_PER_SECOND = 2
# A worker that was cut off for a minute catches up with this many at the most.
_MAX_BURST = 20


def slots(elapsed: int) -> int:
    """Return how many points of each metric may be kept.

    Args:
        elapsed: The time since points were last kept, in microseconds.
    """
    return max(1, min(_MAX_BURST, round(elapsed / SECOND * POINTS_PER_SECOND)))


def thin(events: Sequence[Event], num_slots: int) -> list[Event]:
    """Keep so many values of each metric, spread evenly, and always the last one.

    Each metric is thinned for itself: a final test metric among hundreds of training losses
    stays.

    Args:
        events: Of any kinds, in order; those that are not metrics stay as they are.
        num_slots: How many values of each metric to keep.

    Returns:
        The events that are left, in order. Values that are not finite are left out.
    """
    indices_of: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        for name, value in event.metrics.values.items():
            if math.isfinite(value):
                indices_of.setdefault(name, []).append(index)
    names_at: dict[int, list[str]] = {}
    for name, indices in indices_of.items():
        for index in _spread(indices, num_slots):
            names_at.setdefault(index, []).append(name)
    left = []
    for index, event in enumerate(events):
        if event.WhichOneof("kind") != "metrics":
            left.append(event)
        elif index in names_at:
            thinned = Event()
            thinned.metrics.step = event.metrics.step
            for name in names_at[index]:
                thinned.metrics.values[name] = event.metrics.values[name]
            left.append(thinned)
    return left


def _spread(indices: Sequence[int], num_slots: int) -> Sequence[int]:
    num = len(indices)
    if num <= num_slots:
        return indices
    return [indices[(slot + 1) * num // num_slots - 1] for slot in range(num_slots)]
