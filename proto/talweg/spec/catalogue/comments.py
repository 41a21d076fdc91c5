"""The comments of the .proto files, by the full name of what they stand above."""

import functools
from collections.abc import Iterator
from importlib.resources import files

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

# Field numbers in google/protobuf/descriptor.proto, of which a comment's place consists.
_FILE_MESSAGES, _FILE_ENUMS, _FILE_SERVICES = 4, 5, 6
_MESSAGE_FIELDS, _MESSAGE_MESSAGES, _MESSAGE_ENUMS = 2, 3, 4
_ENUM_VALUES = 2
_SERVICE_METHODS = 2

_Place = tuple[int, ...]


def comment(full_name: str) -> str:
    """Give the comment above a message, field, enum, enum value, service or RPC, or ''.

    Args:
        full_name: Of what it stands above; a value's is that of its enum and its own.

    Returns:
        The comment as one paragraph.
    """
    return _comments().get(full_name, "")


@functools.cache
def _comments() -> dict[str, str]:
    content = files("talweg.v1").joinpath("descriptors.binpb").read_bytes()
    comments: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(content).file:
        texts = {
            tuple(place.path): " ".join(place.leading_comments.split())
            for place in file.source_code_info.location
        }
        for place, name in _places(file):
            if place in texts:
                comments[name] = texts[place]
    return comments


def _places(file: FileDescriptorProto) -> Iterator[tuple[_Place, str]]:
    for index, message in enumerate(file.message_type):
        yield from _in_message(message, (_FILE_MESSAGES, index), f"{file.package}.{message.name}")
    for index, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, (_FILE_ENUMS, index), f"{file.package}.{enum.name}")
    for index, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_FILE_SERVICES, index), name
        for number, method in enumerate(service.method):
            yield (_FILE_SERVICES, index, _SERVICE_METHODS, number), f"{name}.{method.name}"


def _in_message(message: DescriptorProto, at: _Place, name: str) -> Iterator[tuple[_Place, str]]:
    yield at, name
    for index, field in enumerate(message.field):
        yield (*at, _MESSAGE_FIELDS, index), f"{name}.{field.name}"
    for index, nested in enumerate(message.nested_type):
        yield from _in_message(nested, (*at, _MESSAGE_MESSAGES, index), f"{name}.{nested.name}")
    for index, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, (*at, _MESSAGE_ENUMS, index), f"{name}.{enum.name}")


def _in_enum(enum: EnumDescriptorProto, at: _Place, name: str) -> Iterator[tuple[_Place, str]]:
    yield at, name
    for index, value in enumerate(enum.value):
        # Protobuf gives a value the scope of its enum; here it is told apart by the enum's name.
        yield (*at, _ENUM_VALUES, index), f"{name}.{value.name}"
