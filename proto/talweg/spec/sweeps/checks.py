"""Checks of a sweep's spec before anything of it runs."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import SpecError, Violation, limited, shown
from talweg.spec.fields import Type, descriptor_of, spellings
from talweg.spec.reading.fill import fill_message
from talweg.spec.reading.json_form import to_dict
from talweg.spec.reading.override import put
from talweg.spec.spelling import nearest
from talweg.spec.sweeps.plan import TAG_SWEEP, TAG_TRIAL, Plan
from talweg.spec.sweeps.space import Setting, product
from talweg.spec.sweeps.wording import name_of, setting_text
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.sweeps_pb2 import Dimension, IntegerInterval, NumberInterval, SweepSpec

MAX_SETTINGS = 200
"""So many settings are checked before a sweep begins; between them they have each value once,
unless there are more."""
MAX_POINT = 1000
"""So many dimensions a quasi-random point has at the most: making the sequence takes that long."""
MAX_TPE_VALUES = 1000
"""So many values a list has at the most under tpe, which weighs each of them for each trial."""
MAX_TPE_TRIALS = 5000
"""So many trials a search has at the most under tpe, which reads all of them for the next one."""


def fill_sweep(spec: SweepSpec) -> SweepSpec:
    """Return a copy in which the sweep's own defaults are explicit; the base stays as it is.

    The metric of the objective is filled where the first job is known: see `objective`.
    """
    bare = SweepSpec()
    bare.CopyFrom(spec)
    bare.ClearField("base")
    filled = fill_message(bare)
    if spec.HasField("base"):
        filled.base.CopyFrom(spec.base)
    if not filled.seeds.vary and "training.seed" not in _paths(spec.space):
        filled.seeds.vary.append("training.seed")
    if not filled.HasField("algorithm"):
        is_listed = all(map(_is_finite, filled.space))
        if is_listed and not spec.HasField("trials"):
            filled.algorithm.grid.SetInParent()
        else:
            filled.algorithm.random.SetInParent()
    filled.algorithm.CopyFrom(fill_message(filled.algorithm))
    return filled


def check_sweep(spec: SweepSpec) -> list[Violation]:
    """Check a filled sweep as far as that goes without its jobs being checked.

    Args:
        spec: What `fill_sweep` gives.

    Returns:
        All violations, with their fields in the sweep file. The first of very many.
    """
    bare = SweepSpec()
    bare.CopyFrom(spec)
    if spec.HasField("base"):
        bare.base.Clear()
        bare.base.SetInParent()
    violations = [each for each in check_message(bare, "") if not each.field.startswith("base.")]
    for index, dimension in enumerate(spec.space):
        violations += _dimension(dimension, f"space[{index}]")
    violations += _base(spec)
    if not violations:
        violations += _algorithm(spec)
        violations += _compared(spec)
        violations += _seeds(spec)
        violations += _objective(spec)
    if not violations:
        violations += _settings(spec)
    # What is wrong with a value is so in every setting that has it.
    unique = {(each.field, each.found): each for each in reversed(violations)}
    return limited(list(reversed(unique.values())))


def first_settings(plan: Plan) -> list[Setting]:
    """Return settings in which each value occurs, up to `MAX_SETTINGS`."""
    each = (setting for search in plan.searches for setting in search.each())
    return list(islice(each, MAX_SETTINGS))


def _is_finite(dimension: Dimension) -> bool:
    if dimension.choices:
        return all(_is_finite(each) for choice in dimension.choices for each in choice.space)
    return bool(dimension.zip) or dimension.HasField("values")


def _dimension(dimension: Dimension, at: str) -> Iterator[Violation]:
    if dimension.zip:
        yield from _zip(dimension, at)
        return
    if not dimension.path:
        yield Violation(f"{at}.path", "nothing", "a path in the job, such as loss")
    if dimension.HasField("values") and not dimension.values.values:
        yield Violation(f"{at}.values", "an empty list", "at least 1 value")
    for name in ("uniform", "log_uniform", "integers"):
        if dimension.HasField(name):
            interval = getattr(dimension, name)
            is_log = name == "log_uniform" or (name == "integers" and interval.log)
            yield from _interval(interval, f"{at}.{name}", is_log=is_log)
    for index, choice in enumerate(dimension.choices):
        if not choice.HasField("value"):
            yield Violation(f"{at}.choices[{index}].value", "nothing", "a value")
        for position, inner in enumerate(choice.space):
            yield from _dimension(inner, f"{at}.choices[{index}].space[{position}]")


def _zip(dimension: Dimension, at: str) -> Iterator[Violation]:
    if dimension.path:
        yield Violation(f"{at}.path", shown(dimension.path), "nothing beside zip")
    lengths = []
    for index, part in enumerate(dimension.zip):
        if not part.path or not part.HasField("values"):
            yield Violation(f"{at}.zip[{index}]", "no path with values", "path and values")
        lengths.append(len(part.values.values))
    if len(set(lengths)) > 1:
        found = f"lists of {', '.join(map(str, lengths))} values"
        yield Violation(f"{at}.zip", found, "lists of one length")
    elif not lengths[0]:
        yield Violation(f"{at}.zip", "empty lists", "at least 1 value each")


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


def _base(spec: SweepSpec) -> Iterator[Violation]:
    for tag in (TAG_SWEEP, TAG_TRIAL):
        if tag in spec.base.tags:
            hint = "the service sets it for the jobs of a sweep"
            yield Violation(f"base.tags.{tag}", shown(spec.base.tags[tag]), "other tags", hint)
    for part in ("replay", "continued_from"):
        if spec.base.HasField(part):
            yield Violation(f"base.{part}", "a job", "nothing: the jobs of a sweep train anew")


def _algorithm(spec: SweepSpec) -> Iterator[Violation]:
    match spec.algorithm.WhichOneof("kind"):
        case "grid":
            yield from _grid(spec)
        case "qmc":
            width = product(spec.space).width
            if width > MAX_POINT:
                found, allowed = f"{width:,} dimensions", f"at most {MAX_POINT:,}"
                yield Violation("algorithm.qmc", found, allowed, "or search by random")
        case "tpe":
            yield from _tpe(spec)


def _grid(spec: SweepSpec) -> Iterator[Violation]:
    for index, dimension in enumerate(spec.space):
        if not _is_finite(dimension):
            hint = "list values, or search by random, qmc or tpe"
            yield Violation("algorithm.grid", f"an interval in space[{index}]", "lists", hint)
    if spec.HasField("trials"):
        hint = "a grid tries every setting; for some of them use random, qmc or tpe"
        yield Violation("trials", shown(spec.trials), "nothing beside algorithm.grid", hint)


def _tpe(spec: SweepSpec) -> Iterator[Violation]:
    for index, dimension in enumerate(spec.space):
        most = max(_lengths(dimension))
        if most > MAX_TPE_VALUES:
            found = f"a list of {most:,} values in space[{index}]"
            allowed = f"lists of at most {MAX_TPE_VALUES:,}"
            hint = "give numbers as an interval, or search by random or qmc"
            yield Violation("algorithm.tpe", found, allowed, hint)
    if spec.trials > MAX_TPE_TRIALS:
        hint = "for more search by random or qmc"
        allowed = f"a number <= {MAX_TPE_TRIALS:,} under algorithm.tpe"
        yield Violation("trials", shown(spec.trials), allowed, hint)


def _lengths(dimension: Dimension) -> Iterator[int]:
    yield max(len(dimension.choices), len(dimension.values.values))
    for part in dimension.zip:
        yield len(part.values.values)
    for choice in dimension.choices:
        for inner in choice.space:
            yield from _lengths(inner)


def _compared(spec: SweepSpec) -> Iterator[Violation]:
    if not spec.HasField("compare"):
        return
    listed = [each.path for each in spec.space if each.choices or each.HasField("values")]
    path = spec.compare.path
    if listed.count(path) != 1:
        hint = nearest(path, listed) or "it must be a dimension of space with values or choices"
        yield Violation("compare.path", shown(path), ", ".join(listed) or "nothing yet", hint)
        return
    searches = Plan(spec).searches
    labels = [search.label for search in searches]
    if len(searches) < 2 or len(set(labels)) < len(labels):
        yield Violation("compare.path", f"{path} with {', '.join(labels)}", "2 different values")
        return
    wanted, names = spec.compare.baseline, [search.name for search in searches]
    if wanted and wanted not in labels and names.count(wanted) != 1:
        hint = nearest(wanted, labels)
        yield Violation("compare.baseline", shown(wanted), f"one of {', '.join(labels)}", hint)
    margin = spec.compare.margin
    if margin and not float(margin.rstrip(" %")) > 0:
        yield Violation("compare.margin", shown(margin), "a number > 0, or such as 1%")


def _objective(spec: SweepSpec) -> Iterator[Violation]:
    metric = spec.objective.metric
    if spec.objective.HasField("metric") and not metric.startswith("val/"):
        hint = "settings are chosen on validation data"
        if metric.startswith("test/"):
            hint += ", for choosing on test data would make the final figure too good"
        yield Violation("objective.metric", shown(metric), "a metric val/…", hint)


def _seeds(spec: SweepSpec) -> Iterator[Violation]:
    varied = set(_paths(spec.space))
    for index, path in enumerate(spec.seeds.vary):
        at = f"seeds.vary[{index}]"
        if path.rpartition(".")[2] != "seed":
            hint = "such as training.seed, split.seed"
            yield Violation(at, shown(path), "the path of a seed", hint)
        elif path in varied:
            yield Violation(at, f"{path}, which space varies too", "a path in one of them")
        else:
            try:
                put({}, [(path, 0)])
            except SpecError as exc:
                yield from (Violation(at, each.found, each.allowed) for each in exc.violations)


def _paths(dimensions: Sequence[Dimension]) -> Iterator[str]:
    for dimension in dimensions:
        if dimension.path:
            yield dimension.path
        yield from (part.path for part in dimension.zip)
        for choice in dimension.choices:
            yield from _paths(choice.space)


def _settings(spec: SweepSpec) -> Iterator[Violation]:
    """Check that each value can stand at its path, and that none takes the place of another."""
    plan = Plan(spec)
    base = to_dict(spec.base)
    for setting in first_settings(plan):
        try:
            lost = list(_replaced(base, setting))
            yield from lost
            if not lost:
                plan.job(setting, 0)
        except SpecError as exc:
            hint = f"in the setting {setting_text(setting)}"
            for each in exc.violations:
                yield Violation(
                    where(each.field, setting),
                    each.found,
                    each.allowed,
                    f"{each.hint}, {hint}" if each.hint else hint,
                )


def where(field: str, setting: Setting) -> str:
    """Return the field of a violation of a job as a reader of the sweep file finds it."""
    paths = [path for path, _ in setting]
    is_varied = any(field == path or field.startswith((f"{path}.", f"{path}[")) for path in paths)
    return f"space: {field}" if is_varied else f"base.{field}" if field else "base"


def _replaced(base: dict[str, Any], setting: Setting) -> Iterator[Violation]:
    for index, (path, value) in enumerate(setting):
        for other, later in setting[index + 1 :]:
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
                both = put(base, [(path, value), (other, later)])
                if put(both, [(path, value)]) != both:
                    hint = "they exclude each other: vary each in the space of its own choice"
                    yield Violation(f"space: {path}", f"{other} beside it", "one of them", hint)


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
