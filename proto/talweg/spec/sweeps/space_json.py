"""Spaces as JSON, in which the server gives them to the search process."""

from collections.abc import Mapping
from typing import Any

from talweg.spec.sweeps.space import Choices, Node, Product, Uniform, Values


def space_to_json(node: Node) -> dict[str, Any]:
    """Return what `space_from_json` reads."""
    match node:
        case Product(nodes):
            return {"product": [space_to_json(each) for each in nodes]}
        case Choices(path, options):
            return {
                "choices": [[value, space_to_json(space)] for value, space in options],
                "path": path,
            }
        case Values(paths, rows):
            return {"values": [list(row) for row in rows], "paths": list(paths)}
        case Uniform(path, low, high, is_log, is_integer):
            return {
                "interval": [low, high],
                "path": path,
                "is_log": is_log,
                "is_integer": is_integer,
            }
    raise TypeError(f"a space of no known kind: {type(node).__name__}")


def space_from_json(data: Mapping[str, Any]) -> Product:
    """Return a space.

    Raises:
        ValueError: It is none.
    """
    node = _node(data)
    if not isinstance(node, Product):
        raise ValueError("a space must be a product")
    return node


def _node(data: Mapping[str, Any]) -> Node:
    match data:
        case {"product": [*nodes]}:
            return Product([_node(each) for each in nodes])
        case {"choices": [_, *_] as options, "path": str(path)}:
            return Choices(path, [(value, space_from_json(space)) for value, space in options])
        case {"values": [_, *_] as rows, "paths": [_, *_] as paths}:
            if all(len(row) == len(paths) for row in rows):
                return Values(paths, rows)
        case {
            "interval": [int() | float() as low, int() | float() as high],
            "path": str(path),
            "is_log": bool(is_log),
            "is_integer": bool(is_integer),
        } if low <= high and (low > 0 or not is_log):
            return Uniform(path, low, high, is_log, is_integer)
    raise ValueError(f"no part of a space: {data!r:.200}")
