"""Which metrics jobs can be compared by: only those that are the same function for all of them."""

from collections.abc import Iterable, Sequence
from functools import cache

from talweg.spec.semantics.custom_metrics import custom_metric_name
from talweg.spec.semantics.facts import task_facts
from talweg.spec.semantics.heads import Head, heads
from talweg.spec.semantics.metrics import facts_of, metrics_of
from talweg.spec.semantics.outputs import output_of
from talweg.v1.losses_pb2 import Vae
from talweg.v1.options_pb2 import Goal
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Column, Segmentation, Task


def is_loss(metric: str) -> bool:
    """Return whether a metric is a value of the loss, or of a part of it."""
    name = metric.rpartition("/")[2]
    return name in ("loss", "loss_mean") or name.endswith("_loss")


def deciding(spec: JobSpec, metric: str) -> JobSpec | None:
    """Return what makes a metric another function of the same predictions; None without it.

    Args:
        spec: Filled.
        metric: Its name, such as ``val/loss`` or ``test/elbo``.
    """
    if is_loss(metric):
        return _deciding_loss(spec, metric)
    part, name = JobSpec(), metric.partition("/")[2]
    for custom in spec.evaluation.metrics:
        if custom_metric_name(custom) == name:
            part.evaluation.metrics.add().CopyFrom(custom)
            part.evaluation.metrics[0].ClearField("name")
            return part
    facts = facts_of(spec, name)
    if facts is None:
        return None
    if head := _head_of(spec, metric):
        _measured(head, part)
    elif task := _first_with(facts.name, facts.meaning):
        getattr(part.task, task).SetInParent()
    if facts.of_quantiles:
        part.loss.multi_quantile.quantiles.extend(sorted(output_of(spec.loss).quantiles))
    if facts.of_likelihood:
        _likelihood(spec, part)
    return part


def _deciding_loss(spec: JobSpec, metric: str) -> JobSpec:
    part, head = JobSpec(), _head_of(spec, metric)
    if head is not None:
        _measured(head, part)
    part.loss.CopyFrom(head.loss if head is not None and head.loss is not None else spec.loss)
    scales = spec.preprocessing.standardise_targets
    part.preprocessing.standardise_targets = scales
    if scales and spec.preprocessing.HasField("target_outliers"):
        # Outliers widen the scale by which targets are divided.
        part.preprocessing.target_outliers.CopyFrom(spec.preprocessing.target_outliers)
        part.preprocessing.target_outliers.ClearField("seed")
    return part


def _head_of(spec: JobSpec, metric: str) -> Head | None:
    """Return the head of a multitask job whose metric it is, such as y of ``val/y/mae``."""
    return next((head for head in heads(spec) if f"/{head.name}/" in metric), None)


def _measured(head: Head, part: JobSpec) -> None:
    """Set what a head is, and which of the targets it is measured by.

    Its name says neither: heads of one name may be of different kinds, whose metrics share names.
    """
    kind = getattr(part.task.multitask.heads.add(), head.kind)
    kind.SetInParent()
    if isinstance(head.message, Segmentation):
        kind.target = head.message.target
    elif isinstance(head.message, Column):
        kind.column = head.message.column


@cache
def _first_with(name: str, meaning: str) -> str:
    """Return the first task that means the same by a metric; '' for those of jobs."""
    for field in Task.DESCRIPTOR.oneofs_by_name["kind"].fields:
        for known in task_facts(field.message_type).metrics:
            if known.name == name and known.meaning == meaning:
                return field.name
    return ""


def _likelihood(spec: JobSpec, part: JobSpec) -> None:
    """Set the likelihood, and the scale of the inputs where it is of numbers on that scale."""
    recon = spec.loss.vae.recon
    if recon in (Vae.bce_logits, Vae.bce):
        # Both are of the same data, in their own units.
        part.loss.vae.recon = Vae.bce_logits
        return
    part.loss.vae.recon = recon
    part.preprocessing.standardise_inputs = spec.preprocessing.standardise_inputs


def comparable_metrics(part: str, specs: Sequence[JobSpec]) -> list[str]:
    """Return the metrics of a part of the data that all jobs have, and that mean the same for all.

    Losses are left out.

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
    names = [f"{part}/{name}" for name in of_jobs[0] if name in common]
    return [name for name in names if is_one_metric(name, specs)]


def is_one_metric(metric: str, specs: Sequence[JobSpec]) -> bool:
    """Return whether a metric is the same function of the predictions for all that have it."""
    return len(definitions(metric, specs)) < 2


def definitions(metric: str, specs: Iterable[JobSpec]) -> list[JobSpec]:
    """Return what decides about a metric in these jobs, each once."""
    parts = (deciding(spec, metric) for spec in specs)
    return list(
        {p.SerializeToString(deterministic=True): p for p in parts if p is not None}.values()
    )
