"""Rules among loss, task and data."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import pairwise

from google.protobuf.message import Message

from talweg.spec.errors import Violation, number_text, one_of
from talweg.spec.fields import Type, choices, descriptor_of, fields
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.facts import loss_facts, takes_embedding, task_name
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import (
    ClassWeights,
    Corn,
    FocalBinary,
    GaussianNll,
    Ldam,
    LogitAdjusted,
    Loss,
    MultiQuantile,
    PoissonNll,
    Tweedie,
)
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.tasks_pb2 import Segmentation

_MAX_SUMS = 5
# Losses of targets >= 0, and data sets that the spec alone shows to have others.
_COUNTING = ("poisson_nll", "tweedie")
_SIGNED_TARGETS = ("synthetic_regression",)


def loss_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the loss, and each loss within a sum."""
    yield from _nesting(case.spec.loss, "loss", 1)
    yield from _fits(case)
    for leaf in case.leaves:
        yield from _reduction(leaf)
        yield from _quantiles(leaf)
    for leaf in case.fitting:
        yield from _weights(case, leaf)
        yield from _targets(case, leaf)
    yield from _same_outputs(case)


@functools.cache
def losses_of(task: TaskKind.ValueType) -> tuple[str, ...]:
    """Give the names of the losses by which jobs of a task can train."""
    found = []
    for name in choices(Loss.DESCRIPTOR):
        message = fields(Loss.DESCRIPTOR)[name].message
        if message is None:
            continue
        facts = loss_facts(message)
        if task in facts.tasks and not facts.only_evaluated:
            found.append(name)
    return tuple(found)


def _nesting(loss: Loss, path: str, depth: int) -> Iterator[Violation]:
    if loss.WhichOneof("kind") != "sum":
        return
    if depth > _MAX_SUMS:
        yield Violation(path, f"a sum inside {depth - 1} sums", f"at most {_MAX_SUMS} levels")
        return
    terms = loss.sum.terms
    if terms and not any(term.weight > 0 for term in terms):
        yield Violation(f"{path}.sum.terms", "no weight above 0", "at least one weight > 0")
    for index, term in enumerate(terms):
        yield from _nesting(term.loss, f"{path}.sum.terms[{index}].loss", depth + 1)


def _fits(case: SpecContext) -> Iterator[Violation]:
    if case.task == options_pb2.TASK_KIND_UNSPECIFIED:
        return
    for leaf in case.leaves:
        if case.task not in leaf.facts.tasks:
            yield Violation(
                leaf.path,
                f"{leaf.name} under task {task_name(case.task)}",
                one_of(losses_of(case.task)),
                f"{leaf.name} fits {' and '.join(map(task_name, leaf.facts.tasks))}",
            )
        elif leaf.facts.only_evaluated:
            yield Violation(
                leaf.path,
                f"{leaf.name} in a job",
                one_of(losses_of(case.task)),
                leaf.facts.only_evaluated,
            )


def _reduction(leaf: Leaf) -> Iterator[Violation]:
    if reduction_name(leaf.message) == "none":
        yield Violation(
            f"{leaf.member}.reduction",
            "none",
            "a reduction to one number, since a job minimises one",
            "leave it out for mean",
        )


def reduction_name(message: Message) -> str:
    """Give the name of a loss's reduction, '' where it has none."""
    field = fields(descriptor_of(message)).get("reduction")
    if field is None or field.enum is None:
        return ""
    value = field.enum.values_by_number.get(getattr(message, field.name))
    return "" if value is None else value.name


def _quantiles(leaf: Leaf) -> Iterator[Violation]:
    if not isinstance(leaf.message, MultiQuantile):
        return
    for index, (low, high) in enumerate(pairwise(leaf.message.quantiles)):
        if high <= low:
            yield Violation(
                f"{leaf.member}.quantiles[{index + 1}]",
                number_text(high),
                f"more than the one before it, {number_text(low)}",
                "quantiles must rise",
            )


