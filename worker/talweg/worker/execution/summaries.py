"""First, last and best value of each metric over an attempt."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from talweg.spec import goal_of
from talweg.v1.jobs_pb2 import MetricSummary
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec


@dataclass(slots=True)
class _Seen:
    goal: Goal.ValueType
    first: float
    first_step: int
    last: float
    last_step: int
    best: float
    best_step: int
    count: int = 1


class MetricSummaries:
    """What each metric did so far."""

    def __init__(self, spec: JobSpec) -> None:
        """Begin with no values.

        Args:
            spec: Says which way each metric is better.
        """
        self._spec = spec
        self._seen: dict[str, _Seen] = {}
        self._changed: set[str] = set()

    def add(self, step: int, values: Mapping[str, float]) -> set[str]:
        """Take finite values at a step, and return the names of those that are the best so far."""
        best: set[str] = set()
        for name, value in values.items():
            seen = self._seen.get(name)
            self._changed.add(name)
            if seen is None:
                goal = goal_of(self._spec, name)
                self._seen[name] = _Seen(goal, value, step, value, step, value, step)
                best.add(name)
                continue
            seen.last, seen.last_step = value, step
            seen.count += 1
            better = value > seen.best if seen.goal == Goal.MAXIMIZE else value < seen.best
            if better:
                seen.best, seen.best_step = value, step
                best.add(name)
        return {name for name in best if self._seen[name].goal != Goal.GOAL_UNSPECIFIED}

    def take_changed(self) -> list[MetricSummary]:
        """Return the summaries that changed since the last call, by name."""
        names, self._changed = sorted(self._changed), set()
        return [self._message(name, self._seen[name]) for name in names]

    def values(self) -> dict[str, Any]:
        """Return all that was seen, as JSON values."""
        return {name: asdict(seen) for name, seen in self._seen.items()}

    def go_on(self, values: Mapping[str, Any]) -> None:
        """Take back what `values` gave, all of it as changed."""
        self._seen = {name: _Seen(**seen) for name, seen in values.items()}
        self._changed = set(self._seen)

    def _message(self, name: str, seen: _Seen) -> MetricSummary:
        message = MetricSummary(
            name=name,
            first=seen.first,
            first_step=seen.first_step,
            last=seen.last,
            last_step=seen.last_step,
            count=seen.count,
            goal=seen.goal,
        )
        if seen.goal != Goal.GOAL_UNSPECIFIED:
            message.best, message.best_step = seen.best, seen.best_step
        return message
