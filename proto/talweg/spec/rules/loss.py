"""Rules among loss, task and data."""

import functools
from collections.abc import Iterator
from itertools import pairwise

from google.protobuf.message import Message

from talweg.spec.errors import Violation, number_text, one_of
from talweg.spec.fields import Type, choices, descriptor_of, fields
from talweg.spec.semantics.context import Leaf, SpecContext
from talweg.spec.semantics.facts import kind, loss_facts, task_name
from talweg.spec.semantics.outputs import (
    MODEL_GIVES,
    NONNEGATIVE_LAYERS,
    has_one_output,
    holds,
    output_of_member,
    outputs_nonnegative,
)
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import ClassWeights, Loss
from talweg.v1.options_pb2 import LossFacts, OutputFacts, TaskKind

_MAX_SUMS = 5
# The parameter of losses that weigh classes by how often each stands in the training split.
_CLASS_COUNTS = "class_counts"


def loss_rules(case: SpecContext) -> Iterator[Violation]:
    """Check the loss, and each loss within a sum."""
    yield from _nesting(case.spec.loss, "loss", 1)
    yield from _fits(case)
    for leaf in case.leaves:
        yield from _reduction(leaf)
        yield from _quantiles(leaf)
        yield from _parts(leaf)
    for leaf in case.fitting:
        yield from _weights(case, leaf)
        yield from _targets(case, leaf)
        yield from _reconstructed(case, leaf)
        yield from _outputs_in_range(case, leaf)
    yield from _same_outputs(case)


def facts_of(name: str) -> LossFacts:
    """Give the catalogue's facts about a member of `Loss`, by its name."""
    message = fields(Loss.DESCRIPTOR)[name].message
    assert message is not None, f"{name} must be a message"
    return loss_facts(message)


@functools.cache
def losses_of(task: TaskKind.ValueType) -> tuple[str, ...]:
    """Give the names of the losses by which jobs of a task can train."""
    losses = []
    for name in choices(Loss.DESCRIPTOR):
        facts = facts_of(name)
        if task in facts.tasks and not facts.only_evaluated:
            losses.append(name)
    return tuple(losses)


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
                f"{leaf.name} suits tasks {', '.join(map(task_name, leaf.facts.tasks))}",
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
            "a reduction to one value, which training minimises",
            "leave it out for mean",
        )


def reduction_name(message: Message) -> str:
    """Give the name of a loss's reduction, '' where it has none."""
    return value_name(message, "reduction")


def value_name(message: Message, parameter: str) -> str:
    """Return the name of what a parameter chooses, '' where it has none."""
    field = fields(descriptor_of(message)).get(parameter)
    if field is None or field.enum is None:
        return ""
    value = field.enum.values_by_number.get(getattr(message, field.name))
    return "" if value is None else value.name


def _quantiles(leaf: Leaf) -> Iterator[Violation]:
    for index, (low, high) in enumerate(pairwise(output_of_member(leaf.message).quantiles)):
        if high <= low:
            yield Violation(
                f"{leaf.member}.{leaf.facts.output.quantiles}[{index + 1}]",
                number_text(high),
                f"more than the previous one, {number_text(low)}",
                "quantiles must increase",
            )


def _parts(leaf: Leaf) -> Iterator[Violation]:
    """Refuse a loss of which every part has a weight of 0: it is 0 whatever is predicted."""
    names = leaf.facts.part_weights
    if names and not any(getattr(leaf.message, name) for name in names):
        found = f"{' and '.join(names)} of 0"
        yield Violation(leaf.member, found, "at least one weight > 0")


