"""Specs in words: parameters by name, labels, names of jobs."""

import json
from pathlib import PurePath
from typing import Any

from google.protobuf.message import Message

from talweg.spec.errors import number_text
from talweg.spec.fields import Field, Type, choices, exactly_one, fields, oneofs, shorthand
from talweg.spec.semantics.dataset import is_fold
from talweg.spec.semantics.facts import chosen
from talweg.v1.datasets_pb2 import StoredFacts
from talweg.v1.losses_pb2 import JobModel
from talweg.v1.spec_pb2 import JobSpec


def flatten(spec: Message) -> dict[str, str]:
    """Give every field that is set, by its path, as text.

    Paths hold no brackets (``loss.sum.terms.0.weight``), a list of numbers is one value
    (``[64, 64]``), and a choice is a value too (``loss`` is ``huber``).
    """
    values: dict[str, str] = {}
    _flatten(spec, "", values)
    return values


def _flatten(message: Message, path: str, values: dict[str, str]) -> None:
    name = chosen(message) or _chosen_message(message)
    if path and name:
        values[path] = name
    prefix = f"{path}." if path else ""
    for descriptor, value in message.ListFields():
        field = fields(message.DESCRIPTOR)[descriptor.name]
        key = f"{prefix}{field.name}"
        if field.is_map:
            for item in sorted(value):
                values[f"{key}.{item}"] = _text(field, value[item])
        elif field.type is not Type.MESSAGE:
            values[key] = _list_text(field, value) if field.is_list else _text(field, value)
        elif isinstance(value, StoredFacts):
            continue  # What the server has found out: it follows from the digest.
        elif field.is_list:
            for index, item in enumerate(value):
                _flatten(item, f"{key}.{index}", values)
        else:
            _flatten(value, key, values)


def label(message: Message) -> str:
    """Name a choice with its parameters that differ from their defaults: ``huber delta=2``.

    Of a message that is no choice, the parameters that differ alone.
    """
    name = chosen(message)
    if choices(message.DESCRIPTOR) and not name:
        return "nothing"
    if not name and exactly_one(message.DESCRIPTOR):
        name = _chosen_message(message)
    body: Message = getattr(message, name) if name else message
    changes = _changes(body)
    if not name and shorthand(message.DESCRIPTOR):
        # Its one field stands for it: [1, 2] and not values=[1, 2].
        changes = [change.partition("=")[2] for change in changes]
    return " ".join(filter(None, [name + _items(body), *changes]))


def _items(body: Message) -> str:
    """Write what a sum or a sequence consists of: ``(mse, huber delta=2)``."""
    for field in fields(body.DESCRIPTOR).values():
        items = getattr(body, field.name)
        if field.is_list and field.type is Type.MESSAGE and len(items):
            return f"({', '.join(label(item) for item in items)})"
    return ""


def _changes(body: Message) -> list[str]:
    """Write the fields that differ from their defaults."""
    changes = []
    for descriptor, value in body.ListFields():
        if isinstance(body, JobModel) and descriptor.name == "sha256":
            continue  # The job's name says as much.
        field = fields(body.DESCRIPTOR)[descriptor.name]
        if field.is_map:
            changes += [f"{name}={_text(field, value[name])}" for name in sorted(value)]
        elif field.type is not Type.MESSAGE:
            if field.is_list and list(value) != field.default:
                changes.append(f"{field.name}={_list_text(field, value)}")
            elif not field.is_list and value != field.default:
                changes.append(f"{field.name}={_text(field, value)}")
        elif not field.is_list:
            if choices(value.DESCRIPTOR):
                changes.append(label(value))
            elif _chosen_message(value):
                changes.append(f"{field.name}={' '.join(_changes(value)).removesuffix('()')}")
            elif shorthand(value.DESCRIPTOR):
                # Its one field stands for it: weight=[1, 2].
                inner = " ".join(_changes(value)).partition("=")[2]
                changes.append(f"{field.name}={inner}")
            else:
                changes.append(f"{field.name}({label(value)})")
    return changes


def _chosen_message(message: Message) -> str:
    """Give the member that is set of those messages that exclude each other, or ''."""
    known = fields(message.DESCRIPTOR)
    for oneof in oneofs(message.DESCRIPTOR):
        name: str | None = message.WhichOneof(oneof)
        if name and known[name].type is Type.MESSAGE:
            return name
    return ""


def seed_of(spec: JobSpec) -> int:
    """Give the seed that decides first weights, batches and dropout."""
    return spec.training.seed


def display_name(spec: JobSpec) -> str:
    """Give the spec's display name; ``huber on diabetes, seed 0`` where it has none."""
    if spec.display_name:
        return spec.display_name
    if spec.HasField("replay"):
        return f"replay of step {spec.replay.step} of {spec.replay.job.removeprefix('jobs/')}"
    if spec.HasField("test_of"):
        return f"test of {spec.test_of.job.removeprefix('jobs/')}"
    loss = chosen(spec.loss) or "nothing"
    fold = f", fold {spec.split.fold} of {spec.split.folds}" if is_fold(spec.split) else ""
    return f"{loss} on {data_name(spec) or 'nothing'}{fold}, seed {seed_of(spec)}"


def data_name(spec: JobSpec) -> str:
    """Name the data set that a spec chooses; stored data by their own name, '' where none is."""
    name = chosen(spec.dataset)
    if name == "stored":
        return spec.dataset.stored.name.removeprefix("datasets/").partition("@")[0]
    if name == "plugin":
        return spec.dataset.plugin.name
    if name == "uri":
        return spec.dataset.uri.uri.rpartition("/")[2]
    return PurePath(spec.dataset.file.path).name if name == "file" else name


def _list_text(field: Field, values: Any) -> str:
    return f"[{', '.join(_text(field, value) for value in values)}]"


def _text(field: Field, value: Any) -> str:
    if field.type is Type.NUMBER:
        return number_text(value)
    if field.type is Type.FLAG:
        return json.dumps(value)
    if field.type is Type.CHOICE and field.enum is not None:
        known = field.enum.values_by_number.get(value)
        return str(value) if known is None else known.name
    return str(value)
