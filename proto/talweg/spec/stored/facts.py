"""What a stored data set holds for a job: checked, and told as the catalogue tells it."""

from collections.abc import Iterator, Sequence

from talweg.spec.errors import Violation, shown
from talweg.spec.stored.arrays import check_arrays
from talweg.spec.stored.features import Kind, features_of
from talweg.spec.stored.roles import Roles, roles_of, split_column
from talweg.spec.stored.weights import check_weights
from talweg.spec.stored.wording import (
    AT,
    MOST_CLASSES,
    NUMBERS,
    complete,
    rows_text,
    type_text,
    values_text,
)
from talweg.v1 import options_pb2
from talweg.v1.datasets_pb2 import StoredData, StoredFacts
from talweg.v1.options_pb2 import TaskKind
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset

_MOST_FEATURES = 100_000
# Tasks that a column to predict belongs to; the others read their own arrays, or inputs alone.
_OF_NUMBERS = (options_pb2.REGRESSION, options_pb2.ORDINAL)
_OF_CLASSES = (options_pb2.BINARY, options_pb2.MULTICLASS)
# Tasks that compare samples of classes, or are judged by them.
_BY_CLASSES = (options_pb2.METRIC_LEARNING, options_pb2.SELF_SUPERVISED)


def facts_of(
    info: StoredDataset, source: StoredData, task: TaskKind.ValueType, arrays: Sequence[str]
) -> tuple[StoredFacts, list[Violation]]:
    """Tell what a data set holds for a job, and what keeps it from training.

    Args:
        info: The data set's description, with all its columns.
        source: The roles that the job names.
        task: The job's task.
        arrays: The arrays that the task reads, such as x and mask; see `arrays_of`.

    Returns:
        The facts, and all violations.
    """
    roles, violations = roles_of(info, source)
    facts = StoredFacts(
        num_samples=info.num_samples,
        arrays=roles.array_names,
        negative_targets=any(column.min < 0 for column in roles.targets),
    )
    if "group" in roles.columns:
        facts.num_groups = roles.columns["group"].num_distinct
    if unused := _unused_split(info, source, roles):
        facts.unused_split = unused
    if "x" in arrays:
        violations += _describe_inputs(facts, roles)
    if not roles.targets and (source.target or source.targets):
        # An unknown column is said already; nothing more can be said of the target.
        pass
    elif task in _OF_NUMBERS or (task == options_pb2.MULTITASK and "y" in arrays):
        violations += _numbers(facts, roles, task)
    elif task in _OF_CLASSES or (task in _BY_CLASSES and "y" in arrays):
        violations += _classes(facts, roles, task)
    elif task == options_pb2.MULTILABEL:
        violations += _labels(facts, roles)
    violations += check_arrays(facts, roles, arrays)
    if "weight" in roles.columns:
        violations += check_weights(roles.columns["weight"])
    return facts, violations


def _unused_split(info: StoredDataset, source: StoredData, roles: Roles) -> str:
    """Return the column that names the part of each sample, where a job leaves it alone."""
    if "split" in roles.columns or "time" in roles.columns:
        return ""
    name = split_column(info)
    named = {*source.ignore, *source.inputs, *(column.name for column in roles.targets)}
    return "" if name in named else name


def _describe_inputs(facts: StoredFacts, roles: Roles) -> Iterator[Violation]:
    """Add shape and range of the inputs."""
    columns, at = roles.inputs, f"{AT}.inputs"
    if not columns:
        yield Violation(at, "no column left for the model", "at least one column")
        return
    if not roles.is_table:
        yield from _array_input(facts, columns)
        return
    usable = []
    for column in columns:
        problem = _problem(column)
        if problem is None:
            usable.append(column)
        else:
            yield problem
    features = features_of(usable)
    width = sum(feature.width for feature in features)
    if width > _MOST_FEATURES:
        widest = max(features, key=lambda feature: feature.width)
        yield Violation(
            at,
            f"{width:,} numbers per row, {widest.width:,} of them for {shown(widest.column)}",
            f"at most {_MOST_FEATURES:,}",
            f"leave columns out: ignore: [{widest.column}]",
        )
    facts.shape.append(width)
    facts.num_categories = sum(feature.kind is Kind.CATEGORY for feature in features)
    facts.in_unit_range = all(
        feature.kind is Kind.CATEGORY or (column.min >= 0 and column.max <= 1)
        for feature, column in zip(features, usable, strict=True)
    )


def _array_input(facts: StoredFacts, columns: Sequence[DataColumn]) -> Iterator[Violation]:
    at = f"{AT}.inputs"
    if len(columns) > 1:
        names = ", ".join(column.name for column in columns)
        yield Violation(at, f"{names}", "one array, or columns of single values")
        return
    (column,) = columns
    if len(column.shape) not in (1, 3):
        yield Violation(
            at,
            f"{shown(column.name)} with samples of shape {tuple(column.shape)}",
            "vectors (features,) or images (channels, height, width)",
        )
        return
    if column.num_non_finite or column.num_missing:
        yield _not_finite(at, column)
    facts.shape.extend(column.shape)
    # Bytes of images are brought to [0, 1].
    facts.in_unit_range = column.dtype == "uint8" or (column.min >= 0 and column.max <= 1)


