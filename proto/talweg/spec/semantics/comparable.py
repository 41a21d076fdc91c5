"""Which metrics jobs can be compared by: losses only where they are the same function."""

from collections.abc import Sequence

from talweg.spec.semantics.heads import heads
from talweg.spec.semantics.metrics import metrics_of
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec


def is_loss(metric: str) -> bool:
    """Return whether a metric is a value of the loss, or of a part of it."""
    name = metric.rpartition("/")[2]
    return name in ("loss", "loss_mean") or name.endswith("_loss")


def deciding_loss(spec: JobSpec, metric: str) -> JobSpec:
    """Return what makes a loss, as a metric, another function of the same predictions."""
    part = JobSpec()
    own = [head.loss for head in heads(spec) if f"/{head.name}/" in metric]
    part.loss.CopyFrom(own[0] if own and own[0] is not None else spec.loss)
    scales = spec.preprocessing.standardise_targets
    part.preprocessing.standardise_targets = scales
    if scales and spec.preprocessing.HasField("target_outliers"):
        # Outliers widen the scale by which targets are divided.
        part.preprocessing.target_outliers.CopyFrom(spec.preprocessing.target_outliers)
        part.preprocessing.target_outliers.ClearField("seed")
    return part


def comparable_metrics(part: str, specs: Sequence[JobSpec]) -> list[str]:
    """Return the metrics of a part of the data that all jobs have and no loss enters.

    Args:
        part: val or test.
        specs: Filled, at least one.
    """
    of_jobs = [
        [
            facts.name
            for facts in metrics_of(spec)
            if facts.goal != Goal.GOAL_UNSPECIFIED
            and not facts.by_class
            and not is_loss(facts.name)
        ]
        for spec in specs
    ]
    common = set.intersection(*map(set, of_jobs))
    return [f"{part}/{name}" for name in of_jobs[0] if name in common]
