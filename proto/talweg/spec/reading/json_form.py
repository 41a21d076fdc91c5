"""Between messages and their JSON form. Reading reports every mistake at once."""

import base64
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, overload

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec.checks.bounds import WELL_KNOWN, check_message
from talweg.spec.errors import (
    MAX_VIOLATIONS,
    SpecError,
    Violation,
    joined,
    limited,
    number_text,
    one_of,
    shown,
)
from talweg.spec.fields import (
    Field,
    Type,
    choices,
    descriptor_of,
    fields,
    oneofs,
    shorthand,
    spellings,
)
from talweg.spec.reading import json_objects
from talweg.spec.reading.json_hints import (
    allowed_names,
    elsewhere,
    flag_hint,
    hint_for,
    number_hint,
)
from talweg.spec.spelling import nearest
from talweg.v1.spec_pb2 import JobSpec

M = TypeVar("M", bound=Message)

# Deeper than any real spec, and far from Python's own limit.
MAX_DEPTH = 50


@overload
def from_dict(value: object, *, path: str = "") -> JobSpec: ...


@overload
def from_dict(value: object, message_type: type[M], *, path: str = "") -> M: ...


def from_dict(value: object, message_type: type[Message] = JobSpec, *, path: str = "") -> Message:
    """Read a message from its JSON form.

    Args:
        value: What a JSON or YAML reader gives. A bare name stands for a member without
            parameters (``"mse"`` for ``{"mse": {}}``); None counts as absent.
        message_type: The message to read.
        path: Where the value stands, for the fields of violations.

    Returns:
        The message, with what was given and nothing else: see `fill`.

    Raises:
        SpecError: With all violations: unknown fields and members (and the nearest known
            name), wrong types, numbers outside of their type's range, members that exclude
            each other; and, beside these, numbers and texts out of bounds, which alone are the
            business of `check`. Of very many violations the first.
    """
    message = message_type()
    reader = _Reader()
    with suppress(_EnoughError):
        if value is None:
            reader.refuse(path, value, f"an object ({', '.join(fields(message.DESCRIPTOR))})")
        else:
            reader.message(message, value, path, 0)
    if reader.violations:
        beside = _out_of_bounds(message, reader.violations, path)
        raise SpecError(limited([*reader.violations, *beside]))
    return message


def _out_of_bounds(
    message: Message, refused: Sequence[Violation], path: str
) -> Iterator[Violation]:
    """Check what could be read, so that one round of mending is enough.

    What is missing is not told: it may be what could not be read.
    """
    refused_fields = {violation.field for violation in refused}
    for violation in check_message(message, path):
        if violation.found != "nothing" and violation.field not in refused_fields:
            yield violation


def to_dict(message: Message) -> dict[str, Any]:
    """Give a message's JSON form, with the fields that are set; `from_dict` reads it back."""
    return {
        descriptor.name: _field_to_json(fields(message.DESCRIPTOR)[descriptor.name], value)
        for descriptor, value in message.ListFields()
        if not descriptor.is_extension
    }


def _field_to_json(field: Field, value: Any) -> Any:
    if field.is_map:
        return {str(key): _value_to_json(field, item) for key, item in sorted(value.items())}
    if field.is_list:
        return [_value_to_json(field, item) for item in value]
    return _value_to_json(field, value)


def _value_to_json(field: Field, value: Any) -> Any:
    if field.type is Type.MESSAGE:
        if value.DESCRIPTOR.full_name.startswith(WELL_KNOWN):
            # Timestamps, durations and statuses have a JSON form of their own.
            return json_format.MessageToDict(value, preserving_proto_field_name=True)
        return to_dict(value)
    if field.type is Type.CHOICE and field.enum is not None:
        known = field.enum.values_by_number.get(value)
        return value if known is None else known.name
    if field.type is Type.BYTES:
        return base64.b64encode(value).decode("ascii")
    if field.is_object:
        return json_objects.as_object(value)
    return value


class _EnoughError(Exception):
    """More is wrong than is told."""


