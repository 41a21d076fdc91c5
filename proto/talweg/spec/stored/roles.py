"""Which column of a stored data set plays which role in a job."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from talweg.spec.errors import Violation, one_of, shown
from talweg.spec.spelling import nearest
from talweg.spec.stored.parts import part_named
from talweg.spec.stored.wording import AT
from talweg.v1.datasets_pb2 import StoredData
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset

ARRAY_ROLES = (
    "mask", "boxes", "classes", "count", "image", "depth",
    "left", "right", "same", "anchor", "positive", "negative",
)  # fmt: skip
"""Roles that an array of the role's own name plays where the spec does not say otherwise."""
_COLUMN_ROLES = ("group", "time", "split", "difficulty", "weight", "id")
_INPUT = "x"
_TARGET = "y"


@dataclass(frozen=True)
class Roles:
    """The columns by their roles."""

    inputs: tuple[DataColumn, ...]
    """What the model takes: columns of single values, or one array."""
    targets: tuple[DataColumn, ...]
    """What it predicts; none where the spec names none and no array is called y."""
    arrays: Mapping[str, DataColumn]
    """Of further roles that a task reads: mask, boxes, left and so on."""
    columns: Mapping[str, DataColumn]
    """Of roles that no model sees: group, time, split, difficulty, weight, id."""

    @property
    def is_table(self) -> bool:
        """Whether the inputs are columns of single values."""
        return all(not column.shape for column in self.inputs)

    @property
    def array_names(self) -> tuple[str, ...]:
        """The names of the arrays that a job finds: x, y, mask and so on."""
        names = [_INPUT] if self.inputs else []
        names += [_TARGET] if self.targets else []
        return (*names, *self.arrays)


def roles_of(info: StoredDataset, source: StoredData) -> tuple[Roles, list[Violation]]:
    """Give each column its role.

    Args:
        info: The data set's description, with all its columns.
        source: The roles that a job names.

    Returns:
        The roles, and what is wrong with them: columns that are not there, or that play two roles.
    """
    columns = {column.name: column for column in info.columns}
    named = list(_named(source))
    violations = [_unknown(at, name, columns) for at, name in named if name not in columns]
    if source.target and source.targets:
        violations.append(
            Violation(f"{AT}.targets", "target and targets", "one of them", "leave target out")
        )
    violations += _doubles(named)
    violations += _divided_twice(source)

    def column_of(role: str, *, default: str = "") -> DataColumn | None:
        return columns.get(getattr(source, role) or default)

    targets = [columns[name] for name in (source.targets or [source.target]) if name in columns]
    if not source.target and not source.targets and _TARGET in columns:
        targets = [columns[_TARGET]]
    arrays: dict[str, DataColumn] = {}
    for role in ARRAY_ROLES:
        default = columns.get(role)
        # Of a folder of images, whose array has this name, they are what the model takes.
        if role == "image" and _INPUT not in columns and not source.inputs:
            default = None
        array = column_of(role, default=role if default is not None and default.shape else "")
        # Numbers beside arrays, such as counts, have single values.
        if array is None and role in ("same", "count") and arrays:
            array = default
        if array is not None:
            arrays[role] = array
    others = {role: column for role in _COLUMN_ROLES if (column := column_of(role)) is not None}
    violations += _not_single(others)
    taken = {column.name for column in (*targets, *arrays.values(), *others.values())}
    inputs = _inputs(source, columns, taken | set(source.ignore))
    return Roles(tuple(inputs), tuple(targets), arrays, others), violations


def split_column(info: StoredDataset) -> str:
    """Return the column that names the part of each sample, as folders do; empty without one."""
    for column in info.columns:
        parts = {part_named(each.value) for each in column.values if each.count}
        is_divided = len(parts) > 1 and "train" in parts and "" not in parts
        if is_divided and column.type == DataColumn.CATEGORY:
            return column.name
    return ""


def _named(source: StoredData) -> Iterator[tuple[str, str]]:
    """Give each column that a job names, with the field that names it."""
    for role in ("inputs", "targets", "ignore"):
        for index, name in enumerate(getattr(source, role)):
            yield f"{AT}.{role}[{index}]", name
    for role in ("target", *ARRAY_ROLES, *_COLUMN_ROLES):
        if name := getattr(source, role):
            yield f"{AT}.{role}", name


def _inputs(
    source: StoredData, columns: Mapping[str, DataColumn], taken: set[str]
) -> Sequence[DataColumn]:
    if source.inputs:
        return [columns[name] for name in source.inputs if name in columns]
    if _INPUT in columns and columns[_INPUT].shape:
        return [columns[_INPUT]]
    free = [column for name, column in columns.items() if name not in taken]
    # Where there are arrays, single values beside them are no inputs unless they are named.
    return [column for column in free if column.shape] or free


def _unknown(at: str, name: str, columns: Mapping[str, DataColumn]) -> Violation:
    return Violation(at, shown(name), _columns_text(columns), nearest(name, columns))


def _columns_text(columns: Mapping[str, DataColumn]) -> str:
    most = 20
    names = list(columns)
    text = one_of(names[:most])
    return f"{text}, or {len(names) - most} further columns" if len(names) > most else text


def _not_single(columns: Mapping[str, DataColumn]) -> Iterator[Violation]:
    """Refuse arrays in roles that have one value per sample."""
    for role, column in columns.items():
        # Of weights more is said elsewhere.
        if column.shape and role != "weight":
            yield Violation(
                f"{AT}.{role}",
                f"{shown(column.name)}, an array with several values per sample",
                "a column with one value per sample",
            )


def _divided_twice(source: StoredData) -> Iterator[Violation]:
    """Refuse a time beside what divides the rows otherwise; groups beside parts are compared."""
    for role in ("group", "split"):
        if source.time and getattr(source, role):
            yield Violation(
                f"{AT}.time", f"time and {role}", "one of them", f"leave time or {role} out"
            )


def _doubles(named: Sequence[tuple[str, str]]) -> Iterator[Violation]:
    first: dict[str, str] = {}
    # What only divides or orders the rows may be an input too.
    beside = {f"{AT}.{role}" for role in _COLUMN_ROLES}
    for at, name in named:
        if at in beside:
            continue
        holder = first.setdefault(name, at)
        if holder != at:
            yield Violation(at, f"{shown(name)}, which {holder} names too", "one role per column")