def _weights(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    """Check what stands one a class or label: weights and counts."""
    for name, values in class_weights(leaf.message):
        at = f"{leaf.member}.{name}"
        if not any(value > 0 for value in values):
            yield Violation(at, "no weight above 0", "at least one weight > 0")
        yield from _one_a_class(case, at, "weight", len(values))
    for name, counts in _lists(leaf.message):
        if name == "class_counts" and counts:
            yield from _one_a_class(case, f"{leaf.member}.{name}", "count", len(counts))
    if _one_answer(case) and "weight" in _computed(leaf.message):
        yield Violation(
            f"{leaf.member}.weight",
            f"a weight of classes under task {task_name(case.task)}, whose one answer has one",
            "no weight, or one value",
            "write pos_weight, the weight of yes against no",
        )


def _one_answer(case: SpecContext) -> bool:
    if case.task == options_pb2.SEGMENTATION:
        return case.spec.task.segmentation.target == Segmentation.foreground
    return case.task == options_pb2.BINARY


def _one_a_class(case: SpecContext, at: str, what: str, number: int) -> Iterator[Violation]:
    if _one_answer(case):
        expected, means = 1, f"one, for the one answer of task {task_name(case.task)}"
    elif case.data is not None and case.data.num_classes:
        kind = "label" if case.task == options_pb2.MULTILABEL else "class"
        expected, means = case.data.num_classes, f"one a {kind} of {case.data.name}"
    else:
        return
    if number != expected:
        yield Violation(at, _count(number, what), f"{_count(expected, what)}, {means}")


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _lists(message: Message) -> Iterator[tuple[str, list[float]]]:
    """Give the lists of numbers that a loss carries."""
    for name, field in fields(descriptor_of(message)).items():
        if field.is_list and field.type is Type.NUMBER:
            yield name, list(getattr(message, name))


def class_weights(message: Message) -> Iterator[tuple[str, list[float]]]:
    """Give each set of weights, one a class, that a loss is given."""
    for descriptor, value in message.ListFields():
        if isinstance(value, ClassWeights) and len(value.values):
            yield descriptor.name, list(value.values)


def _computed(message: Message) -> list[str]:
    """Name the weights that a loss is to find from the training split."""
    return [
        descriptor.name
        for descriptor, value in message.ListFields()
        if isinstance(value, ClassWeights) and value.WhichOneof("computed")
    ]


def weight_fields(message: Message) -> list[str]:
    """Name the fields by which a loss can be told to weigh classes, or yes against no."""
    if isinstance(message, FocalBinary):
        return ["alpha"]
    return [
        name
        for name, field in fields(descriptor_of(message)).items()
        if field.message is ClassWeights.DESCRIPTOR
    ]


def has_class_weights(message: Message) -> bool:
    """Tell whether a loss weighs classes, or yes against no, by weights or by their counts."""
    by_count = isinstance(message, (LogitAdjusted, Ldam))
    return by_count or any(message.HasField(name) for name in weight_fields(message))


def _targets(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    if case.data is None:
        return
    if leaf.name in _COUNTING and case.data.name in _SIGNED_TARGETS:
        yield Violation(
            "dataset",
            f"{case.data.name}, some of whose targets are below 0",
            f"data with targets >= 0 under {leaf.name}",
        )


def _same_outputs(case: SpecContext) -> Iterator[Violation]:
    """Check that the losses of a sum can take the same outputs."""
    if len(case.fitting) < 2:
        return
    first = case.fitting[0]
    for leaf in case.fitting[1:]:
        if needs_of_outputs(leaf) != needs_of_outputs(first):
            yield Violation(
                leaf.path,
                f"{leaf.name} in one sum with {first.name}",
                "losses over the same outputs",
                needs_of_outputs(leaf) or needs_of_outputs(first),
            )


def needs_of_outputs(leaf: Leaf) -> str:
    """Say what the loss needs of the outputs beyond one number a target; '' where nothing."""
    if isinstance(leaf.message, MultiQuantile):
        quantiles = ", ".join(map(number_text, leaf.message.quantiles))
        return f"multi_quantile needs an output for each of its quantiles, {quantiles}"
    if isinstance(leaf.message, PoissonNll) and leaf.message.log_input:
        return "poisson_nll takes the logarithm of the rate: write log_input: false"
    if isinstance(leaf.message, Tweedie):
        return "tweedie takes the logarithm of the mean"
    if isinstance(leaf.message, GaussianNll):
        return "gaussian_nll needs two outputs a target, the mean and the variance"
    if isinstance(leaf.message, Corn):
        return "corn takes logits of rank > k given rank ≥ k"
    if takes_embedding(leaf.message):
        return f"{leaf.name} takes an embedding, and has vectors of its own for the classes"
    return ""