class _Reader:
    """Reads one value and collects what is wrong with it, up to one violation beyond the limit."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def refuse(self, path: str, found: object, allowed: str, hint: str = "") -> None:
        self._add(Violation(path, shown(found), allowed, hint))

    def _add(self, violation: Violation) -> None:
        self.violations.append(violation)
        if len(self.violations) > MAX_VIOLATIONS:
            raise _EnoughError

    def message(self, message: Message, value: object, path: str, depth: int) -> None:
        """Read a message from an object, its shorthand or the bare name of a member."""
        descriptor = descriptor_of(message)
        if isinstance(value, type(message)):
            message.CopyFrom(value)
            return
        if depth > MAX_DEPTH:
            self.refuse(path, value, f"at most {MAX_DEPTH} levels")
            return
        if descriptor.full_name.startswith(WELL_KNOWN):
            self._well_known(message, value, path)
            return
        if not isinstance(value, Mapping):
            value = self._long_form(descriptor, value, path)
            if value is None:
                return
        known = spellings(descriptor)
        by_oneof: dict[str, str] = {}
        by_field: dict[str, str] = {}
        for name, item in value.items():
            field = known.get(name) if isinstance(name, str) else None
            if field is None or not isinstance(name, str):
                self._unknown(descriptor, name, item, path)
                continue
            if item is None:
                continue
            first = by_field.setdefault(field.name, name)
            if first != name:
                self._both_names(field, first, name, path)
                continue
            if field.oneof:
                if field.oneof in by_oneof:
                    self._both(descriptor, field, by_oneof[field.oneof], path)
                    continue
                by_oneof[field.oneof] = field.name
            self._field(message, field, item, joined(path, field.name), depth)

    def _long_form(
        self, descriptor: Descriptor, value: object, path: str
    ) -> Mapping[object, object] | None:
        """Turn a shorthand into an object; None where it is none, which is then reported."""
        members = choices(descriptor)
        if isinstance(value, str) and value in _bare_members(descriptor):
            return {value: {}}
        if shorthand(descriptor):
            return {shorthand(descriptor): value}
        if isinstance(value, str) and members:
            self.refuse(
                path, value, allowed_names(descriptor, members, value), hint_for(descriptor, value)
            )
            return None
        self.refuse(path, value, f"an object ({', '.join(fields(descriptor))})")
        return None

    def _unknown(self, descriptor: Descriptor, name: object, item: object, path: str) -> None:
        known = fields(descriptor)
        text = name if isinstance(name, str) else str(shown(name))
        allowed = allowed_names(descriptor, known, text) if known else "an empty object"
        hint = hint_for(descriptor, text) or elsewhere(descriptor, text, item)
        self.refuse(joined(path, text), name, allowed, hint)

    def _both(self, descriptor: Descriptor, field: Field, first: str, path: str) -> None:
        members = one_of(oneofs(descriptor)[field.oneof])
        found = f"both {first} and {field.name}"
        self._add(Violation(joined(path, field.name), found, f"only {members}"))

    def _both_names(self, field: Field, first: str, second: str, path: str) -> None:
        alias = second if first == field.name else first
        hint = f"{alias} is another name for {field.name}"
        found, allowed = f"both {first} and {second}", f"only one of {first}, {second}"
        self._add(Violation(joined(path, second), found, allowed, hint))

    def _field(self, message: Message, field: Field, item: object, path: str, depth: int) -> None:
        if field.is_map:
            self._map(message, field, item, path)
        elif field.is_list:
            self._list(message, field, item, path, depth)
        elif field.type is Type.MESSAGE:
            part = getattr(message, field.name)
            # A member without parameters is chosen by its presence alone.
            part.SetInParent()
            self.message(part, item, path, depth + 1)
        else:
            value = self._scalar(field, item, path)
            if value is not None:
                setattr(message, field.name, value)

    def _list(self, message: Message, field: Field, items: object, path: str, depth: int) -> None:
        if isinstance(items, (str, bytes)) or not isinstance(items, Sequence):
            self.refuse(path, items, f"a list, each {field.allowed}", "enclose it in [ ]")
            return
        if not items and field.default is not None:
            # Protobuf cannot tell an empty list from none, and none means the default.
            self.refuse(path, items, "at least 1 item", f"leave it out for {field.default}")
            return
        target = getattr(message, field.name)
        for index, item in enumerate(items):
            at = f"{path}[{index}]"
            if field.type is Type.MESSAGE:
                element = target.add()
                if item is None:
                    self.refuse(at, item, field.allowed)
                else:
                    self.message(element, item, at, depth + 1)
            else:
                value = self._scalar(field, item, at)
                if value is not None:
                    target.append(value)

    def _map(self, message: Message, field: Field, items: object, path: str) -> None:
        if not isinstance(items, Mapping):
            self.refuse(path, items, f"an object, each value {field.allowed}")
            return
        target = getattr(message, field.name)
        for key, item in items.items():
            if not isinstance(key, str) or not _is_text(key):
                self.refuse(path, key, "text as a name", "put it in quotes")
                continue
            value = self._scalar(field, item, joined(path, key))
            if value is not None:
                target[key] = value

    def _scalar(self, field: Field, item: object, path: str) -> Any:
        """Give the value as protobuf takes it, or None after having refused it."""
        if field.type is Type.NUMBER:
            return self._number(field, item, path)
        if field.type is Type.INTEGER:
            return self._integer(field, item, path)
        if field.type is Type.FLAG:
            if isinstance(item, bool):
                return item
            hint = flag_hint(item)
            self.refuse(path, item, field.allowed, hint)
            return None
        if field.type is Type.CHOICE and field.enum is not None:
            # Not in values_by_name, which takes no text that is not UTF-8.
            if isinstance(item, str) and item in field.names:
                return field.enum.values_by_name[item].number
            near = nearest(item, field.names) if isinstance(item, str) else ""
            self.refuse(path, item, field.allowed, near)
            return None
        if field.type is Type.TEXT:
            if field.is_object and isinstance(item, Mapping):
                item = json_objects.as_text(item)
            if field.from_number and (number := _real(item)) is not None:
                item = number_text(number)
            if isinstance(item, str) and _is_text(item):
                return item
            quotes = not isinstance(item, str) and not field.is_object
            self.refuse(path, item, field.allowed, "put it in quotes" if quotes else "")
            return None
        self.refuse(path, item, field.type.value)
        return None

    def _number(self, field: Field, item: object, path: str) -> float | None:
        number = _real(item)
        if number is not None:
            try:
                value = float(number)
            except OverflowError:
                value = math.inf
            if math.isfinite(value):
                return value
        self.refuse(path, item, field.allowed, number_hint(item))
        return None

    def _integer(self, field: Field, item: object, path: str) -> int | None:
        number = _real(item)
        if number is not None:
            low, high = field.range or (-math.inf, math.inf)
            # A comparison first: int() of an infinity raises.
            if low <= number <= high and number == int(number):
                return int(number)
        self.refuse(path, item, field.allowed, number_hint(item))
        return None

    def _well_known(self, message: Message, value: Any, path: str) -> None:
        try:
            json_format.ParseDict(value, message)
        except (json_format.ParseError, ValueError, TypeError):
            self.refuse(path, value, f"a {message.DESCRIPTOR.name.lower()}")


def _bare_members(descriptor: Descriptor) -> list[str]:
    """Give the members that exclude each other and hold messages: a bare name chooses one."""
    return [
        name
        for name, field in spellings(descriptor).items()
        if field.oneof and field.type is Type.MESSAGE
    ]


def _real(item: object) -> int | float | None:
    """Give a number, also one of numpy's; None for all else and for flags."""
    if isinstance(item, bool):
        return None
    if isinstance(item, (int, float)):
        return item
    if isinstance(item, numbers.Integral):
        return int(item)
    return float(item) if isinstance(item, numbers.Real) else None


def _is_text(value: str) -> bool:
    # Protobuf holds UTF-8, which has no lone surrogates; JSON can name them.
    return not any("\ud800" <= character <= "\udfff" for character in value)
