"""Values of paths in a spec, by which jobs are grouped."""

from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import Message

from talweg.server.errors import BadGrouping, FieldProblem
from talweg.spec import flatten, label
from talweg.spec.fields import descriptor_of, spellings
from talweg.spec.spelling import nearest
from talweg.v1.spec_pb2 import JobSpec

NOTHING = "none"
"""The value of a path that a spec does not have, such as a parameter of another loss."""


def value_at(spec: JobSpec, path: str) -> str:
    """Return what a spec holds at a path, in words.

    Args:
        spec: A completed spec.
        path: Such as "loss", "optimizer.adamw.learning_rate", "loss.sum.terms.0.weight" or
            "tags.team".

    Returns:
        The value; of a message its label: the chosen member and the parameters that differ from
        their defaults.

    Raises:
        BadGrouping: No spec can have such a path.
    """
    message: Message = spec
    present = True
    parts = path.split(".")
    while parts:
        name = parts.pop(0)
        known = spellings(descriptor_of(message))
        if name not in known:
            raise _refused(path, name, sorted(message.DESCRIPTOR.fields_by_name))
        field = known[name].descriptor
        name = field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            if not parts:
                raise _refused(path, "", [f"{name}.KEY"])
            return getattr(message, name).get(".".join(parts), NOTHING)  # type: ignore[no-any-return]
        if field.message_type is None:
            if parts:
                raise _refused(path, parts[0], [f"nothing after {name}"])
            # Of its own message alone: flattening whole specs takes seconds for many jobs.
            return flatten(message).get(name, NOTHING)
        value = getattr(message, name)
        if field.is_repeated:
            value = _item(path, parts, field, value)
        present = present and (field.is_repeated or message.HasField(name))
        message = value
    return (label(message) or "defaults") if present else NOTHING


def canonical(path: str) -> str:
    """Return a path that `value_at` accepts with the fields' own names in place of aliases."""
    message: Message | None = JobSpec()
    names = []
    parts = path.split(".")
    while parts and message is not None:
        known = spellings(descriptor_of(message))
        if parts[0] not in known:
            break
        field = known[parts.pop(0)].descriptor
        names.append(field.name)
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            break
        if field.is_repeated and parts:
            names.append(parts.pop(0))
        message = message_factory.GetMessageClass(field.message_type)()
    return ".".join([*names, *parts])


def _item(path: str, parts: list[str], field: Any, items: Any) -> Message:
    index = parts.pop(0) if parts else ""
    if not index.isdecimal() or len(index) > 9:
        raise _refused(path, index, [f"{field.name}.0 and so on"])
    if int(index) < len(items):
        return items[int(index)]  # type: ignore[no-any-return]
    # Goes on in an empty message, so that a misspelt rest is found all the same.
    empty: Message = message_factory.GetMessageClass(field.message_type)()
    return empty


def _refused(path: str, found: str, allowed: list[str]) -> BadGrouping:
    description = f"found {found!r} in {path!r}; allowed: {', '.join(allowed)}"
    if hint := nearest(found, allowed):
        description += f". {hint}"
    return BadGrouping(f"group_by: {description}", fields=[FieldProblem("group_by", description)])
