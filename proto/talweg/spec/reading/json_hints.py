"""What is allowed in a place of a spec, and advice on what stands there instead."""

import math
from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor

from talweg.spec.errors import one_of
from talweg.spec.fields import choices, fields, hints, spellings
from talweg.spec.spelling import near, nearest
from talweg.v1.losses_pb2 import Loss

# Of more names than the first a message names as many as the second.
_MOST_NAMED, _SOME = 25, 3


def flag_hint(item: object) -> str:
    """Return advice for what stands in place of true or false; empty where there is none."""
    if isinstance(item, str) and item.lower() in ("yes", "on", "true", "no", "off", "false"):
        return "write true" if item.lower() in ("yes", "on", "true") else "write false"
    return ""


def number_hint(item: object) -> str:
    """Return advice for what stands in place of a number; empty where there is none."""
    if isinstance(item, float) and not math.isfinite(item):
        return "numbers must be finite"
    if not isinstance(item, str):
        return ""
    try:
        float(item)
    except ValueError:
        return ""
    return "write it without quotes"


def allowed_names(descriptor: Descriptor, known: Iterable[str], name: str) -> str:
    """Name what may stand there; of very many names the nearest, else the first."""
    names = list(known)
    if len(names) <= _MOST_NAMED:
        return one_of(names)
    some = near(name, names, most=_SOME) or names[:_SOME]
    listed = "; `talweg losses` lists them" if descriptor is Loss.DESCRIPTOR else ""
    return f"one of {', '.join(some)}, … ({len(names)} in all{listed})"


def hint_for(descriptor: Descriptor, name: str) -> str:
    """Return advice for a name that the message does not have; empty where there is none."""
    return hints(descriptor).get(name) or nearest(name, spellings(descriptor))


def elsewhere(descriptor: Descriptor, name: str, item: object) -> str:
    """Give a hint for a field that stands in the wrong place; empty where it is known nowhere."""
    members = choices(descriptor)
    if members and name in (*descriptor.oneofs_by_name, "type", "name"):
        example = item if isinstance(item, str) and item in members else members[0]
        return f"use the member's name as the field: {{{example}: {{…}}}}"
    paths = _paths_to(descriptor, name, 3)
    return f"did you mean {' or '.join(paths[:3])}?" if paths else ""


def _paths_to(descriptor: Descriptor, name: str, depth: int) -> list[str]:
    paths = []
    for field in fields(descriptor).values():
        if field.message is None or field.is_list or field.is_map:
            continue
        if name in spellings(field.message):
            paths.append(f"{field.name}.{name}")
        elif depth > 1:
            paths += [f"{field.name}.{path}" for path in _paths_to(field.message, name, depth - 1)]
    return paths
