"""Texts that hold a JSON object: free parameters, whose fields no message can name."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from talweg.spec.errors import shown

# As deep as a job file may be.
_MAX_DEPTH = 50


def as_text(value: Mapping[Any, Any]) -> object:
    """Write an object as the text that stands for it; what JSON cannot hold stays as it is."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return value


def as_object(text: str) -> Any:
    """Read an object that `as_text` wrote; any other text stays as it is."""
    try:
        value = read(text)
    except ValueError:
        return text
    return value if as_text(value) == text else text


def read(text: str) -> dict[str, Any]:
    """Read a text that holds a JSON object.

    Raises:
        ValueError: It holds none; the message says what instead.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"text that is not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise ValueError(shown(value))
    if _depth(value, 0) > _MAX_DEPTH:
        raise ValueError(f"an object of more than {_MAX_DEPTH} levels")
    return value


def _depth(value: object, depth: int) -> int:
    if depth > _MAX_DEPTH or not isinstance(value, (dict, list)):
        return depth
    items = value.values() if isinstance(value, dict) else value
    return max((_depth(item, depth + 1) for item in items), default=depth + 1)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
