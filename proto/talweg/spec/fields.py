"""The fields of a message as its descriptor and options describe them, read once a message type.

Everything in this package that knows a field's type, default or bounds knows it from here.
"""

import enum
import functools
import math
import re
import struct
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from talweg.spec.errors import number_text
from talweg.v1 import options_pb2

# Of float32.
_LEAST_NORMAL = 2.0**-126

# The oneof by which a message chooses one of several members.
CHOICE = "kind"


class Type(enum.Enum):
    """What a field holds, as people see it."""

    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    CHOICE = "one of"
    MESSAGE = "message"


_TYPES = {
    FieldDescriptor.CPPTYPE_DOUBLE: Type.NUMBER,
    FieldDescriptor.CPPTYPE_FLOAT: Type.NUMBER,
    FieldDescriptor.CPPTYPE_INT32: Type.INTEGER,
    FieldDescriptor.CPPTYPE_INT64: Type.INTEGER,
    FieldDescriptor.CPPTYPE_UINT32: Type.INTEGER,
    FieldDescriptor.CPPTYPE_UINT64: Type.INTEGER,
    FieldDescriptor.CPPTYPE_BOOL: Type.FLAG,
    FieldDescriptor.CPPTYPE_STRING: Type.TEXT,
    FieldDescriptor.CPPTYPE_ENUM: Type.CHOICE,
    FieldDescriptor.CPPTYPE_MESSAGE: Type.MESSAGE,
}
_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: (-3.4028234663852886e38, 3.4028234663852886e38),
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a number; None where there is none."""

    gt: float | None = None
    """Greater than."""
    ge: float | None = None
    """Greater than or equal to."""
    lt: float | None = None
    """Less than."""
    le: float | None = None
    """Less than or equal to."""

    def allow(self, value: float) -> bool:
        """Tell whether a number is within the bounds; NaN never is, nor is infinity."""
        return (
            math.isfinite(value)
            and (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
        )

    def allow_in_float32(self, value: float) -> bool:
        """Tell whether a number within the bounds stays so in float32.

        There it must be neither infinite, nor 0 in place of next to nothing, nor an excluded
        bound; rounding at an included bound is no matter.
        """
        rounded = as_float32(value)
        return (
            math.isfinite(rounded)
            and (rounded != 0 or value == 0)
            and (self.gt is None or rounded > self.gt)
            and (self.lt is None or rounded < self.lt)
        )

    def __str__(self) -> str:
        """Write the bounds as conditions: ``> 0, <= 1``; empty where there are none."""
        conditions = (("> ", self.gt), (">= ", self.ge), ("< ", self.lt), ("<= ", self.le))
        return ", ".join(sign + number_text(at) for sign, at in conditions if at is not None)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    name: str
    """Its name, in JSON too."""
    descriptor: FieldDescriptor
    """What protobuf knows of it."""
    type: Type
    """What it holds; for a list or map, what each item holds."""
    is_list: bool
    """It holds a list."""
    is_map: bool
    """It holds an object with names of the writer's choice."""
    has_presence: bool
    """Absence can be told from every value."""
    oneof: str
    """The oneof that it is a member of; empty where none."""
    range: tuple[float, float] | None
    """The least and largest number that its type holds."""
    bounds: Bounds
    """The bounds of a number."""
    default: object
    """The value that absence means: a number, text, flag, an enum's number, a list of numbers, or
    the name of a member for messages; None where absence means none or what other fields say."""
    max_length: int | None
    """Characters at the most."""
    pattern: re.Pattern[str] | None
    """What the whole text must match."""
    pattern_means: str
    """The pattern in words."""
    is_object: bool
    """The text is a JSON object, and is written as one."""
    from_number: bool
    """A number is taken as the text that writes it."""
    min_items: int
    """Items at the least."""
    max_items: int | None
    """Items at the most."""
    required: bool
    """Absence is a violation."""
    fill: bool
    """Absence means a message with all its defaults."""
    enum: EnumDescriptor | None
    """The names that may be chosen from."""
    message: Descriptor | None
    """The message that it holds; for a map with messages, the entry's."""
    aliases: tuple[str, ...]
    """Other names that are accepted for it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the enum's values."""
        return () if self.enum is None else tuple(value.name for value in self.enum.values)

    @property
    def allowed(self) -> str:
        """What one value may be, in words: ``a number > 0``."""
        if self.type is Type.NUMBER:
            return f"a number {self.bounds}".rstrip()
        if self.type is Type.INTEGER:
            return f"an integer {self._integer_bounds()}".rstrip()
        if self.type is Type.FLAG:
            return "true or false"
        if self.type is Type.CHOICE:
            names = self.names
            return names[0] if len(names) == 1 else "one of " + ", ".join(names)
        if self.is_object:
            return f"an object of at most {self.max_length} characters"
        if self.type is Type.TEXT:
            length = "" if self.max_length is None else f" of at most {self.max_length} characters"
            meaning = f": {self.pattern_means}" if self.pattern_means else ""
            return f"text{length}{meaning}"
        if self.type is Type.MESSAGE and self.message is not None:
            return f"an object ({', '.join(fields(self.message))})"
        return str(self.type.value)

    def _integer_bounds(self) -> str:
        bounds, limits = self.bounds, self.range
        if limits is None:
            return str(bounds)
        low, high = limits
        if bounds.ge is None and bounds.gt is None:
            bounds = Bounds(ge=low, lt=bounds.lt, le=bounds.le)
        if bounds.le is None and bounds.lt is None:
            bounds = Bounds(ge=bounds.ge, gt=bounds.gt, le=high)
        return str(bounds)


