"""Checks that the values of a sweep can stand at their paths, and that each takes effect."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import SpecError, Violation, shown
from talweg.spec.fields import Type, descriptor_of, spellings
from talweg.spec.reading.fill import fill_message
from talweg.spec.reading.json_form import from_dict, to_dict
from talweg.spec.reading.override import put
from talweg.spec.sweeps.plan import Plan
from talweg.spec.sweeps.space import Setting, listed, node
from talweg.spec.sweeps.wording import name_of, setting_text
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Dimension

# Where an interval is looked into: two of them are not both at whole numbers.
_SHARES = (0.3819, 0.2713)


def check_placing(plan: Plan, settings: Sequence[Setting]) -> Iterator[Violation]:
    """Check that each value can stand at its path, and that none takes the place of another.

    Args:
        plan: Of the sweep.
        settings: As `first_settings` gives them.
    """
    base = to_dict(plan.spec.base)
    effects = _Effects(base)
    for setting in settings:
        hint = f"in the setting {setting_text(setting)}"
        found = list(_unknown(base, setting)) or list(effects.lost(setting))
        if not found:
            try:
                plan.job(setting, 0)
            except SpecError as exc:
                found = [
                    Violation(where(each.field, setting), each.found, each.allowed, each.hint)
                    for each in exc.violations
                ]
            else:
                found = list(_changed_by_seeds(plan, base, setting))
        for each in found:
            told = f"{each.hint}, {hint}" if each.hint else hint
            yield Violation(each.field, each.found, each.allowed, told)
    yield from _unreadable(
        plan.spec.space, {path for each in settings for path in map(_key, each)}
    )


def where(field: str, setting: Setting) -> str:
    """Return the field of a violation of a job as a reader of the sweep file finds it."""
    paths = [path for path, _ in setting]
    is_varied = any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in paths)
    return f"space: {field}" if is_varied else f"base.{field}" if field else "base"


def _unknown(base: Mapping[str, Any], setting: Setting) -> Iterator[Violation]:
    """Yield what is wrong with the paths of a setting."""
    for path, value in setting:
        try:
            base = put(base, [(path, value)])
        except SpecError as exc:
            for each in exc.violations:
                yield Violation(f"space: {path}", each.found, each.allowed, each.hint)
            return


class _Effects:
    """Tells which values take the place of others."""

    def __init__(self, base: Mapping[str, Any]) -> None:
        """Keep the JSON form of the base."""
        self._base = base
        # Of two values: settings have most pairs in common.
        self._known: dict[tuple[str, str, str, str], list[Violation]] = {}

    def lost(self, setting: Setting) -> Iterator[Violation]:
        """Yield the values of a setting that come to nothing."""
        keys = [_key(pair) for pair in setting]
        for index, pair in enumerate(setting):
            for position in range(index + 1, len(setting)):
                key = (*keys[index], *keys[position])
                if key not in self._known:
                    self._known[key] = list(self._pair(*pair, *setting[position]))
                yield from self._known[key]

    def _pair(self, path: str, value: Any, other: str, later: Any) -> Iterator[Violation]:
        first = path.partition(".")[0]
        if other.partition(".")[0] != first:
            return
        if other == path or path.startswith(f"{other}."):
            yield Violation(f"space: {path}", f"{other} varied after it", "one of them")
        elif other.startswith(f"{path}."):
            below = other.removeprefix(f"{path}.").partition(".")[0]
            inner = set(value) if isinstance(value, dict) else {name_of(value)}
            if _is_choice(path) and below not in inner:
                hint = f"vary it in the space of the choice {below}"
                found = f"the value {name_of(value) or shown(value)} of {path}, which has none"
                yield Violation(f"space: {other}", found, f"{below} alone", hint)
        else:
            base = {first: self._base[first]} if first in self._base else {}
            try:
                both = put(base, [(path, value), (other, later)])
                is_kept = put(both, [(path, value)]) == both
            except SpecError:
                return  # They need a third one, which stands before them.
            if not is_kept:
                hint = "they exclude each other: vary each in the space of its own choice"
                yield Violation(f"space: {path}", f"{other} beside it", "one of them", hint)


def _key(pair: tuple[str, Any]) -> tuple[str, str]:
    return pair[0], json.dumps(pair[1], sort_keys=True)


def _is_choice(path: str) -> bool:
    """Return whether the value at a path names a member of a message."""
    descriptor = descriptor_of(JobSpec())
    for name in path.split("."):
        if name.isdecimal():
            continue
        field = spellings(descriptor).get(name.partition("[")[0])
        if field is None or field.type is not Type.MESSAGE or field.message is None:
            return False
        descriptor = field.message
    return bool(descriptor.oneofs_by_name.get("kind"))


def _changed_by_seeds(
    plan: Plan, base: Mapping[str, Any], setting: Setting
) -> Iterator[Violation]:
    """Refuse seeds at paths where a job has nothing: raising them would add, say, outliers."""
    settled = put(base, setting)
    before = to_dict(fill_message(from_dict(settled)))
    for index, path in enumerate(plan.spec.seeds.vary):
        after = fill_message(from_dict(put(settled, [(path, 0)])))
        if from_dict(put(before, [(path, 0)])) != after:
            allowed = "the path of a seed that the jobs have"
            yield Violation(f"seeds.vary[{index}]", shown(path), allowed)


def _unreadable(
    dimensions: Sequence[Dimension], known: set[tuple[str, str]]
) -> Iterator[Violation]:
    """Check values that no setting had, each by itself: whether it can be read at its path.

    Of an interval the settings had the ends, which may be whole where the numbers between are not.
    """
    for dimension in dimensions:
        for part in (dimension, *dimension.zip):
            for value in listed(part) if part.path else ():
                if _key((part.path, value)) not in known:
                    yield from _alone(part.path, value)
        if dimension.HasField("uniform") or dimension.HasField("log_uniform"):
            yield from _alone(dimension.path, _fraction(dimension))
        for choice in dimension.choices:
            yield from _unreadable(choice.space, known)


def _fraction(dimension: Dimension) -> Any:
    """Return a number of an interval that is not whole, as its settings mostly are not."""
    interval = node(dimension)
    numbers = (interval.pick([share])[0][1] for share in _SHARES)
    return next((number for number in numbers if number != int(number)), interval.pick([0])[0][1])


def _alone(path: str, value: Any) -> Iterator[Violation]:
    try:
        spec = from_dict(put({}, [(path, value)]))
        found: Sequence[Violation] = check_message(spec, "")
    except SpecError as exc:
        found = exc.violations
    for each in found:
        if each.field == path or each.field.startswith((f"{path}.", f"{path}[")):
            yield Violation(f"space: {each.field}", each.found, each.allowed, each.hint)
