"""The metrics of a spec by its task: names, goals, and the one that jobs are compared by."""

from collections.abc import Container, Iterator
from itertools import chain

from talweg.spec.semantics.custom_metrics import custom_metrics
from talweg.spec.semantics.facts import chosen, lacks, task_facts, task_kind
from talweg.spec.semantics.heads import Head, heads
from talweg.spec.semantics.outputs import output_of
from talweg.spec.semantics.pairs_triplets import LABEL, arrays_of_dataset, examples_of
from talweg.v1 import options_pb2
from talweg.v1.options_pb2 import Goal, MetricFacts, OutputFacts, TaskFacts
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import MetricLearning, Task

REFERENCES = ("trivial", "gradient_boosting", "linear")
"""Predictors whose test metrics a job may report beside its own."""


def metrics_of(spec: JobSpec) -> tuple[MetricFacts, ...]:
    """Give the metrics of validation and test data: the task's, then those of the job's choice."""
    name = chosen(spec.task)
    if not name:
        return ()
    facts = task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type)
    if facts.kind == options_pb2.MULTITASK:
        return tuple(chain.from_iterable(map(_metrics_of_head, heads(spec))))
    if facts.kind == options_pb2.METRIC_LEARNING:
        return tuple(_metrics_of_vectors(spec, facts))
    has_quantiles = bool(output_of(spec.loss).quantiles)
    own = tuple(
        metric
        for metric in facts.metrics
        if (has_quantiles or not metric.of_quantiles) and not lacks(spec, facts, metric.of_array)
    )
    if facts.metrics and not own:
        meaning = "the task's own loss"
        own = (MetricFacts(name="loss", goal=options_pb2.MINIMIZE, meaning=meaning),)
    return own + custom_metrics(spec)


def _metrics_of_vectors(spec: JobSpec, facts: TaskFacts) -> Iterator[MetricFacts]:
    """Give what can be told of labels, pairs or triplets, what tells most first."""
    known = {metric.name: metric for metric in facts.metrics}
    examples = examples_of(spec)
    if examples == MetricLearning.triplets:
        yield known["triplet_accuracy"]
    if examples != MetricLearning.labels:
        yield known["verification_auroc"]
    if LABEL in arrays_of_dataset(spec):
        yield from (metric for name, metric in known.items() if name.startswith("recall"))
    if examples == MetricLearning.labels:
        yield known["verification_auroc"]


def _metrics_of_head(head: Head) -> Iterator[MetricFacts]:
    for facts in task_facts(head.message.DESCRIPTOR).metrics:
        named = MetricFacts()
        named.CopyFrom(facts)
        named.name = f"{head.name}/{facts.name}"
        yield named
    yield MetricFacts(
        name=f"{head.name}/loss", goal=options_pb2.MINIMIZE, meaning="the head's own loss"
    )


def primary_metric(spec: JobSpec) -> str:
    """Give the metric that jobs are compared by: the task's first, on the last data kept apart.

    ``test/mae``, for one; on validation data where nothing is kept for the test, and in a session;
    ``train/loss`` where nothing is kept at all, or where there is no task.
    """
    metrics = metrics_of(spec)
    split = spec.split
    has_test = split.test > 0 or not split.HasField("test")
    if metrics and has_test and not spec.HasField("session"):
        return f"test/{metrics[0].name}"
    if metrics and (split.validation > 0 or not split.HasField("validation")):
        return f"val/{metrics[0].name}"
    return "train/loss"


def goal_of(spec: JobSpec, metric: str) -> Goal.ValueType:
    """Tell whether a metric, such as ``val/mae``, is better low or high.

    GOAL_UNSPECIFIED for metrics without a goal, such as ``lr``.
    """
    part, _, name = metric.partition("/")
    if part not in ("train", "val", "test"):
        return options_pb2.GOAL_UNSPECIFIED
    if name == "loss" or metric == "train/loss_mean":
        return options_pb2.MINIMIZE
    facts = facts_of(spec, name)
    return options_pb2.GOAL_UNSPECIFIED if facts is None else facts.goal


def reference_names(metric: str) -> dict[str, str]:
    """Return under which names other predictors' values of a metric stand, by the predictor."""
    part, _, name = metric.partition("/")
    return {each: f"{each}/{name}" for each in REFERENCES} if part == "test" and name else {}


def trivial_name(metric: str) -> str:
    """Return under which name the trivial predictor's value of a metric stands; empty: none."""
    part, _, name = metric.partition("/")
    return f"trivial/{name}" if part in ("val", "test") and name else ""


def is_worse_than_trivial(value: float, trivial: float, goal: Goal.ValueType) -> bool:
    """Return whether a value is far worse than the trivial predictor's.

    Args:
        value: Of a job.
        trivial: The trivial predictor's, of the same metric.
        goal: The metric's.
    """
    if goal == Goal.MINIMIZE:
        return value > (2 * trivial if trivial > 0 else trivial + 1)
    if goal == Goal.MAXIMIZE:
        return value < (trivial / 2 if trivial > 0 else trivial - 1)
    return False


def undefined_when(spec: JobSpec, metric: str) -> str:
    """Tell when a metric, such as ``val/auroc``, has no value; '' where that is not known."""
    facts = facts_of(spec, metric.partition("/")[2])
    return "" if facts is None else facts.undefined


def facts_of(spec: JobSpec, name: str) -> MetricFacts | None:
    """Return the facts of a metric by its name without the part of the data, such as ``auroc``."""
    for known in metrics_of(spec):
        if name == known.name and not known.by_class:
            return known
        if known.by_class and name.startswith(f"{known.name}_"):
            return known
    return None


def is_of_step(names: Container[str]) -> bool:
    """Tell whether a point of these metrics is of a training step.

    There are as many of those as steps, so that records thin them. Evaluations and what else is
    measured now and then are few, and all of them are kept.
    """
    return "train/loss" in names


def judges_loss(spec: JobSpec) -> bool:
    """Tell whether the loss can be taken on validation and test data.

    Not under metric learning by a loss that has a vector of its own for each class: it has none
    for the classes of those data. Nor in a game, in which what one pays says nothing by itself.
    """
    if task_kind(spec) == options_pb2.GAN:
        return False
    unseen = task_kind(spec) == options_pb2.METRIC_LEARNING
    return not (unseen and output_of(spec.loss).kind == OutputFacts.CLASS_EMBEDDING)
