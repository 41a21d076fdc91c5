"""First, last and best value of each metric over an attempt."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from talweg.spec import goal_of
from talweg.v1.jobs_pb2 import MetricSummary
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec


@dataclass(slots=True)
class _Summary:
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
        self._summaries: dict[str, _Summary] = {}
        self._changed: set[str] = set()

    def add(self, step: int, values: Mapping[str, float]) -> set[str]:
        """Take finite values at a step, and return the names of those that are the best so far."""
        best: set[str] = set()
        for name, value in values.items():
            summary = self._summaries.get(name)
            self._changed.add(name)
            if summary is None:
                goal = goal_of(self._spec, name)
                self._summaries[name] = _Summary(goal, value, step, value, step, value, step)
                best.add(name)
                continue
            summary.last, summary.last_step = value, step
            summary.count += 1
            better = (
                value > summary.best if summary.goal == Goal.MAXIMIZE else value < summary.best
            )
            if better:
                summary.best, summary.best_step = value, step
                best.add(name)
        return {name for name in best if self._summaries[name].goal != Goal.GOAL_UNSPECIFIED}

    def take_changed(self) -> list[MetricSummary]:
        """Return the summaries that changed since the last call, by name."""
        names, self._changed = sorted(self._changed), set()
        return [self._message(name, self._summaries[name]) for name in names]

    def values(self) -> dict[str, Any]:
        """Return all that was seen, as JSON values."""
        return {name: asdict(summary) for name, summary in self._summaries.items()}

    def go_on(self, values: Mapping[str, Any]) -> None:
        """Take back what `values` gave, all of it as changed."""
        self._summaries = {name: _Summary(**summary) for name, summary in values.items()}
        self._changed = set(self._summaries)

    def _message(self, name: str, summary: _Summary) -> MetricSummary:
        message = MetricSummary(
            name=name,
            first=summary.first,
            first_step=summary.first_step,
            last=summary.last,
            last_step=summary.last_step,
            count=summary.count,
            goal=summary.goal,
        )
        if summary.goal != Goal.GOAL_UNSPECIFIED:
            message.best, message.best_step = summary.best, summary.best_step
        return message
