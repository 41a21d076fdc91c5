"""Renders the reference of the API: ``python -m talweg.spec.catalogue.reference``.

Services with their RPCs first, each RPC with the messages that it alone uses, then the messages
that several share. What a job spec consists of is in the catalogue, to which this links.
"""

import functools
from collections.abc import Iterable, Iterator
from types import ModuleType

from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from talweg.spec.catalogue.comments import comment
from talweg.spec.catalogue.layout import heading, link, section, table, write
from talweg.spec.fields import Field, Type, fields
from talweg.spec.semantics.facts import task_name
from talweg.v1 import (
    artifacts_pb2,
    catalog_pb2,
    jobs_pb2,
    predictions_pb2,
    stored_datasets_pb2,
    sweeps_pb2,
    system_pb2,
    workers_pb2,
)
from talweg.v1.losses_pb2 import Loss
from talweg.v1.recommendations_pb2 import bears_on
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.tasks_pb2 import Task

_PACKAGE = jobs_pb2.DESCRIPTOR.package
_FILES: tuple[ModuleType, ...] = (
    jobs_pb2,
    sweeps_pb2,
    artifacts_pb2,
    predictions_pb2,
    stored_datasets_pb2,
    catalog_pb2,
    system_pb2,
    workers_pb2,
)

# Messages of the catalogue's page.
_IN_CATALOGUE: dict[Descriptor, str] = {
    JobSpec.DESCRIPTOR: "catalogue.md#job-file",
    Loss.DESCRIPTOR: "catalogue.md#losses",
    Task.DESCRIPTOR: "catalogue.md#tasks",
}
_ELSEWHERE = {
    "google.rpc.Status": "https://google.aip.dev/193",
    "google.protobuf.Timestamp": "https://protobuf.dev/reference/protobuf/google.protobuf/#timestamp",
    "google.protobuf.Duration": "https://protobuf.dev/reference/protobuf/google.protobuf/#duration",
    "google.protobuf.Value": "https://protobuf.dev/reference/protobuf/google.protobuf/#value",
    "google.protobuf.ListValue": "https://protobuf.dev/reference/protobuf/google.protobuf/#list-value",
    "google.protobuf.Empty": "https://protobuf.dev/reference/protobuf/google.protobuf/#empty",
}
_SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}

_Type = Descriptor | EnumDescriptor


def services() -> list[ServiceDescriptor]:
    """Give all services, those for clients first."""
    return [service for file in _FILES for service in file.DESCRIPTOR.services_by_name.values()]


@functools.cache
def types() -> list[_Type]:
    """Give the messages and enums that RPCs use, at any depth, but for those of the catalogue."""
    reached: dict[_Type, None] = {}
    waiting: list[_Type] = [
        message
        for service in services()
        for method in service.methods
        for message in (method.input_type, method.output_type)
    ]
    while waiting:
        current = waiting.pop(0)
        if current in reached or not _is_described(current):
            continue
        reached[current] = None
        if isinstance(current, Descriptor):
            used = (_used(field) for field in fields(current).values())
            waiting += [each for each in used if each is not None]
    return list(reached)


def render() -> str:
    """Render the reference."""
    own = {
        message: method
        for service in services()
        for method in service.methods
        for message in (method.input_type, method.output_type)
        if message.name in (f"{method.name}Request", f"{method.name}Response")
    }
    shared = [each for each in types() if _outermost(each) not in own]
    return "\n".join(
        [
            "",
            *(block for service in services() for block in _service(service, own)),
            section("Messages"),
            "These stand in the requests and responses of several RPCs, or inside others.\n",
            *(block for each in _in_order(shared) for block in _type(each, level=3)),
        ]
    )


def _service(service: ServiceDescriptor, own: dict[Descriptor, MethodDescriptor]) -> Iterator[str]:
    text = _escaped(comment(service.full_name))
    yield heading("service", service.name, text, level=2)
    yield table(
        ["RPC", "what it does"],
        [[link("rpc", method.name), _first_sentence(method)] for method in service.methods],
    )
    for method in service.methods:
        yield heading("rpc", method.name, _escaped(comment(method.full_name)))
        yield _signature(method)
        for message in (method.input_type, method.output_type):
            if own.get(message) is method:
                yield from _type(message, level=4)
                for nested in _in_order(each for each in types() if _is_inside(each, message)):
                    yield from _type(nested, level=4)


