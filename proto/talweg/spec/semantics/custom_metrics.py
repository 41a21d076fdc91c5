"""The metrics that a job has chosen itself: their names and goals."""

import re
from collections.abc import Mapping

from talweg.spec.semantics.facts import task_kind
from talweg.spec.semantics.torchmetrics_classes import CLASSES
from talweg.v1.evaluation_pb2 import CustomMetric
from talweg.v1.options_pb2 import MAXIMIZE, MINIMIZE, Goal, MetricFacts
from talweg.v1.spec_pb2 import JobSpec

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_FORMULA = "formula"
_GOALS: Mapping[str, Goal.ValueType] = {
    "minimize": MINIMIZE,
    "maximize": MAXIMIZE,
}


def custom_metrics(spec: JobSpec) -> tuple[MetricFacts, ...]:
    """Return the metrics that a spec adds to those of its task, in their order."""
    if task_kind(spec) not in CLASSES:
        return ()
    return tuple(
        MetricFacts(
            name=custom_metric_name(metric),
            goal=_goal(spec, metric),
            meaning="as the job defines it",
            undefined="the samples leave it undefined",
        )
        for metric in spec.evaluation.metrics
    )


def custom_metric_name(metric: CustomMetric) -> str:
    """Return a metric's name: its own, or that of its class in words."""
    if metric.name:
        return metric.name
    if not metric.HasField("torchmetrics"):
        return _FORMULA
    return _WORD.sub("_", metric.torchmetrics.class_name).lower()


def _goal(spec: JobSpec, metric: CustomMetric) -> Goal.ValueType:
    of_class = metric.torchmetrics
    stated = _GOALS.get(of_class.goal or metric.goal)
    if stated is not None:
        return stated
    known = CLASSES[task_kind(spec)].get(of_class.class_name)
    return Goal.GOAL_UNSPECIFIED if known is None else known.goal
