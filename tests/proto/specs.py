"""Specs for the tests of specs: one that is in order, and random ones by their descriptors."""

import copy
import json
import math
import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from talweg.spec import SpecError, Violation, check, fill, from_dict
from talweg.spec.fields import Field, Type, choices, descriptor_of, fields, oneofs
from talweg.v1 import options_pb2
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.spec_pb2 import JobSpec

BASE: dict[str, Any] = {
    "task": "regression",
    "dataset": "diabetes",
    "model": {"mlp": {"hidden": [64, 64]}},
    "loss": {"huber": {"delta": 1.0}},
    "optimizer": {"adamw": {"learning_rate": 0.003}},
    "training": {"epochs": 60, "batch_size": 32, "seed": 0},
}


OWN_DATA = ("stored", "file", "uri", "plugin")
"""The members of `Dataset` for data of users, of which the catalogue knows no sizes."""


def base(**changes: Any) -> dict[str, Any]:
    """Give a spec in order, with some fields replaced."""
    return {**copy.deepcopy(BASE), **changes}


def classes(**changes: Any) -> dict[str, Any]:
    """Give a spec of classes of images in order, with some fields replaced."""
    parts: dict[str, Any] = {
        "task": "multiclass",
        "dataset": "digits",
        "loss": "cross_entropy",
        **changes,
    }
    return base(**parts)


def layers(*items: Any, **changes: Any) -> dict[str, Any]:
    """Give a spec of images with layers of one's own."""
    return classes(model={"sequential": {"layers": list(items)}}, **changes)


def checked(value: dict[str, Any]) -> tuple[list[Violation], list[Warning]]:
    """Fill and check a spec in its JSON form."""
    return check(fill(from_dict(value)))


def refused(value: object) -> list[Violation]:
    """Give what reading refuses."""
    try:
        from_dict(value)
    except SpecError as error:
        return list(error.violations)
    return []


def messages_below(root: Descriptor) -> Iterator[Descriptor]:
    """Give a message and all that its fields hold, each once."""
    seen: dict[str, Descriptor] = {}
    waiting = [root]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen:
            continue
        seen[message.full_name] = message
        waiting += [f.message for f in fields(message).values() if f.message and not f.is_map]
    yield from seen.values()


def random_spec(seed: int) -> JobSpec:
    """Give a spec within all bounds, with parts missing here and there."""
    spec = JobSpec()
    _scatter(spec, random.Random(seed), depth=0)
    return spec


def _scatter(message: Message, rng: random.Random, depth: int) -> None:
    descriptor = descriptor_of(message)
    left_out = set()
    for oneof, members in oneofs(descriptor).items():
        # A sum holds losses again: end the chain.
        usable = [name for name in members if depth < 12 or name != "sum"]
        chosen = rng.choice(usable)
        dropped = oneof != "kind" and rng.random() < 0.3
        left_out |= {name for name in members if name != chosen or dropped}
    needed = ""
    exclusive = list(descriptor.GetOptions().Extensions[options_pb2.exactly_one])
    if exclusive:
        needed = rng.choice(exclusive)
        left_out = {*left_out, *exclusive} - {needed}
    for field in fields(descriptor).values():
        must = field.required or field.min_items or field.name in (*choices(descriptor), needed)
        if field.name in left_out or (not must and rng.random() < 0.4):
            continue
        if field.is_map:
            key = "key.{}" if field.type is Type.TEXT else "key_{}"
            for index in range(rng.randrange(3)):
                getattr(message, field.name)[key.format(index)] = _scalar(field, rng)
        elif field.is_list:
            most = min(field.max_items or 3, 3)
            for _ in range(rng.randint(max(1, field.min_items), most)):
                if field.type is Type.MESSAGE:
                    _scatter(getattr(message, field.name).add(), rng, depth + 1)
                else:
                    getattr(message, field.name).append(_scalar(field, rng))
        elif field.type is Type.MESSAGE:
            part = getattr(message, field.name)
            part.SetInParent()
            _scatter(part, rng, depth + 1)
        else:
            setattr(message, field.name, _scalar(field, rng))


# Texts that a careless writer or reader of YAML takes for something else.
_TEXTS = (
    "plain", "1e-3", "1_000", "0x1F", "010", "true", "Yes", "no", "null", "~", "", " ", "a: b",
    "# c", "2024-01-01", "12:30", ".inf", "- x", "[1]", "{}", "*a", "&a", "!!int 3", "ünïcode ✓",
    '"', "'", "%", "@", "=", "<<", "a\u2028b", "1.", ".5", "+1", "0o7",
)  # fmt: skip


_FORMULAS = ("pred", "-pred", "abs(pred - target)", "1e-3*pred**2", "where(pred < 0, 1, pred)")

_FREE: tuple[Any, ...] = (
    1,
    1.0,
    1e-8,
    -(10**30),
    True,
    None,
    [],
    [1, {"a": 2}],
    {},
    {"a": {"b": [0.5]}},
    *_TEXTS[:20],
)


def _scalar(field: Field, rng: random.Random) -> Any:
    if field.type is Type.FLAG:
        return rng.random() < 0.5
    if field.enum is not None:
        return rng.choice(field.enum.values).number
    if field.name == "formula":
        return rng.choice(_FORMULAS)
    if field.is_object:
        return json.dumps({f"key.{i}": rng.choice(_FREE) for i in range(rng.randrange(3))})
    if field.type is Type.TEXT:
        texts = (
            "2024",
            "1e5",
            "null",
            "a b.c-d",
            "a_1",
            "jobs/a1",
            "0f" * 32,
            "a@b",
            "minimize",
            "'",
        )
        pattern = field.pattern
        most = math.inf if field.max_length is None else field.max_length
        short = [text for text in (*texts, *_TEXTS) if len(text) <= most]
        matching = [text for text in short if pattern is not None and pattern.fullmatch(text)]
        return rng.choice(matching or short)
    bounds = field.bounds
    low = max(x for x in (bounds.gt, bounds.ge, -1e6) if x is not None)
    high = min(x for x in (bounds.lt, bounds.le, 1e6) if x is not None)
    if field.type is Type.INTEGER:
        return rng.randint(max(math.ceil(low), 0), min(math.floor(high), 2**31))
    value = rng.choice([rng.uniform(low, high), low, high, 1e-8, 1 / 3, 1e22])
    return value if bounds.allow(value) else (low + min(high, low + 1)) / 2
