"""Metric points for the server: all but those of training steps, of which about two a second."""

from collections.abc import Collection, Iterator, Mapping

from talweg.spec import is_of_step
from talweg.v1.jobs_pb2 import Event, MetricPoint

_PERIOD_MS = 500


class Thinning:
    """Decides which points the server gets: of training steps the first, the best, the last ones.

    Points of training steps that hold the same metrics are of one kind, and are thinned each kind
    for itself.
    """

    def __init__(self) -> None:
        """Begin with no values."""
        self._next_ms: dict[tuple[str, ...], int] = {}
        self._waiting: dict[tuple[str, ...], tuple[int, Mapping[str, float]]] = {}
        # By kind and metric: what is best of one need not be best of another.
        self._best: dict[tuple[tuple[str, ...], str], tuple[int, Mapping[str, float]]] = {}

    def takes(
        self, step: int, at_ms: int, values: Mapping[str, float], *, best: Collection[str] = ()
    ) -> bool:
        """Return whether the server gets this point now.

        Args:
            step: Of the point.
            at_ms: When it was measured.
            values: By name.
            best: Names of those that are the best so far.
        """
        if not is_of_step(values):
            return True
        kind = tuple(values)
        if at_ms < self._next_ms.get(kind, 0):
            self._waiting[kind] = (step, values)
            self._best |= {(kind, name): (step, values) for name in best}
            return False
        self._next_ms[kind] = at_ms + _PERIOD_MS
        self._waiting.pop(kind, None)
        for name in best:
            self._best.pop((kind, name), None)
        return True

    def best(self) -> Iterator[tuple[int, Mapping[str, float]]]:
        """Yield the points that were left out though each was the best of its kind, by step.

        To be asked for before a later point is sent, since the record's are in the order of steps.
        """
        best = {(kind, point[0]): point for (kind, _), point in self._best.items()}
        self._best = {}
        for (kind, step), _ in best.items():
            if kind in self._waiting and self._waiting[kind][0] == step:
                del self._waiting[kind]
        yield from sorted(best.values(), key=lambda point: point[0])

    def rest(self) -> list[tuple[int, Mapping[str, float]]]:
        """Return the last point of each kind where the server has not got it, by step."""
        points, self._waiting = self._waiting, {}
        return sorted(points.values(), key=lambda point: point[0])


def metric_event(step: int, values: Mapping[str, float]) -> Event:
    """Return a point as an event."""
    return Event(metrics=MetricPoint(step=step, values=values))
