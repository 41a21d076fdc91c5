"""Checks of a sweep's spec before anything of it runs."""

import math
from collections.abc import Iterator, Sequence
from itertools import islice

from talweg.spec.checks.bounds import check_message
from talweg.spec.errors import SpecError, Violation, limited, shown
from talweg.spec.reading.fill import fill_message
from talweg.spec.reading.json_form import to_dict
from talweg.spec.reading.override import put
from talweg.spec.spelling import nearest
from talweg.spec.sweeps.dimensions import check_dimensions, is_listed, varied_paths
from talweg.spec.sweeps.placing import check_placing
from talweg.spec.sweeps.plan import TAG_RUNS, TAG_SWEEP, TAG_TRIAL, Plan, seed_at
from talweg.spec.sweeps.space import Setting, in_turn, product
from talweg.v1.sweeps_pb2 import Compared, Dimension, SweepSpec

MAX_SETTINGS = 200
"""So many settings are checked before a sweep begins; between them they have each value once,
unless there are more."""
MAX_POINT = 1000
"""So many dimensions a quasi-random point has at the most: making the sequence takes that long."""
MAX_TPE_VALUES = 1000
"""So many values a list has at the most under tpe, which weighs each of them for each trial."""
MAX_TPE_TRIALS = 5000
"""So many trials a search has at the most under tpe, which reads all of them for the next one."""
MAX_TRIALS = 1_000_000
"""Of a grid; `trials` has the same bound."""
MAX_DAYS = 3650
_MOST_NAMED = 10
_MAX_SEED = 2**32 - 1


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
    if spec.base.HasField("session") and not spec.HasField("session"):
        filled.session = spec.base.session
    if not filled.seeds.vary and "training.seed" not in varied_paths(spec.space):
        filled.seeds.vary.append("training.seed")
    if not filled.HasField("algorithm"):
        if all(map(is_listed, filled.space)) and not spec.HasField("trials"):
            filled.algorithm.grid.SetInParent()
        else:
            filled.algorithm.random.SetInParent()
    filled.algorithm.CopyFrom(fill_message(filled.algorithm))
    if filled.compare.HasField("decide") and not spec.compare.HasField("final_seeds"):
        filled.compare.ClearField("final_seeds")
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
    violations += check_dimensions(spec.space)
    violations += _base(spec)
    if not violations:
        violations += _algorithm(spec)
        violations += _seeds(spec)
        violations += _objective(spec)
        violations += _pruning(spec)
        violations += _max_time(spec)
    if not violations:
        # Its searches can be told apart only once each of them is in order.
        violations += _compared(spec)
    if not violations:
        violations += _size(spec)
    if not violations:
        violations += check_placing(Plan(spec), first_settings(Plan(spec)))
    # What is wrong with a value is so in every setting that has it.
    unique = {(each.field, each.found): each for each in reversed(violations)}
    return limited(list(reversed(unique.values())))


def first_settings(plan: Plan) -> list[Setting]:
    """Return settings in which each value occurs, up to `MAX_SETTINGS`; searches take turns."""
    return list(islice(in_turn([search.each() for search in plan.searches]), MAX_SETTINGS))


def _base(spec: SweepSpec) -> Iterator[Violation]:
    for tag in (TAG_SWEEP, TAG_TRIAL, TAG_RUNS):
        if tag in spec.base.tags:
            hint = "the service sets it for the jobs of a sweep"
            yield Violation(f"base.tags.{tag}", shown(spec.base.tags[tag]), "other tags", hint)
        if f"tags.{tag}" in varied_paths(spec.space):
            hint = "the service sets it for the jobs of a sweep"
            yield Violation("space", f"tags.{tag}", "other paths", hint)
    if spec.base.HasField("session") and spec.base.session != spec.session:
        hint = "the jobs of a sweep are of its session: leave it out in the base"
        yield Violation("base.session", shown(spec.base.session), shown(spec.session), hint)
    if spec.HasField("session") and "session" in varied_paths(spec.space):
        yield Violation("space", "session", "other paths: a sweep is of one session")
    for part in ("replay", "continued_from", "test_of"):
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
        if not is_listed(dimension):
            hint = "list values, or search by random, qmc or tpe"
            yield Violation("algorithm.grid", f"an interval in space[{index}]", "lists", hint)
    if spec.HasField("trials"):
        hint = "a grid tries every setting; for some of them use random, qmc or tpe"
        yield Violation("trials", shown(spec.trials), "nothing beside algorithm.grid", hint)


