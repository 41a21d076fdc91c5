"""Holds what a job sets of a plug-in against what the plug-in declares."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from talweg.spec.errors import Violation, joined, one_of, shown
from talweg.spec.fields import Bounds
from talweg.spec.spelling import nearest
from talweg.v1.plugins_pb2 import PluginDeclaration, PluginParameter

_MOST_ITEMS = 1000
_WORDS = {
    PluginParameter.NUMBER: "number",
    PluginParameter.INTEGER: "integer",
    PluginParameter.BOOLEAN: "boolean",
    PluginParameter.TEXT: "text",
}


def check_parameters(
    declaration: PluginDeclaration, given: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], list[Violation]]:
    """Check a plug-in's parameters, and add the defaults of those that are not set.

    Args:
        declaration: What the plug-in says of itself.
        given: What the job sets.
        path: Where it is set, such as ``model.plugin.parameters``.

    Returns:
        All parameters, in the order of their declaration, and all violations.
    """
    if declaration.undeclared:
        return dict(given), []
    known = {parameter.name: parameter for parameter in declaration.parameters}
    violations = [_unknown(declaration, name, known, path) for name in given if name not in known]
    complete: dict[str, Any] = {}
    for name, parameter in known.items():
        at = joined(path, name)
        if name in given:
            complete[name], problems = _value(parameter, given[name], at)
            violations += problems
        elif parameter.HasField("default"):
            complete[name] = json.loads(parameter.default)
        else:
            violations.append(Violation(at, "nothing", allowed_text(parameter)))
    return complete, violations


def type_text(parameter: PluginParameter) -> str:
    """Write a parameter's type as the catalogue does: ``number``, ``list of integer``."""
    word = "one of" if parameter.choices else _WORDS.get(parameter.type, "value")
    return f"list of {word}" if parameter.list else word


def bounds_of(parameter: PluginParameter) -> Bounds:
    """Return the bounds of a parameter's numbers."""
    rule = parameter.bounds
    names = [name for name in ("gt", "ge", "lt", "le") if rule.HasField(name)]
    return Bounds(**{name: getattr(rule, name) for name in names})


def allowed_text(parameter: PluginParameter) -> str:
    """Say what a parameter may be: ``a number > 0``, ``a list, each an integer >= 1``."""
    if parameter.type == PluginParameter.NUMBER:
        item = f"a number {bounds_of(parameter)}".rstrip()
    elif parameter.type == PluginParameter.INTEGER:
        item = f"an integer {bounds_of(parameter)}".rstrip()
    elif parameter.type == PluginParameter.BOOLEAN:
        item = "true or false"
    else:
        item = one_of(parameter.choices) if parameter.choices else "text"
    text = f"a list, each {item}" if parameter.list else item
    return f"{text}, or null" if parameter.default == "null" else text


def _unknown(
    declaration: PluginDeclaration, name: str, known: Mapping[str, PluginParameter], path: str
) -> Violation:
    allowed = one_of(known) if known else f"no parameters of plug-in {shown(declaration.name)}"
    return Violation(joined(path, name), shown(name), allowed, nearest(name, known))


def _value(parameter: PluginParameter, value: Any, at: str) -> tuple[Any, list[Violation]]:
    if value is None and parameter.default == "null":
        return None, []
    if not parameter.list:
        converted, problem = _item(parameter, value)
        return converted, [] if problem is None else [_refused(parameter, value, at, problem)]
    if not isinstance(value, list):
        return value, [_refused(parameter, value, at, "enclose it in [ ]")]
    if len(value) > _MOST_ITEMS:
        return value, [Violation(at, f"{len(value)} items", f"at most {_MOST_ITEMS} items")]
    items = list(_items(parameter, value, at))
    return [item for item, _ in items], [found for _, found in items if found is not None]


def _items(
    parameter: PluginParameter, values: list[Any], at: str
) -> Iterator[tuple[Any, Violation | None]]:
    for index, value in enumerate(values):
        converted, problem = _item(parameter, value)
        if problem is None:
            yield converted, None
        else:
            yield value, _refused(parameter, value, f"{at}[{index}]", problem, is_item=True)


def _refused(
    parameter: PluginParameter, value: Any, at: str, hint: str, *, is_item: bool = False
) -> Violation:
    allowed = allowed_text(parameter)
    if is_item:
        allowed = allowed.removeprefix("a list, each ").removesuffix(", or null")
    return Violation(at, shown(value), allowed, hint)


def _item(parameter: PluginParameter, value: Any) -> tuple[Any, str | None]:
    """Return a value as the plug-in takes it, and a hint where it is refused, which may be ''."""
    if parameter.type == PluginParameter.BOOLEAN:
        return value, None if isinstance(value, bool) else _of_quotes(value)
    if parameter.type == PluginParameter.TEXT:
        if not isinstance(value, str):
            return value, "put it in quotes"
        if parameter.choices and value not in parameter.choices:
            return value, nearest(value, parameter.choices)
        return value, None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value, _of_quotes(value)
    if not _is_in_range(value) or not bounds_of(parameter).allow(value):
        return value, ""
    if parameter.type == PluginParameter.NUMBER:
        return float(value), None
    return (int(value), None) if value == int(value) else (value, "")


def _is_in_range(value: float) -> bool:
    """Return whether a number is finite, and none that only Python's integers can hold."""
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _of_quotes(value: Any) -> str:
    return "write it without quotes" if isinstance(value, str) else ""
