"""Random messages of any type, and bytes that are nearly or not at all one."""

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from tests._hostile import ADDRESSES, CHECKPOINTS, DIGESTS, PATHS

TEXTS: Sequence[str] = (
    "", "a", "default", "val/loss", "state = RUNNING", "tags.a = \"b\"", "-", "%", "\0", "\x1b[2J",
    "\u202e", "ünïcode ✓", "1e999", "nan", "'; DROP TABLE jobs; --", "x" * 5000, "(" * 300,
    "jobs/", "jobs/none", *PATHS, *CHECKPOINTS, *DIGESTS, *ADDRESSES,
)  # fmt: skip
"""Texts that somebody careless or hostile would write."""

REALS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-320, 1e-45, 1e-30, 1e30, 1e39, -1e39, 1e308, float("inf"),
    float("-inf"), float("nan"),
)  # fmt: skip
"""Numbers at which arithmetic goes wrong."""

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_MAX_DEPTH = 9


def scatter(
    message: Message,
    rng: random.Random,
    *,
    texts: Sequence[str] = TEXTS,
    share: float = 0.5,
    depth: int = 0,
) -> None:
    """Set fields of a message at random, whatever they mean.

    Args:
        message: Is changed.
        rng: Where chance comes from.
        texts: What texts are drawn from.
        share: The probability that a field is set.
        depth: How deep the message stands in another.
    """
    for field in message.DESCRIPTOR.fields:
        if rng.random() < share:
            put(message, field, rng, texts=texts, share=share, depth=depth)


def put(
    message: Message,
    field: Any,
    rng: random.Random,
    *,
    texts: Sequence[str] = TEXTS,
    share: float = 0.5,
    depth: int = 0,
) -> None:
    """Set a field of a message at random; see `scatter`."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        values = getattr(message, field.name)
        value = entry.fields_by_name["value"]
        for _ in range(rng.choice([0, 1, 3])):
            key = rng.choice(texts)
            if value.message_type is None:
                values[key] = _scalar(value, rng, texts)
            else:
                values[key].SetInParent()
    elif entry is not None:
        if depth >= _MAX_DEPTH:
            return
        parts = [getattr(message, field.name)]
        if field.is_repeated:
            parts = [parts[0].add() for _ in range(rng.choice([0, 1, 1, 3]))]
        for part in parts:
            part.SetInParent()
            # Each level holds less, lest all of it be huge.
            scatter(part, rng, texts=texts, share=share * 0.8, depth=depth + 1)
    elif field.is_repeated:
        number = rng.choice([0, 1, 2, 3, 70])
        getattr(message, field.name).extend(_scalar(field, rng, texts) for _ in range(number))
    else:
        setattr(message, field.name, _scalar(field, rng, texts))


def _scalar(field: Any, rng: random.Random, texts: Sequence[str]) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice([0, 1, 40]))
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(texts)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        known = [value.number for value in field.enum_type.values]
        return rng.choice([*known, *known, max(known) + 1, -1, 2**31 - 1])
    if field.cpp_type in _RANGES:
        low, high = _RANGES[field.cpp_type]
        return rng.choice([low, high, 0, 1, 2, 3, 7, 100, 1000, rng.randint(low, high)])
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return rng.choice([each for each in REALS if abs(each) < 3e38 or each in (0,)])
    return rng.choice(REALS)


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with some of them changed, taken out, doubled or put in."""
    result = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at = rng.randrange(len(result) + 1)
        match rng.randrange(4):
            case 0 if at < len(result):
                result[at] ^= 1 << rng.randrange(8)
            case 1:
                del result[at : at + rng.choice([1, 2, 10])]
            case 2:
                result[at:at] = rng.randbytes(rng.choice([1, 4]))
            case _:
                result[at:at] = result[at : at + rng.choice([1, 8, 64])]
    return bytes(result)
