"""What the service knows, as the catalogue service and the command line tell it."""

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from google.protobuf.descriptor import Descriptor

from talweg.spec.catalogue.comments import comment
from talweg.spec.errors import number_text, one_of, shown
from talweg.spec.fields import Field, Type, choices, fields
from talweg.spec.rules.loss import losses_of
from talweg.spec.semantics.dataset_facts import dataset_facts
from talweg.spec.semantics.facts import (
    loss_facts,
    model_facts,
    optimizer_facts,
    task_facts,
    tasks_by_name,
)
from talweg.spec.spelling import nearest
from talweg.v1.catalog_pb2 import (
    DatasetEntry,
    LossEntry,
    ModelEntry,
    OptimizerEntry,
    Parameter,
    TaskEntry,
)
from talweg.v1.datasets_pb2 import Dataset
from talweg.v1.losses_pb2 import Loss
from talweg.v1.models_pb2 import Model
from talweg.v1.optimizers_pb2 import Optimizer
from talweg.v1.tasks_pb2 import Task

Entry = TypeVar("Entry")


def losses(task: str | None = None) -> list[LossEntry]:
    """Give the losses.

    Args:
        task: Only those that fit this task, such as ``regression``; all where None or empty.

    Raises:
        ValueError: Where there is no such task.
    """
    if task:
        known = tasks_by_name()
        if task not in known:
            hint = nearest(task, known)
            raise ValueError(
                f"task must be {one_of(known)}, but got {shown(task)}{hint and f'; {hint}'}"
            )
        names = set(losses_of(known[task]))
    else:
        names = set(choices(Loss.DESCRIPTOR))
    return [
        LossEntry(
            name=name,
            description=comment(message.full_name),
            facts=loss_facts(message),
            parameters=parameters(message),
        )
        for name, message in members(Loss.DESCRIPTOR)
        if name in names
    ]


def tasks() -> list[TaskEntry]:
    """Give the tasks, each with the losses that fit it."""
    return [
        TaskEntry(
            name=name,
            description=comment(message.full_name),
            facts=task_facts(message),
            parameters=parameters(message),
            losses=losses_of(task_facts(message).kind),
        )
        for name, message in members(Task.DESCRIPTOR)
    ]


def models() -> list[ModelEntry]:
    """Give the models."""
    return _entries(Model.DESCRIPTOR, ModelEntry, model_facts)


def datasets() -> list[DatasetEntry]:
    """Give the data sets."""
    return _entries(Dataset.DESCRIPTOR, DatasetEntry, dataset_facts)


def optimizers() -> list[OptimizerEntry]:
    """Give the optimizers."""
    return _entries(Optimizer.DESCRIPTOR, OptimizerEntry, optimizer_facts)


def _entries(
    choice: Descriptor, entry: Callable[..., Entry], facts: Callable[[Descriptor], object]
) -> list[Entry]:
    return [
        entry(
            name=name,
            description=comment(message.full_name),
            facts=facts(message),
            parameters=parameters(message),
        )
        for name, message in members(choice)
    ]


def members(choice: Descriptor) -> Iterator[tuple[str, Descriptor]]:
    """Give name and message of each member of a choice, such as `Loss`."""
    for name in choices(choice):
        message = fields(choice)[name].message
        assert message is not None, f"{choice.full_name}.{name} must be a message"
        yield name, message


def parameters(message: Descriptor) -> list[Parameter]:
    """Give a message's fields as people write them."""
    return [
        Parameter(
            name=field.name,
            type=type_text(field),
            default=default_text(field),
            allowed=allowed_text(field),
            description=_description(field),
            aliases=field.aliases,
        )
        for field in fields(message).values()
    ]


def type_text(field: Field) -> str:
    """Write a field's type: ``number``, ``list of integer``, ``ClassWeights``."""
    known = field.message
    if field.is_object:
        return "object"
    name = known.name if field.type is Type.MESSAGE and known is not None else field.type.value
    if field.is_map:
        return f"object of {name}"
    return f"list of {name}" if field.is_list else name


def default_text(field: Field) -> str:
    """Write what absence means, in JSON; '' where it means none or follows from other fields."""
    if field.default is None:
        return "{}" if field.fill else ""
    if field.enum is not None and isinstance(field.default, int):
        return json.dumps(field.enum.values_by_number[field.default].name)
    if isinstance(field.default, list):
        return f"[{', '.join(map(number_text, field.default))}]"
    if field.type in (Type.NUMBER, Type.INTEGER) and isinstance(field.default, (int, float)):
        return number_text(field.default)
    if field.is_object:
        return str(field.default)
    return json.dumps(field.default, ensure_ascii=False)


def allowed_text(field: Field) -> str:
    """Write what is allowed beyond the type: ``> 0``, ``mean, sum, none``, ``1 to 20 items``."""
    conditions = []
    if field.type in (Type.NUMBER, Type.INTEGER):
        conditions.append(str(field.bounds))
    elif field.type is Type.CHOICE:
        conditions.append(", ".join(field.names))
    elif field.type is Type.TEXT and field.max_length is not None:
        conditions.append(f"at most {field.max_length} characters")
    conditions.append(field.pattern_means)
    if field.min_items or field.max_items is not None:
        most = "any number of" if field.max_items is None else field.max_items
        conditions.append(f"{field.min_items} to {most} items")
    if field.required:
        conditions.append("required")
    return "; ".join(filter(None, conditions))


def _description(field: Field) -> str:
    """Give the field's comment, or for one that chooses a name, its enum's or message's."""
    own = comment(field.descriptor.full_name)
    if own:
        return own
    if field.enum is not None:
        around = field.enum.containing_type
        return comment(field.enum.full_name) or (comment(around.full_name) if around else "")
    return comment(field.message.full_name) if field.message is not None else ""
