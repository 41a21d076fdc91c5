"""Holds each field of a message against the rules that stand beside it in the .proto files."""

import functools
import math
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from talweg.spec.characters import has_control, without_credentials
from talweg.spec.errors import MAX_VIOLATIONS, Violation, joined, limited, one_of, shown
from talweg.spec.fields import (
    Field,
    Type,
    as_float32,
    choices,
    descriptor_of,
    exactly_one,
    fields,
)
from talweg.spec.rules.user_defined import own_rules
from talweg.spec.semantics.facts import chosen

WELL_KNOWN = ("google.protobuf.", "google.rpc.")
"""How the names of messages begin that others have declared."""

# Protobuf itself reads no deeper message from the wire.
_MAX_DEPTH = 100


def check_message(message: Message, path: str = "loss") -> list[Violation]:
    """Check a message field by field: required parts, bounds, lengths, known names, formulas.

    Args:
        message: Any message of the catalogue.
        path: Where it stands, for the fields of violations.

    Returns:
        All violations, in the order of the fields; none where the message is in order. Of very
        many the first, and a last one that says so.
    """
    violations: list[Violation] = []
    _message(message, path, violations, 0)
    return limited(violations)


@functools.cache
def _demanding(descriptor: Descriptor) -> tuple[Field, ...]:
    """Give the fields whose absence can be a violation."""
    return tuple(f for f in fields(descriptor).values() if f.required or f.min_items)


def _message(message: Message, path: str, violations: list[Violation], depth: int) -> None:
    descriptor = descriptor_of(message)
    if descriptor.full_name.startswith(WELL_KNOWN):
        return  # Free values, and times: no rules stand beside them.
    if depth > _MAX_DEPTH:
        violations.append(Violation(path, "more levels", f"at most {_MAX_DEPTH} levels"))
        return
    members = choices(descriptor)
    if members and not chosen(message):
        violations.append(_none_chosen(path, members))
    if exactly_one(descriptor):
        present = {field.name for field, _ in message.ListFields()}
        rivals = [name for name in exactly_one(descriptor) if name in present]
        if len(rivals) != 1:
            found = " and ".join(rivals) or "nothing"
            violations.append(Violation(path, found, one_of(exactly_one(descriptor))))
    for field in _demanding(descriptor):
        at = joined(path, field.name)
        if field.is_list or field.is_map:
            if not len(getattr(message, field.name)):
                violations.append(Violation(at, "nothing", f"at least {_items(field.min_items)}"))
        elif not message.HasField(field.name):
            part = choices(field.message) if field.message is not None else ()
            violations.append(
                _none_chosen(at, part) if part else Violation(at, "nothing", field.allowed)
            )
    known = fields(descriptor)
    too_many = False
    for field_descriptor, value in message.ListFields():
        field = known[field_descriptor.name]
        at = joined(path, field.name)
        if (field.is_list or field.is_map) and not _count(field, value, at, violations):
            too_many = True
        elif field.is_list:
            for index, item in enumerate(value):
                _value(field, item, f"{at}[{index}]", violations, depth)
        elif field.is_map:
            for key in sorted(value):
                _value(field, value[key], joined(at, key), violations, depth)
        else:
            _value(field, value, at, violations, depth)
    if not too_many:
        said = {violation.field for violation in violations}
        violations += [found for found in own_rules(message, path) if found.field not in said]
    unknown = UnknownFieldSet(message)
    first = range(min(len(unknown), MAX_VIOLATIONS))
    for number in dict.fromkeys(unknown[index].field_number for index in first):
        violations.append(
            Violation(
                path or descriptor.name,
                f"an unknown field, number {number}",
                one_of(known),
                "the sender is probably newer than the service",
            )
        )


def _value(field: Field, value: Any, path: str, violations: list[Violation], depth: int) -> None:
    if len(violations) > MAX_VIOLATIONS:
        return
    if field.type is Type.MESSAGE:
        _message(value, path, violations, depth + 1)
    elif field.type in (Type.NUMBER, Type.INTEGER):
        if not field.bounds.allow(value):
            finite = "" if math.isfinite(value) else "numbers must be finite"
            violations.append(Violation(path, shown(value), field.allowed, finite))
        elif field.type is Type.NUMBER and not field.bounds.allow_in_float32(value):
            hint = f"jobs compute in float32, in which it is {shown(as_float32(value))}"
            violations.append(Violation(path, shown(value), field.allowed, hint))
    elif field.type is Type.CHOICE and field.enum is not None:
        if value not in field.enum.values_by_number:
            violations.append(Violation(path, shown(value), field.allowed))
    elif field.type is Type.TEXT:
        _text(field, value, path, violations)


def _text(field: Field, value: str, path: str, violations: list[Violation]) -> None:
    if field.max_length is not None and len(value) > field.max_length:
        violations.append(Violation(path, f"{len(value)} characters", field.allowed))
    elif has_control(value):
        # A URI is checked by its own rules later, and may hold credentials.
        known = shown(without_credentials(value))
        violations.append(Violation(path, known, "text without control characters"))
    elif field.pattern is not None and not field.pattern.fullmatch(value):
        violations.append(Violation(path, shown(value), field.allowed))


def _count(field: Field, items: Any, path: str, violations: list[Violation]) -> bool:
    """Check how many items there are, and tell whether they are few enough to be looked at."""
    if field.max_items is not None and len(items) > field.max_items:
        violations.append(
            Violation(path, _items(len(items)), f"at most {_items(field.max_items)}")
        )
        return False
    if len(items) < field.min_items:
        violations.append(
            Violation(path, _items(len(items)), f"at least {_items(field.min_items)}")
        )
    return True


def _items(number: int) -> str:
    return "1 item" if number == 1 else f"{number} items"


def _none_chosen(path: str, members: tuple[str, ...]) -> Violation:
    name = path.rpartition(".")[2]
    hint = f"write {name}: {members[0]}, or {name}: {{{members[0]}: {{…}}}}"
    return Violation(path, "nothing", one_of(members), hint)
