"""The facts about a problem: which exist, and which contradict each other."""

import functools
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from talweg.spec.catalogue.entries import parameters
from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import Violation, number_text, one_of, shown
from talweg.spec.reading.json_form import to_dict
from talweg.spec.semantics.facts import task_name
from talweg.spec.spelling import nearest
from talweg.v1 import options_pb2, recommendations_pb2
from talweg.v1.catalog_pb2 import Parameter
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.recommendations_pb2 import ProblemFacts

if TYPE_CHECKING:
    from talweg.spec.advice._conditions import Facts

PATH = "facts"
"""The path of the facts in a request."""

# The metrics of each task, among those that the fact `metric` can name.
_METRICS: Mapping[TaskKind.ValueType, tuple[str, ...]] = {
    options_pb2.REGRESSION: ("mae", "rmse"),
    options_pb2.BINARY: ("accuracy", "f1", "auroc"),
    options_pb2.MULTICLASS: ("accuracy", "f1_macro"),
    options_pb2.SEGMENTATION: ("iou", "dice"),
    options_pb2.IMAGE_TRANSLATION: ("psnr", "ssim"),
}
# Facts about classes, which need labels.
_OF_CLASSES = ("num_classes", "noisy_labels")


@functools.cache
def kinds() -> Mapping[str, TaskKind.ValueType]:
    """Return the tasks by name, including those that jobs do not support yet."""
    unknown = options_pb2.TASK_KIND_UNSPECIFIED
    return {task_name(kind): kind for kind in TaskKind.values() if kind != unknown}


@functools.cache
def tasks_of(fact: str) -> tuple[TaskKind.ValueType, ...]:
    """Return the tasks whose choice of a loss a fact affects."""
    options = ProblemFacts.DESCRIPTOR.fields_by_name[fact].GetOptions()
    return tuple(options.Extensions[recommendations_pb2.bears_on])


def facts(task: str | None = None) -> list[Parameter]:
    """Return the facts that `recommend` takes, in the form of catalogue parameters.

    Args:
        task: Only facts that affect this task; None for all.

    Raises:
        ValueError: The task is unknown.
    """
    if task is not None and task not in kinds():
        raise ValueError(str(unknown_task(task)))
    return [
        parameter
        for parameter in parameters(ProblemFacts.DESCRIPTOR)
        if task is None or kinds()[task] in tasks_of(parameter.name)
    ]


def unknown_task(task: str) -> Violation:
    """Return the violation of an unknown task."""
    found = shown(task) if task else "nothing"
    return Violation("task", found, one_of(kinds()), nearest(task, kinds()))


def known(facts: ProblemFacts) -> "Facts":
    """Return the known facts in JSON form; false flags are left out."""
    return {name: value for name, value in to_dict(facts).items() if value is not False}


def relevant(facts: Mapping[str, Any], task: TaskKind.ValueType) -> dict[str, Any]:
    """Return the facts that affect a task."""
    return {name: value for name, value in facts.items() if task in tasks_of(name)}


def check_facts(facts: ProblemFacts, task: TaskKind.ValueType) -> list[Violation]:
    """Check facts about a task: bounds and contradictions.

    Facts that do not affect the task are checked against their bounds only.
    """
    violations = check_message(facts, PATH)
    refused = {violation.field.partition("[")[0] for violation in violations}
    sound = {
        name: value
        for name, value in relevant(known(facts), task).items()
        if f"{PATH}.{name}" not in refused
    }
    return [*violations, *_contradictions(sound, task)]


def _contradictions(facts: Mapping[str, Any], task: TaskKind.ValueType) -> Iterator[Violation]:
    metric = facts.get("metric")
    if metric is not None and metric not in _METRICS[task]:
        yield _wrong(
            "metric", f"{metric} under task {task_name(task)}", one_of(_METRICS[task]),
            f"{metric} is for {_tasks_with(metric)}",
        )  # fmt: skip
    yield from _noise(facts, task)
    for index, (low, high) in enumerate(pairwise(facts.get("quantiles", ()))):
        if high <= low:
            yield _wrong(
                f"quantiles[{index + 1}]", number_text(high),
                f"more than the previous one, {number_text(low)}", "quantiles must increase",
            )  # fmt: skip
    if facts.get("known", "labels") != "labels":
        for name in _OF_CLASSES:
            if name in facts:
                yield _wrong(
                    name, f"{number_text(facts[name])} with known {facts['known']}",
                    "no such fact without labels", "set known to labels, or leave it out",
                )  # fmt: skip
    if "disentangled" in facts and "code_ignored" in facts:
        yield _wrong(
            "code_ignored", "true with disentangled", "one of the two",
            "one asks for a larger beta, the other for a smaller one",
        )  # fmt: skip
    types, losses = facts.get("task_types", ()), facts.get("first_losses", ())
    if types and losses and len(types) != len(losses):
        yield _wrong(
            "first_losses", f"{len(losses)} values for {len(types)} task_types",
            "one value per task", "list both in the same order",
        )  # fmt: skip


def _tasks_with(metric: str) -> str:
    return " and ".join(task_name(task) for task, names in _METRICS.items() if metric in names)


def _noise(facts: Mapping[str, Any], task: TaskKind.ValueType) -> Iterator[Violation]:
    """Check that labels are more often right than wrong, as far as the facts tell."""
    share = facts.get("noisy_labels")
    if share is None:
        return
    if task in (options_pb2.BINARY, options_pb2.MULTILABEL) and share >= 0.5:
        yield _wrong(
            "noisy_labels", number_text(share), "a number < 0.5 for binary labels",
            "mostly wrong labels are mostly right once they are flipped",
        )  # fmt: skip
    chance = 1 - 1 / facts["num_classes"] if "num_classes" in facts else 1
    if share >= chance:
        yield _wrong(
            "noisy_labels", f"{number_text(share)} with num_classes {facts['num_classes']}",
            f"a number < {chance:.4g}", "labels at chance level carry no information",
        )  # fmt: skip


def _wrong(name: str, found: str, allowed: str, hint: str) -> Violation:
    return Violation(f"{PATH}.{name}", found, allowed, hint)
