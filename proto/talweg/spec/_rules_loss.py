"""Rules among loss, task and data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from google.protobuf.message import Message

from talweg.spec._case import Case, Leaf
from talweg.spec._errors import Violation, number_text, one_of
from talweg.spec._facts import loss_facts, task_name
from talweg.spec._fields import Type, choices, descriptor_of, fields
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import ClassWeights, FocalBinary, Loss, MultiQuantile, PoissonNll
from talweg.v1.options_pb2 import TaskKind

_MAX_SUMS = 5
# Data sets that the spec alone shows to have negative targets.
_SIGNED_TARGETS = ("synthetic_regression",)


def loss_rules(case: Case) -> Iterator[Violation]:
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


def losses_of(task: TaskKind.ValueType) -> Iterator[str]:
    """Give the names of the losses that fit a task."""
    for name in choices(Loss.DESCRIPTOR):
        message = fields(Loss.DESCRIPTOR)[name].message
        if message is not None and task in loss_facts(message).tasks:
            yield name


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


def _fits(case: Case) -> Iterator[Violation]:
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


def _weights(case: Case, leaf: Leaf) -> Iterator[Violation]:
    """Check weights that stand one a class or label."""
    for name, values in class_weights(leaf.message):
        at = f"{leaf.member}.{name}"
        if values and not any(value > 0 for value in values):
            yield Violation(at, "no weight above 0", "at least one weight > 0")
        if case.task == options_pb2.BINARY:
            expected, means = 1, "one, for the one answer of task binary"
        elif case.data is not None and case.data.num_classes:
            what = "class" if case.task == options_pb2.MULTICLASS else "label"
            expected, means = case.data.num_classes, f"one a {what} of {case.data.name}"
        else:
            continue
        if len(values) != expected:
            found = "1 weight" if len(values) == 1 else f"{len(values)} weights"
            allowed = "1 weight" if expected == 1 else f"{expected} weights"
            yield Violation(at, found, f"{allowed}, {means}")


def class_weights(message: Message) -> Iterator[tuple[str, list[float]]]:
    """Give each set of weights, one a class, that a loss carries."""
    for descriptor, value in message.ListFields():
        field = fields(descriptor_of(message))[descriptor.name]
        if isinstance(value, ClassWeights):
            yield field.name, list(value.values)
        elif field.is_list and field.type is Type.NUMBER and field.name == "alpha":
            yield field.name, list(value)


def has_class_weights(message: Message) -> bool:
    """Tell whether a loss weighs classes, or positives against negatives."""
    if isinstance(message, FocalBinary):
        return message.HasField("alpha")
    return any(values for _, values in class_weights(message))


def _targets(case: Case, leaf: Leaf) -> Iterator[Violation]:
    if case.data is None:
        return
    if leaf.name == "poisson_nll" and case.data.name in _SIGNED_TARGETS:
        yield Violation(
            "dataset",
            f"{case.data.name}, some of whose targets are below 0",
            "data with targets >= 0 under poisson_nll",
        )


def _same_outputs(case: Case) -> Iterator[Violation]:
    """Check that the losses of a sum can take the same outputs."""
    if len(case.fitting) < 2:
        return
    first = case.fitting[0]
    for leaf in case.fitting[1:]:
        if _outputs(leaf) != _outputs(first):
            yield Violation(
                leaf.path,
                f"{leaf.name} in one sum with {first.name}",
                "losses over the same outputs",
                _outputs(leaf) or _outputs(first),
            )


def _outputs(leaf: Leaf) -> str:
    """Say what the loss needs of the outputs beyond one number a target; '' where nothing."""
    if isinstance(leaf.message, MultiQuantile):
        quantiles = ", ".join(map(number_text, leaf.message.quantiles))
        return f"multi_quantile needs an output for each of its quantiles, {quantiles}"
    if isinstance(leaf.message, PoissonNll) and leaf.message.log_input:
        return "poisson_nll takes the logarithm of the rate: write log_input: false"
    return ""
