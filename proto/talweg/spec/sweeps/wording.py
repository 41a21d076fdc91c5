"""Values and settings of a sweep in words."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from talweg.spec.catalogue.describe import data_name
from talweg.spec.errors import number_text
from talweg.v1.sweeps_pb2 import SweepSpec


def value_text(value: object) -> str:
    """Write a value shortly: ``huber delta=2`` for ``{huber: {delta: 2}}``."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return number_text(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        if len(value) == 1:
            ((name, inner),) = value.items()
            if isinstance(inner, Mapping):
                return " ".join([str(name), *_pairs(inner)])
        return " ".join(_pairs(value)) or "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(value_text, value))}]"
    return str(value)


def _pairs(value: Mapping[Any, Any]) -> list[str]:
    return [str(name) if item == {} else f"{name}={_nested(item)}" for name, item in value.items()]


def _nested(value: object) -> str:
    text = value_text(value)
    return f"({text})" if isinstance(value, Mapping) else text


def setting_text(setting: Iterable[tuple[str, Any]]) -> str:
    """Write a setting in words, each value by the last name of its path."""
    return ", ".join(f"{path.rpartition('.')[2]}={value_text(value)}" for path, value in setting)


def name_of(value: object) -> str:
    """Return the name that a value chooses: ``huber`` for ``{huber: {delta: 2}}``; or ''."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and len(value) == 1:
        return str(next(iter(value)))
    return ""


def sweep_title(spec: SweepSpec) -> str:
    """Return the display name, or what is varied: ``8 values of loss on diabetes``."""
    if spec.display_name:
        return spec.display_name
    named = [part for each in spec.space for part in ([each] if each.path else each.zip[:1])]
    compared = [each for each in named if each.path == spec.compare.path]
    data = data_name(spec.base)
    on = f" on {data}" if data else ""
    for each in (*compared, *named):
        count = len(each.choices) or len(each.values.values)
        return f"{count} values of {each.path}{on}" if count else f"{each.path}{on}"
    return f"sweep{on}"