def _weights(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    """Check what stands one a class or label: weights and counts."""
    for name, values in class_weights(leaf.message):
        at = f"{leaf.member}.{name}"
        if not any(value > 0 for value in values):
            yield Violation(at, "no weight above 0", "at least one weight > 0")
        yield from _one_a_class(case, at, "weight", len(values))
    for name, counts in _lists(leaf.message):
        if name == _CLASS_COUNTS and counts:
            yield from _one_a_class(case, f"{leaf.member}.{name}", "count", len(counts))
    if _one_answer(case) and "weight" in _computed(leaf.message):
        yield Violation(
            f"{leaf.member}.weight",
            f"several class weights under task {task_name(case.task)}, which has one output",
            "no weight, or one value",
            "use pos_weight, the weight of the positive class",
        )


def _one_answer(case: SpecContext) -> bool:
    known = case.task != options_pb2.TASK_KIND_UNSPECIFIED
    return known and has_one_output(kind(case.spec.task)[1])


def _one_a_class(case: SpecContext, at: str, what: str, number: int) -> Iterator[Violation]:
    if _one_answer(case):
        expected, means = 1, f"one, for the single output of task {task_name(case.task)}"
    elif case.data is not None and case.data.num_classes:
        kind = "label" if case.task == options_pb2.MULTILABEL else "class"
        expected, means = case.data.num_classes, f"one per {kind} of {case.data.name}"
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
    positive = loss_facts(descriptor_of(message)).positive_weight
    return [
        name
        for name, field in fields(descriptor_of(message)).items()
        if field.message is ClassWeights.DESCRIPTOR or name == positive
    ]


def has_class_weights(message: Message) -> bool:
    """Tell whether a loss weighs classes, or yes against no, by weights or by their counts."""
    by_count = _CLASS_COUNTS in fields(descriptor_of(message))
    return by_count or any(message.HasField(name) for name in weight_fields(message))


def _targets(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    if case.data is None:
        return
    if leaf.facts.nonnegative_targets and case.data.facts.negative_targets:
        yield Violation(
            "dataset",
            f"{case.data.name}, which has negative targets",
            f"a data set with targets >= 0 under {leaf.name}",
        )


def _reconstructed(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    """Check that a binary reconstruction is of data in [0, 1]."""
    if case.task != options_pb2.VAE or case.data is None:
        return
    if case.data.facts.in_unit_range or not case.data.facts.HasField("in_unit_range"):
        return
    if output_of_member(leaf.message).kind == OutputFacts.BINARY_LOGITS:
        others = (each.value for each in leaf.facts.output.cases)
        parameter = leaf.facts.output.cases[0].parameter
        yield Violation(
            f"{leaf.member}.{parameter}",
            f"{value_name(leaf.message, parameter)} on {case.data.name}, whose values are not all "
            "in [0, 1]",
            one_of(others),
            "omit it: the form that fits the data is then chosen",
        )


def _outputs_in_range(case: SpecContext, leaf: Leaf) -> Iterator[Violation]:
    facts = leaf.facts
    if not facts.HasField("nonnegative_outputs") or outputs_nonnegative(case.spec):
        return
    if holds(leaf.message, facts.nonnegative_outputs):
        where = facts.nonnegative_outputs
        yield Violation(
            f"{leaf.member}.{where.parameter}",
            f"{where.value} on a model whose outputs may be negative",
            f"a model: sequential whose last layer is {' or '.join(NONNEGATIVE_LAYERS)}",
            f"omit {where.parameter}: the model then outputs the log of the mean",
        )


def _same_outputs(case: SpecContext) -> Iterator[Violation]:
    """Check that the losses of a sum can take the same outputs."""
    if len(case.fitting) < 2:
        return
    first = case.fitting[0]
    for leaf in case.fitting[1:]:
        if _outputs(leaf) != _outputs(first):
            yield Violation(
                leaf.path,
                f"{leaf.name} in a sum with {first.name}",
                "losses over the same outputs",
                _needs(leaf) or _needs(first),
            )


def has_special_outputs(leaf: Leaf) -> bool:
    """Tell whether a loss takes other outputs of the model than most losses of its task."""
    return output_of_member(leaf.message).is_special


def _outputs(leaf: Leaf) -> object:
    """Give what must be the same for two losses over the same outputs."""
    output = output_of_member(leaf.message)
    if not output.is_special:
        return None
    # Each has vectors of its own for the classes.
    own = leaf.name if output.kind == OutputFacts.CLASS_EMBEDDING else ""
    return own, output


def _needs(leaf: Leaf) -> str:
    """Say what a loss needs of the outputs; '' where nothing that most losses do not."""
    output = output_of_member(leaf.message)
    if not output.is_special:
        return ""
    needs = f"{leaf.name} takes {MODEL_GIVES[output.kind]}"
    if output.kind == OutputFacts.QUANTILES:
        return f"{needs}, {', '.join(map(number_text, output.quantiles))}"
    others = (case for case in leaf.facts.output.cases if case.kind != output.kind)
    return needs + next((f": write {case.parameter}: {case.value}" for case in others), "")
