"""Valid specs made wrong: as job files and as messages."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import yaml
from google.protobuf.message import Message
from tests.fuzz.messages import REALS, TEXTS, damaged, put, scatter

from talweg.spec import to_dict
from talweg.v1.spec_pb2 import JobSpec

_NAMES = (
    "los", "learning_rate", "__class__", "", " ", "0", "a.b", "[0]", "kind", "\0", "\x1b[2J", "<<",
    "x" * 3000, "null", "ｌoss",
)  # fmt: skip


def wrong_job_file(spec: JobSpec, rng: random.Random) -> str:
    """Return a spec as the text of a job file, with some of it wrong."""
    value: Any = to_dict(spec)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        value = _mutated(value, rng)
    text = _written(value, rng)
    if rng.random() < 0.3:
        text = damaged(text.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "replace")
    return text


def _written(value: Any, rng: random.Random) -> str:
    ascii_only = rng.random() < 0.5
    if rng.random() < 0.5:
        # Where it is nested too deeply, the writer of YAML gives up before the reader does.
        with suppress(RecursionError):
            return yaml.safe_dump(value, allow_unicode=not ascii_only)
    return json.dumps(value, ensure_ascii=ascii_only)


def _mutated(root: Any, rng: random.Random) -> Any:
    """Change one place of plain data."""
    holder: Any = None
    place: Any = None
    value = root
    while isinstance(value, dict | list) and value and rng.random() < 0.85:
        holder = value
        place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = value[place]
    change = rng.choice(_CHANGES)(value, rng)
    if holder is None:
        return {} if change is _GONE else change
    if change is _GONE:
        del holder[place]
    else:
        holder[place] = change
    return root


_GONE = object()


def _another(value: Any, rng: random.Random) -> Any:
    return rng.choice(
        [None, True, 0, -1, 2**31, 2**64, -(10**30), 10**400, 1.5, "", [], {}, [[]], {"": None},
         [value], {"a": value}, str(value), *REALS]
    )  # fmt: skip


def _text(value: Any, rng: random.Random) -> Any:
    return rng.choice(TEXTS)


def _gone(value: Any, rng: random.Random) -> Any:
    return _GONE


def _further(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {**value, rng.choice(_NAMES): rng.choice([None, 1, "x", {}, []])}
    if isinstance(value, list):
        return value * rng.choice([2, 30, 2000])
    return {rng.choice(_NAMES): value}


def _nested(value: Any, rng: random.Random) -> Any:
    name = rng.choice(["loss", "terms", "sum", "a"])
    for _ in range(rng.choice([3, 30, 60, 200])):
        value = [value] if rng.random() < 0.3 else {name: value}
    return value


def _sums(value: Any, rng: random.Random) -> Any:
    loss: Any = "mse"
    for _ in range(rng.choice([1, 5, 12, 40])):
        loss = {"sum": {"terms": [{"loss": loss, "weight": rng.choice([1, 0, "x"])}]}}
    return loss


_CHANGES: list[Callable[[Any, random.Random], Any]] = [
    _another, _another, _text, _gone, _further, _nested, _sums,
]  # fmt: skip


def wrong_message(spec: JobSpec, rng: random.Random) -> bytes:
    """Return a spec as a message's bytes, with some of it wrong."""
    wrong = JobSpec()
    wrong.CopyFrom(spec)
    if rng.random() < 0.1:
        scatter(wrong, rng, share=0.4)
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        _change(wrong, rng)
    data = wrong.SerializeToString()
    return damaged(data, rng) if rng.random() < 0.3 else data


def _change(message: Message, rng: random.Random) -> None:
    parts: list[Any] = [
        part
        for descriptor, value in message.ListFields()
        if descriptor.message_type is not None
        and not descriptor.message_type.GetOptions().map_entry
        for part in (value if descriptor.is_repeated else [value])
    ]
    if parts and rng.random() < 0.8:
        return _change(rng.choice(parts), rng)
    fields = message.DESCRIPTOR.fields
    if fields:
        field: Any = rng.choice(fields)
        if rng.random() < 0.25:
            message.ClearField(field.name)
        else:
            put(message, field, rng, share=0.3, depth=4)
    return None
