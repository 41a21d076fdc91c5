"""Checks of what a sweep varies, each dimension by itself."""

import json
import math
from collections.abc import Iterator, Sequence

from google.protobuf.struct_pb2 import Value

from talweg.spec.errors import Violation, shown
from talweg.spec.sweeps.space import plain
from talweg.spec.sweeps.wording import value_text
from talweg.v1.sweeps_pb2 import Dimension, IntegerInterval, NumberInterval

_LONGEST = 80


def check_dimensions(dimensions: Sequence[Dimension], at: str = "space") -> Iterator[Violation]:
    """Check each dimension by itself.

    Args:
        dimensions: Of the sweep, or of a choice.
        at: Where they stand in the sweep file.
    """
    for index, dimension in enumerate(dimensions):
        yield from _dimension(dimension, f"{at}[{index}]")


def varied_paths(dimensions: Sequence[Dimension]) -> Iterator[str]:
    """Yield all paths that are varied, those in choices included."""
    for dimension in dimensions:
        if dimension.path:
            yield dimension.path
        yield from (part.path for part in dimension.zip)
        for choice in dimension.choices:
            yield from varied_paths(choice.space)


def is_listed(dimension: Dimension) -> bool:
    """Return whether a dimension, and what its choices vary, has lists of values alone."""
    if dimension.choices:
        return all(is_listed(each) for choice in dimension.choices for each in choice.space)
    return bool(dimension.zip) or dimension.HasField("values")


def _dimension(dimension: Dimension, at: str) -> Iterator[Violation]:
    if dimension.zip:
        yield from _zip(dimension, at)
        return
    if not dimension.path:
        yield Violation(f"{at}.path", "nothing", "a path in the job, such as loss")
    if dimension.HasField("values"):
        if not dimension.values.values:
            yield Violation(f"{at}.values", "an empty list", "at least 1 value")
        yield from _finite(dimension.values.values, f"{at}.values") or _different(
            [[value] for value in dimension.values.values], f"{at}.values"
        )
    for name in ("uniform", "log_uniform", "integers"):
        if dimension.HasField(name):
            interval = getattr(dimension, name)
            is_log = name == "log_uniform" or (name == "integers" and interval.log)
            yield from _interval(interval, f"{at}.{name}", is_log=is_log)
    yield from _choices(dimension, at)


def _choices(dimension: Dimension, at: str) -> Iterator[Violation]:
    in_order = True
    for index, choice in enumerate(dimension.choices):
        if not choice.HasField("value"):
            in_order = False
            yield Violation(f"{at}.choices[{index}].value", "nothing", "a value")
        elif _is_not_finite(choice.value):
            in_order = False
            yield _not_finite(f"{at}.choices[{index}].value")
        yield from check_dimensions(choice.space, f"{at}.choices[{index}].space")
    if in_order:
        yield from _different([[choice.value] for choice in dimension.choices], f"{at}.choices")


def _zip(dimension: Dimension, at: str) -> Iterator[Violation]:
    if dimension.path:
        yield Violation(f"{at}.path", shown(dimension.path), "nothing beside zip")
    lengths = []
    violations = []
    for index, part in enumerate(dimension.zip):
        if not part.path or not part.HasField("values"):
            violations.append(
                Violation(f"{at}.zip[{index}]", "no path with values", "path and values")
            )
        violations += _finite(part.values.values, f"{at}.zip[{index}].values")
        lengths.append(len(part.values.values))
    if len(set(lengths)) > 1:
        found = f"lists of {', '.join(map(str, lengths))} values"
        violations.append(Violation(f"{at}.zip", found, "lists of one length"))
    elif not lengths[0]:
        violations.append(Violation(f"{at}.zip", "empty lists", "at least 1 value each"))
    if not violations:
        columns = [part.values.values for part in dimension.zip]
        violations += _different(list(zip(*columns, strict=True)), f"{at}.zip")
    yield from violations


def _interval(
    interval: NumberInterval | IntegerInterval, at: str, *, is_log: bool
) -> Iterator[Violation]:
    for name in ("low", "high"):
        if not interval.HasField(name):
            yield Violation(f"{at}.{name}", "nothing", "a number")
            return
    if interval.low >= interval.high:
        allowed = f"a number above low, {shown(interval.low)}"
        yield Violation(f"{at}.high", shown(interval.high), allowed)
    if is_log and interval.low <= 0:
        yield Violation(f"{at}.low", shown(interval.low), "a number > 0, since it is logarithmic")


def _finite(values: Sequence[Value], at: str) -> list[Violation]:
    return [
        _not_finite(f"{at}[{index}]")
        for index, value in enumerate(values)
        if _is_not_finite(value)
    ]


def _not_finite(at: str) -> Violation:
    return Violation(at, "a number that is not finite", "finite numbers")


def _is_not_finite(value: Value) -> bool:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        return not math.isfinite(value.number_value)
    if kind == "list_value":
        return any(map(_is_not_finite, value.list_value.values))
    if kind == "struct_value":
        return any(map(_is_not_finite, value.struct_value.fields.values()))
    return False


def _different(rows: Sequence[Sequence[Value]], at: str) -> list[Violation]:
    """Refuse what is listed twice: it would be two trials of one setting."""
    first: dict[str, int] = {}
    violations = []
    for index, row in enumerate(rows):
        values = [plain(value) for value in row]
        known = first.setdefault(json.dumps(values, sort_keys=True), index)
        if known != index:
            text = ", ".join(map(value_text, values))[:_LONGEST]
            found = f"{text}, as in [{known}]"
            violations.append(Violation(f"{at}[{index}]", found, "each value once"))
    return violations
