"""Field numbers: what is not used is reserved, unless it is kept free for more of the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

FILES = FileDescriptorSet.FromString(
    (Path(__file__).parents[2] / "proto/talweg/v1/descriptors.binpb").read_bytes()
)

# Kept free for more members of these choices.
FREE = {
    "Dataset": range(7, 20),
    "Layer": range(11, 20),
    "Loss": range(66, 100),
}
# What all losses have, behind whatever each one has of its own.
COMMON = {"reduction": 15}


def messages(siblings: Sequence[DescriptorProto]) -> Iterator[DescriptorProto]:
    for message in siblings:
        yield message
        yield from messages(message.nested_type)


MESSAGES = [
    message
    for file in FILES.file
    if file.package == "talweg.v1"
    for message in messages(file.message_type)
    if message.field
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_numbers_without_a_field_are_reserved(message: DescriptorProto) -> None:
    numbers = {f.number for f in message.field if COMMON.get(f.name) != f.number}
    reserved = {n for gap in message.reserved_range for n in range(gap.start, gap.end)}
    free = set(FREE.get(message.name, ()))
    used_up_to = max(numbers, default=0)
    assert set(range(1, used_up_to)) - numbers - reserved - free == set()