def _signature(method: MethodDescriptor) -> str:
    form = "Server streaming" if method.server_streaming else "Unary"
    stream = "a stream of " if method.server_streaming else ""
    request, response = (_link(each) for each in (method.input_type, method.output_type))
    return f"{form}: takes {request}, returns {stream}{response}.\n"


def _type(each: _Type, *, level: int) -> Iterator[str]:
    """Render a message or an enum."""
    yield heading("message", _name(each), _escaped(comment(each.full_name)), level=level)
    if isinstance(each, EnumDescriptor):
        yield table(
            ["value", "number", "description"],
            [
                [
                    f"`{value.name}`",
                    str(value.number),
                    _escaped(comment(f"{each.full_name}.{value.name}")),
                ]
                for value in each.values
            ],
        )
    elif not each.fields:
        yield "No fields.\n"
    else:
        yield table(
            ["field", "type", "description"],
            [
                [f"`{field.name}`", _type_of(field), _description(each, field)]
                for field in fields(each).values()
            ],
        )


def _type_of(field: Field) -> str:
    used = _used(field)
    name = _link(used) if used is not None else _SCALARS[_part(field, "value").type]
    if field.is_map:
        return f"map of {_SCALARS[_part(field, 'key').type]} to {name}"
    if field.is_list:
        return f"list of {name}"
    # Of messages, absence can always be told.
    optional = field.has_presence and not field.oneof and field.type is not Type.MESSAGE
    return f"optional {name}" if optional else name


def _description(message: Descriptor, field: Field) -> str:
    sentences = [_escaped(comment(f"{message.full_name}.{field.name}"))]
    if field.oneof:
        sentences.append(f"Member of the oneof `{field.oneof}`.")
    if str(field.bounds):
        sentences.append(f"Allowed: {field.bounds}.")
    if kinds := field.descriptor.GetOptions().Extensions[bears_on]:
        sentences.append(f"For {', '.join(map(task_name, kinds))}.")
    return " ".join(filter(None, sentences))


def _link(each: _Type) -> str:
    if each.full_name in _ELSEWHERE:
        return f"[`{each.full_name}`]({_ELSEWHERE[each.full_name]})"
    if isinstance(each, Descriptor) and each in _IN_CATALOGUE:
        return f"[`{each.name}`]({_IN_CATALOGUE[each]})"
    return link("message", _name(each))


def _name(each: _Type) -> str:
    """Return a type's name with those of the messages around it: Job.State."""
    return str(each.full_name).removeprefix(f"{_PACKAGE}.")


def _first_sentence(method: MethodDescriptor) -> str:
    sentence, stop, _ = _escaped(comment(method.full_name)).partition(". ")
    return sentence + stop.strip()


def _is_described(each: _Type) -> bool:
    return each.full_name.startswith(f"{_PACKAGE}.") and each not in _IN_CATALOGUE


def _used(field: Field) -> _Type | None:
    """Return the message or enum that a field's values are of, if they are of one."""
    value = _part(field, "value")
    return value.message_type or value.enum_type


def _part(field: Field, name: str) -> FieldDescriptor:
    """Return the key or value of a map's entries; of other fields, the field itself."""
    entry = field.descriptor.message_type
    return entry.fields_by_name[name] if field.is_map and entry is not None else field.descriptor


def _outermost(each: _Type) -> _Type:
    while each.containing_type is not None:
        each = each.containing_type
    return each


def _is_inside(each: _Type, message: Descriptor) -> bool:
    return each.full_name.startswith(f"{message.full_name}.")


def _in_order(these: Iterable[_Type]) -> list[_Type]:
    """Sort types by name, which puts those inside a message behind it."""
    return sorted(these, key=lambda each: each.full_name)


def _escaped(text: str) -> str:
    """Keep Markdown from reading emphasis into a comment."""
    return text.replace("*", "\\*")


if __name__ == "__main__":
    write(render())