def _size(spec: SweepSpec) -> Iterator[Violation]:
    plan = Plan(spec)
    if plan.is_grid and plan.num_trials > MAX_TRIALS:
        found = f"a grid of {plan.num_trials:,} settings" if plan.num_trials < 1e15 else "too many"
        hint = "search some of them by random"
        yield Violation("space", found, f"at most {MAX_TRIALS:,} settings", hint)


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
        yield Violation("compare.path", shown(path), _named(listed) or "nothing yet", hint)
        return
    searches = Plan(spec).searches
    labels = [search.label for search in searches]
    if len(searches) < 2 or len(set(labels)) < len(labels):
        yield Violation("compare.path", f"{path} with {_named(labels)}", "2 different values")
        return
    wanted, names = spec.compare.baseline, [search.name for search in searches]
    if wanted and wanted not in labels and names.count(wanted) != 1:
        hint = nearest(wanted, labels)
        yield Violation("compare.baseline", shown(wanted), f"one of {_named(labels)}", hint)
    margin = spec.compare.margin
    if margin and not 0 < float(margin.rstrip(" %")) < math.inf:
        yield Violation("compare.margin", shown(margin), "a finite number > 0, or such as 1%")
    if spec.compare.HasField("decide") and spec.HasField("session"):
        hint = "the budget of the session decides: name final_seeds instead"
        yield Violation("compare.decide", "a budget of its own", "nothing in a session", hint)
    elif spec.compare.HasField("decide"):
        yield from _decide(spec.compare, len(searches) - 1)


def _decide(compare: Compared, num_comparisons: int) -> Iterator[Violation]:
    if compare.HasField("final_seeds"):
        hint = "decide adds seeds while the question is open, up to its max_seeds"
        found = shown(compare.final_seeds)
        yield Violation("compare.final_seeds", found, "nothing beside compare.decide", hint)
    # The smallest p of n sign flips is 2^(1-n).
    least = math.ceil(1 - math.log2(compare.decide.error / num_comparisons))
    if compare.decide.max_seeds < least:
        comparisons = f"{num_comparisons} comparison{'s' * (num_comparisons > 1)}"
        hint = f"with fewer no difference, however large, is significant in {comparisons}"
        found = shown(compare.decide.max_seeds)
        yield Violation("compare.decide.max_seeds", found, f"a number >= {least}", hint)


def _named(names: Sequence[str]) -> str:
    more = f", … ({len(names):,} in all)" if len(names) > _MOST_NAMED else ""
    return ", ".join(shown(name).strip('"') for name in names[:_MOST_NAMED]) + more


def _objective(spec: SweepSpec) -> Iterator[Violation]:
    metric = spec.objective.metric
    if spec.objective.HasField("metric") and not metric.startswith("val/"):
        hint = "settings are chosen on validation data"
        if metric.startswith("test/"):
            hint += ", for choosing on test data would make the final figure too good"
        yield Violation("objective.metric", shown(metric), "a metric val/…", hint)


def _pruning(spec: SweepSpec) -> Iterator[Violation]:
    if not spec.pruning.HasField("wilcoxon"):
        return
    threshold = spec.pruning.wilcoxon.threshold
    # The smallest p of n pairs is 2^-n; a trial whose seeds have all ended has nothing to stop.
    least = math.floor(-math.log2(threshold)) + 2
    if spec.seeds.count < least:
        hint = f"with fewer no p is below the threshold, {threshold:g}: no trial would be stopped"
        found = f"{spec.seeds.count} under pruning.wilcoxon"
        yield Violation("seeds.count", found, f"a number >= {least}", hint)


def _max_time(spec: SweepSpec) -> Iterator[Violation]:
    seconds = Plan(spec).max_seconds
    if seconds is not None and seconds > MAX_DAYS * 86400:
        yield Violation("max_time", shown(spec.max_time), f"at most {MAX_DAYS}d")


def _seeds(spec: SweepSpec) -> Iterator[Violation]:
    varied = set(varied_paths(spec.space))
    more = spec.compare.final_seeds if spec.HasField("compare") else 0
    if not spec.seeds.vary and spec.seeds.count + more > 1:
        hint = "space varies training.seed already; name another seed, such as split.seed"
        yield Violation("seeds.vary", "nothing", "the path of a seed", hint)
    base = to_dict(spec.base)
    for index, path in enumerate(spec.seeds.vary):
        at = f"seeds.vary[{index}]"
        if path.rpartition(".")[2] != "seed":
            hint = "such as training.seed, split.seed"
            yield Violation(at, shown(path), "the path of a seed", hint)
        elif path in varied:
            yield Violation(at, f"{path}, which space varies too", "a path in one of them")
        elif seed_at(base, path) + spec.seeds.count + more - 1 > _MAX_SEED:
            found = f"{seed_at(base, path)}, and {spec.seeds.count + more - 1} seeds after it"
            yield Violation(f"base.{path}", found, f"seeds <= {_MAX_SEED}")
        else:
            try:
                put({}, [(path, 0)])
            except SpecError as exc:
                yield from (Violation(at, each.found, each.allowed) for each in exc.violations)
