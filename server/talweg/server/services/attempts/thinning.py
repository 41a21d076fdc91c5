"""Thinning of the metrics of training steps: a job's log grows with its time, not with its steps.

Evaluations, and whatever else is no point of a training step, all stay.
"""

import math
from collections.abc import Collection, Sequence

from talweg.server.store.record.clock import SECOND
from talweg.spec import is_of_step
from talweg.v1.jobs_pb2 import Event

POINTS_PER_SECOND = 2
# A worker that was cut off for a minute catches up with this many at the most.
_MAX_BURST = 20


def slots(elapsed: int) -> int:
    """Return how many points of training steps may be kept.

    Args:
        elapsed: The time since points were last kept, in microseconds.
    """
    return max(1, min(_MAX_BURST, round(elapsed / SECOND * POINTS_PER_SECOND)))


def thin(events: Sequence[Event], num_slots: int, keep: Collection[int] = ()) -> list[Event]:
    """Keep so many points of training steps, spread evenly, and always the last one.

    Args:
        events: Of any kinds, in order; those that are no points of training steps stay as they
            are.
        num_slots: How many points of training steps to keep.
        keep: Further steps whose points stay: those of first and best values.

    Returns:
        The events that are left, in order. Values that are not finite are left out.
    """
    finite = [each for each in map(_finite, events) if each is not None]
    of_steps = [index for index, event in enumerate(finite) if is_of_step(event.metrics.values)]
    retained = set(_spread(of_steps, num_slots))
    retained |= {index for index in of_steps if finite[index].metrics.step in keep}
    left_out = set(of_steps) - retained
    return [event for index, event in enumerate(finite) if index not in left_out]


def _finite(event: Event) -> Event | None:
    """Return an event without values that are not finite; None where nothing is left."""
    bad = [name for name, value in event.metrics.values.items() if not math.isfinite(value)]
    if bad:
        cleaned = Event()
        cleaned.CopyFrom(event)
        for name in bad:
            del cleaned.metrics.values[name]
        event = cleaned
    if event.WhichOneof("kind") == "metrics" and not event.metrics.values:
        return None
    return event


def _spread(indices: Sequence[int], num_slots: int) -> Sequence[int]:
    num = len(indices)
    if num <= num_slots:
        return indices
    return [indices[(slot + 1) * num // num_slots - 1] for slot in range(num_slots)]