def as_float32(value: float) -> float:
    """Give the number that float32 holds in place of another; 0 for one that is next to nothing.

    Numbers below the least normal one are 0 to processors that flush them.
    """
    try:
        rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded if abs(rounded) >= _LEAST_NORMAL else math.copysign(0.0, value)


def descriptor_of(message: Message) -> Descriptor:
    """Give a message's descriptor, under the one of its two type names that is used here."""
    descriptor: Descriptor = message.DESCRIPTOR  # type: ignore[assignment]
    return descriptor


@functools.cache
def fields(message: Descriptor) -> dict[str, Field]:
    """Give a message's fields by name, in the order of their declaration."""
    return {field.name: _read(field) for field in message.fields}


@functools.cache
def spellings(message: Descriptor) -> dict[str, Field]:
    """Return a message's fields by every name that is accepted: their own names and aliases."""
    known = fields(message)
    return known | {alias: field for field in known.values() for alias in field.aliases}


@functools.cache
def hints(message: Descriptor) -> dict[str, str]:
    """Return what to write in place of names that the message does not have."""
    return {hint.name: hint.text for hint in message.GetOptions().Extensions[options_pb2.hint]}


@functools.cache
def choices(message: Descriptor) -> tuple[str, ...]:
    """Give the members of a message's oneof ``kind``; none where it has no such oneof."""
    oneof = message.oneofs_by_name.get(CHOICE)
    return () if oneof is None else tuple(field.name for field in oneof.fields)


@functools.cache
def oneofs(message: Descriptor) -> dict[str, tuple[str, ...]]:
    """Give the members of each oneof that the message declares."""
    return {
        oneof.name: tuple(field.name for field in oneof.fields)
        for oneof in message.oneofs
        if not _is_synthetic(oneof.name, [field.name for field in oneof.fields])
    }


@functools.cache
def shorthand(message: Descriptor) -> str:
    """Give the field that a bare value in place of the message's object stands for, or ''."""
    field: str = message.GetOptions().Extensions[options_pb2.shorthand]
    return field


def title(message: Descriptor) -> str:
    """Return the standard term for what the message describes; empty where it has none."""
    term: str = message.GetOptions().Extensions[options_pb2.title]
    return term


@functools.cache
def exactly_one(message: Descriptor) -> tuple[str, ...]:
    """Give the fields of which one and no other must be set; none where there is no such rule."""
    return tuple(message.GetOptions().Extensions[options_pb2.exactly_one])


def _is_synthetic(oneof: str, members: list[str]) -> bool:
    # `optional` fields each stand in a oneof of their own that protobuf invents.
    return members == [oneof.removeprefix("_")] and oneof.startswith("_")


def _read(field: FieldDescriptor) -> Field:
    options = field.GetOptions().Extensions
    number = options[options_pb2.number]
    text = options[options_pb2.text]
    items = options[options_pb2.items]
    part = options[options_pb2.part]
    entry = field.message_type
    is_map = False
    value = field
    if entry is not None and entry.GetOptions().map_entry:
        is_map = True
        value = entry.fields_by_name["value"]
    oneof = field.containing_oneof
    if oneof is not None and _is_synthetic(oneof.name, [member.name for member in oneof.fields]):
        oneof = None
    kind = Type.BYTES if value.type == FieldDescriptor.TYPE_BYTES else _TYPES[value.cpp_type]
    return Field(
        name=field.name,
        descriptor=field,
        type=kind,
        is_list=field.is_repeated and not is_map,
        is_map=is_map,
        has_presence=field.has_presence,
        oneof="" if oneof is None else oneof.name,
        range=_RANGES.get(value.cpp_type),
        bounds=Bounds(
            **{
                name: getattr(number, name)
                for name in ("gt", "ge", "lt", "le")
                if number.HasField(name)
            }
        ),
        default=_default(field, kind),
        max_length=text.max_length if text.HasField("max_length") else None,
        pattern=re.compile(text.pattern) if text.HasField("pattern") else None,
        pattern_means=text.pattern_means,
        is_object=text.object,
        from_number=text.from_number,
        min_items=items.min,
        max_items=items.max if items.HasField("max") else None,
        required=part.required or text.required,
        fill=part.fill,
        enum=value.enum_type,
        message=value.message_type,
        aliases=tuple(options[options_pb2.alias]),
    )


def _default(field: FieldDescriptor, kind: Type) -> object:
    options = field.GetOptions().Extensions
    integer = kind is Type.INTEGER
    if field.is_repeated:
        values = options[options_pb2.items].default
        return [int(value) if integer else value for value in values] or None
    rules = (
        options[options_pb2.number],
        options[options_pb2.text],
        options[options_pb2.flag],
        options[options_pb2.part],
    )
    for rule in rules:
        if rule.HasField("default"):
            value: object = rule.default
            return int(rule.default) if integer else value
    if field.enum_type is not None and field.has_presence:
        # An enum's first value is its default.
        return field.enum_type.values[0].number
    return None