def _problem(column: DataColumn) -> Violation | None:
    """Say why a column of a table cannot be an input."""
    at = f"{AT}.inputs"
    if column.type == DataColumn.TEXT:
        return Violation(
            at,
            f"{shown(column.name)}, which is text with {column.num_distinct:,} distinct values",
            "numbers, dates, true or false, and categories",
            f"leave it out by ignore: [{column.name}], name the rows by it with id: {column.name},"
            f" or upload it as categories: talweg data add --categories {column.name}",
        )
    if column.num_non_finite:
        return _not_finite(at, column)
    if column.num_missing and column.min == column.max and column.num_distinct == 0:
        return Violation(
            at,
            f"{shown(column.name)}, which has no value at all",
            "a column with values",
            f"leave it out by ignore: [{column.name}]",
        )
    return None


def _not_finite(at: str, column: DataColumn) -> Violation:
    missing = column.num_missing and not column.num_non_finite
    rows = column.missing_rows if missing else column.non_finite_rows
    number = column.num_missing if missing else column.num_non_finite
    what = "missing" if missing else "NaN or infinite"
    return Violation(
        at,
        f"{number:,} {what} values in {shown(column.name)}{rows_text(rows, number)}",
        "finite numbers",
        f"mend them in the file, or leave the column out by ignore: [{column.name}]",
    )


def _numbers(facts: StoredFacts, roles: Roles, task: TaskKind.ValueType) -> Iterator[Violation]:
    yield from _some_target(roles)
    for column in roles.targets:
        at = _target_field(roles)
        if column.type not in NUMBERS:
            yield Violation(
                at,
                f"{shown(column.name)}, which holds {type_text(column)}",
                "a column of numbers",
                "for classes write task: multiclass or task: binary",
            )
        yield from complete(at, column)
        if column.shape and (len(column.shape) > 1 or len(roles.targets) > 1):
            yield Violation(at, f"samples of shape {tuple(column.shape)}", "one number, or (K,)")
    number = len(roles.targets)
    if number == 1 and roles.targets[0].shape:
        number = roles.targets[0].shape[0]
    if task == options_pb2.ORDINAL and number > 1:
        yield Violation(f"{AT}.targets", f"{number} columns", "one under task ordinal")
    facts.num_targets = number


def _classes(facts: StoredFacts, roles: Roles, task: TaskKind.ValueType) -> Iterator[Violation]:
    yield from _some_target(roles)
    if not roles.targets:
        return
    column, at = roles.targets[0], _target_field(roles)
    if len(roles.targets) > 1 or column.shape:
        yield Violation(at, "several values per sample", "one column of classes")
        return
    yield from complete(at, column)
    number = len(column.values)
    if task == options_pb2.BINARY and number != 2:
        yield Violation(
            at,
            f"{shown(column.name)} with {values_text(column)}",
            "a column of exactly 2 distinct values",
            "for more classes write task: multiclass" if number > 2 else "",
        )
    elif not 2 <= number <= MOST_CLASSES:
        yield Violation(
            at,
            f"{shown(column.name)} with {values_text(column)}",
            f"a column of 2 to {MOST_CLASSES:,} classes",
            "for numbers write task: regression" if column.type in NUMBERS else "",
        )
    for value in column.values:
        if value.count == 1 and task != options_pb2.METRIC_LEARNING:
            yield Violation(
                at,
                f"class {shown(value.value)} of {shown(column.name)} with a single sample",
                "at least 2 samples of each class",
                "remove the sample, or give it another class",
            )
    facts.num_classes = number
    facts.smallest_class = min((value.count for value in column.values if value.count), default=0)


def _labels(facts: StoredFacts, roles: Roles) -> Iterator[Violation]:
    yield from _some_target(roles)
    at = f"{AT}.targets"
    for column in roles.targets:
        yield from complete(at, column)
        # Fractions are no labels; of an array the worker sees whether there are any.
        has_fractions = column.type == DataColumn.NUMBER and not column.shape
        if column.type not in NUMBERS or has_fractions or column.min < 0 or column.max > 1:
            yield Violation(
                at,
                f"{shown(column.name)}, {type_text(column)}",
                "columns of 0 and 1, a label each",
            )
    number = len(roles.targets)
    if number == 1 and len(roles.targets[0].shape) == 1:
        number = roles.targets[0].shape[0]
    if roles.targets and number < 2:
        yield Violation(at, "one label", "at least 2 labels", "for one label write task: binary")
    facts.num_classes = number


def _some_target(roles: Roles) -> Iterator[Violation]:
    if not roles.targets:
        yield Violation(f"{AT}.target", "nothing", "the name of a column", "write target: COLUMN")


def _target_field(roles: Roles) -> str:
    return f"{AT}.targets" if len(roles.targets) > 1 else f"{AT}.target"
