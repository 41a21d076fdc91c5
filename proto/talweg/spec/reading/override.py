"""Single settings, as values or written as PATH=VALUE, put into a job file's object."""

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from talweg.spec.errors import SpecError, Violation, joined, one_of, shown
from talweg.spec.fields import Field, Type, choices, fields, hints, oneofs, shorthand, spellings
from talweg.spec.reading.job_file import read
from talweg.spec.reading.json_objects import as_object
from talweg.spec.spelling import nearest
from talweg.v1.spec_pb2 import JobSpec

_INDEX = re.compile(r"\[([0-9]+)\]")


def override(value: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Put single settings into the JSON form of a `JobSpec`.

    Args:
        value: The JSON form, shorthands allowed; it is left as it is.
        assignments: Such as ``training.epochs=5``, ``loss=mae``, ``loss.huber.delta=2`` or
            ``model.sequential.layers[0].linear.out_features=8``; values as YAML writes them, an
            empty one takes the setting out. A member of a oneof takes the place of the other.

    Returns:
        A new object.

    Raises:
        SpecError: With all assignments that cannot be read or name nothing known.
    """
    result: dict[str, Any] = copy.deepcopy(dict(value))
    violations: list[Violation] = []
    for assignment in assignments:
        try:
            path, sign, text = assignment.partition("=")
            if not sign or not path.strip():
                raise _refused(assignment, shown(assignment), "PATH=VALUE")
            _put(result, JobSpec.DESCRIPTOR, _steps(path), _Text(text.strip()), "")
        except SpecError as exc:
            violations += exc.violations
    if violations:
        raise SpecError(violations)
    return result


def put(value: Mapping[str, Any], settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Put settings into the JSON form of a `JobSpec`, one after the other.

    Args:
        value: The JSON form, shorthands allowed; it is left as it is.
        settings: Paths as for `override`, and values as a job file's reader gives them.

    Returns:
        A new object.

    Raises:
        SpecError: A path names nothing known. What a value is, is checked by `from_dict`.
    """
    result: dict[str, Any] = copy.deepcopy(dict(value))
    for path, item in settings:
        _put(result, JobSpec.DESCRIPTOR, _steps(path), item, "")
    return result


def _steps(path: str) -> list[str]:
    return _INDEX.sub(r".\1", path.strip()).split(".")


class _Text(str):
    """A value as it was written, still to be read."""

    __slots__ = ()


def _refused(field: str, found: str, allowed: str, hint: str = "") -> SpecError:
    return SpecError([Violation(field, found, allowed, hint)])


def _put(
    target: dict[str, Any], descriptor: Descriptor, steps: list[str], item: Any, path: str
) -> None:
    first, *rest = steps
    known = spellings(descriptor)
    field = known.get(first)
    if field is None:
        hint = hints(descriptor).get(first) or nearest(first, known)
        raise _refused(joined(path, first), shown(first), one_of(fields(descriptor)), hint)
    name = field.name
    at = joined(path, name)
    _use_own_name(target, field)
    for other in oneofs(descriptor).get(field.oneof, ()):
        if other != name:
            for spelling in (other, *known[other].aliases):
                target.pop(spelling, None)
    if field.is_map:
        items = target[name] = _object(target.get(name), at)
        if rest:
            # The names in a map are free, dots and all.
            items[".".join(rest)] = _value(field, item, at)
        else:
            target[name] = _value(field, item, at)
    elif not rest:
        target[name] = _value(field, item, at)
    elif field.is_list:
        _put_item(target, field, rest, item, at)
    elif field.is_object:
        value = target.get(name)
        target[name] = _object(as_object(value) if isinstance(value, str) else value, at)
        _put_free(target[name], rest, item, at)
    elif field.message is None:
        raise _refused(at, f"{'.'.join(rest)} below it", f"{field.allowed}, nothing below it")
    else:
        target[name] = _long_form(target.get(name), field.message, at)
        _put(target[name], field.message, rest, item, at)


def _use_own_name(target: dict[str, Any], field: Field) -> None:
    """Move what stands under an alias to the field's own name, where that is free."""
    for alias in field.aliases:
        if alias in target and field.name not in target:
            target[field.name] = target.pop(alias)


def _put_item(
    target: dict[str, Any], field: Field, steps: list[str], item: Any, path: str
) -> None:
    index, *rest = steps
    items = target.get(field.name)
    items = list(items) if isinstance(items, (list, tuple)) else []
    at = f"{path}[{index}]"
    if not index.isdecimal() or int(index) >= len(items):
        allowed = f"an index below {len(items)}" if items else "no index: there are no items"
        raise _refused(at, shown(index), allowed)
    position = int(index)
    if not rest:
        items[position] = _value(field, item, at)
    elif field.message is None:
        raise _refused(at, f"{'.'.join(rest)} below it", f"{field.allowed}, nothing below it")
    else:
        items[position] = _long_form(items[position], field.message, at)
        _put(items[position], field.message, rest, item, at)
    target[field.name] = items


def _put_free(target: dict[str, Any], steps: list[str], item: Any, path: str) -> None:
    """Put a value into an object whose names are free."""
    name, *rest = steps
    at = joined(path, name)
    if rest:
        target[name] = _object(target.get(name), at)
        _put_free(target[name], rest, item, at)
        return
    value = read(item, source=at) if isinstance(item, _Text) else item
    if value is None:
        target.pop(name, None)
    else:
        target[name] = value


def _object(value: object, path: str) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    raise _refused(path, shown(value), "an object")


def _long_form(value: object, descriptor: Descriptor, path: str) -> dict[str, Any]:
    """Write a shorthand out, so that something can be put below it."""
    if isinstance(value, str) and value in spellings(descriptor) and choices(descriptor):
        return {value: {}}
    if value is not None and not isinstance(value, Mapping) and shorthand(descriptor):
        return {shorthand(descriptor): value}
    return _object(value, path)


def _value(field: Field, item: Any, path: str) -> Any:
    if not isinstance(item, _Text):
        return item
    text = str(item)
    if not text.strip() and field.message is None and field.type is not Type.TEXT:
        # It is far more often a shell variable that is not set than a wish for the default.
        raise _refused(
            path,
            "nothing behind the equals sign",
            field.allowed,
            "if a shell variable stands there, it is not set; for the default, leave it out",
        )
    value = read(text, source=path)
    if field.type is Type.TEXT and not field.is_list and not isinstance(value, (str, dict)):
        # Where a text is wanted, 2024 needs no quotes; nothing still takes the setting out.
        return text or None
    return value
