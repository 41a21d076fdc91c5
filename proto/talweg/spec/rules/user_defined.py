"""Rules among the fields of one message, which no option of a single field can say."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from talweg.spec import formulas
from talweg.spec.errors import SpecError, Violation, joined, shown
from talweg.spec.reading import json_objects
from talweg.v1.datasets_pb2 import DatasetPlugin
from talweg.v1.losses_pb2 import Expression, Plugin
from talweg.v1.models_pb2 import ModelPlugin


def own_rules(message: Message, path: str) -> Iterator[Violation]:
    """Check a message by the rules of its own type, where it has some.

    Args:
        message: The fields that are set are within their own bounds.
        path: Where it stands.
    """
    rules = _RULES.get(str(message.DESCRIPTOR.full_name))
    if rules is not None:
        yield from rules(message, path)


def _expression(message: Expression, path: str) -> Iterator[Violation]:
    at = joined(path, "params")
    for name in sorted(message.params):
        if problem := formulas.param_problem(name):
            yield Violation(at, f"the name {shown(name)}", problem)
    if not message.HasField("formula"):
        return
    try:
        formulas.parse(message.formula, message.params, path=joined(path, "formula"))
    except SpecError as exc:
        yield from exc.violations


def _plugin(message: Plugin | ModelPlugin | DatasetPlugin, path: str) -> Iterator[Violation]:
    if not message.HasField("parameters"):
        return
    try:
        json_objects.read(message.parameters)
    except ValueError as exc:
        yield Violation(joined(path, "parameters"), str(exc), "a JSON object")


# Any: each takes the message of its own type.
_RULES: Mapping[str, Callable[[Any, str], Iterator[Violation]]] = {
    str(Expression.DESCRIPTOR.full_name): _expression,
    **{str(each.DESCRIPTOR.full_name): _plugin for each in (Plugin, ModelPlugin, DatasetPlugin)},
}
