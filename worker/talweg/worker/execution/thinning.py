"""Metric points for the server: about two a second and kind, the first and the last among them."""

from collections.abc import Mapping

from talweg.v1.jobs_pb2 import Event, MetricPoint

_PERIOD_MS = 500


class Thinning:
    """Decides which points the server gets.

    Points that hold the same metrics are of one kind: training, validation and test points are
    thinned each for itself.
    """

    def __init__(self) -> None:
        """Begin with no values."""
        self._next_ms: dict[tuple[str, ...], int] = {}
        self._held: dict[tuple[str, ...], tuple[int, Mapping[str, float]]] = {}

    def takes(self, step: int, at_ms: int, values: Mapping[str, float]) -> bool:
        """Return whether the server gets this point.

        Args:
            step: Of the point.
            at_ms: When it was measured.
            values: By name.
        """
        kind = tuple(values)
        if at_ms < self._next_ms.get(kind, 0):
            self._held[kind] = (step, values)
            return False
        self._next_ms[kind] = at_ms + _PERIOD_MS
        self._held.pop(kind, None)
        return True

    def rest(self) -> list[tuple[int, Mapping[str, float]]]:
        """Return the last point of each kind where the server has not got it, by step."""
        held, self._held = self._held, {}
        return sorted(held.values(), key=lambda point: point[0])


def metric_event(step: int, values: Mapping[str, float]) -> Event:
    """Return a point as an event."""
    return Event(metrics=MetricPoint(step=step, values=values))
