"""What a spec says, by its descriptors: chosen members, losses within losses, facts, arrays."""

import functools
from collections.abc import Iterable, Iterator
from itertools import chain

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec.errors import one_of
from talweg.spec.fields import choices, fields
from talweg.spec.semantics.heads import heads
from talweg.spec.semantics.pairs_triplets import (
    arrays_of_dataset,
    arrays_of_examples,
    examples_of,
)
from talweg.v1 import options_pb2
from talweg.v1.losses_pb2 import Loss
from talweg.v1.options_pb2 import (
    LossFacts,
    ModelFacts,
    OptimizerFacts,
    TaskFacts,
    TaskKind,
)
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Task


def kind(message: Message) -> tuple[str, Message]:
    """Give the chosen member of a message's oneof ``kind``: ``("huber", Huber(...))``.

    Raises:
        ValueError: Where none is chosen.
    """
    name = chosen(message)
    if not name:
        members = one_of(choices(message.DESCRIPTOR))
        raise ValueError(f"{message.DESCRIPTOR.name} must be {members}, but got nothing")
    member: Message = getattr(message, name)
    return name, member


def chosen(message: Message) -> str:
    """Give the name of the chosen member, or '' where none is or can be chosen."""
    if not choices(message.DESCRIPTOR):
        return ""
    return message.WhichOneof("kind") or ""


def leaves(loss: Loss, path: str = "loss") -> Iterator[tuple[str, str, Message]]:
    """Give each loss that is no sum: the path of its `Loss`, its name and its parameters."""
    name = chosen(loss)
    if name == "sum":
        for index, term in enumerate(loss.sum.terms):
            yield from leaves(term.loss, f"{path}.sum.terms[{index}].loss")
    elif name:
        yield path, name, getattr(loss, name)


@functools.cache
def loss_facts(message: Descriptor) -> LossFacts:
    """Give the catalogue's facts about a loss's message."""
    return message.GetOptions().Extensions[options_pb2.loss]


@functools.cache
def task_facts(message: Descriptor) -> TaskFacts:
    """Give the catalogue's facts about a task's message."""
    return message.GetOptions().Extensions[options_pb2.task]


@functools.cache
def model_facts(message: Descriptor) -> ModelFacts:
    """Give the catalogue's facts about a model's message."""
    return message.GetOptions().Extensions[options_pb2.model]


@functools.cache
def optimizer_facts(message: Descriptor) -> OptimizerFacts:
    """Give the catalogue's facts about an optimizer's message."""
    return message.GetOptions().Extensions[options_pb2.optimizer]


def task_kind(spec: JobSpec) -> TaskKind.ValueType:
    """Give the spec's task by kind; TASK_KIND_UNSPECIFIED where it names none."""
    name = chosen(spec.task)
    if not name:
        return options_pb2.TASK_KIND_UNSPECIFIED
    return task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type).kind


def task_name(task: TaskKind.ValueType) -> str:
    """Give a task's name in JSON, such as ``regression``."""
    return TaskKind.Name(task).lower()


@functools.cache
def tasks_by_name() -> dict[str, TaskKind.ValueType]:
    """Give the kind of each member of `Task`, by its name."""
    members = choices(Task.DESCRIPTOR)
    known = fields(Task.DESCRIPTOR)
    return {name: task_facts(known[name].descriptor.message_type).kind for name in members}


def lacks(spec: JobSpec, facts: TaskFacts, array: str) -> bool:
    """Tell whether stored data lack an array that the spec's task can do without.

    Args:
        spec: Its data have been looked at, or are taken to have the array.
        facts: The task's.
        array: Its name.
    """
    is_stored = spec.dataset.WhichOneof("kind") == "stored"
    return array in facts.may_lack and is_stored and array not in arrays_of_dataset(spec)


def arrays_of(spec: JobSpec) -> tuple[str, ...]:
    """Give the names of the arrays that the spec's task reads from its data: ``("x", "y")``."""
    name = chosen(spec.task)
    if not name:
        return ()
    facts = task_facts(Task.DESCRIPTOR.fields_by_name[name].message_type)
    own: Iterable[str] = (each for each in facts.arrays if not lacks(spec, facts, each))
    if name == "metric_learning":
        own = arrays_of_examples(examples_of(spec))
    of_heads = (task_facts(head.message.DESCRIPTOR).arrays for head in heads(spec))
    return tuple(dict.fromkeys(chain(own, *of_heads)))
