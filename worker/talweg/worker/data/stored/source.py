"""A job's stored data: what the job makes of the columns, beside the arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talweg.spec import arrays_of, task_kind
from talweg.spec.stored import DatasetName, Roles, dataset_label, facts_of, features_of, roles_of
from talweg.v1.datasets_pb2 import StoredData, StoredFacts
from talweg.v1.jobs_pb2 import Warning
from talweg.v1.options_pb2 import METRIC_LEARNING, MULTITASK
from talweg.v1.spec_pb2 import JobSpec, Split
from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.worker.data import large
from talweg.worker.data.raw import RawData
from talweg.worker.data.split import Division
from talweg.worker.data.stored import arrays as making
from talweg.worker.data.stored.division import divide_by_column, divide_by_time, divide_groups
from talweg.worker.data.stored.opening import OpenedDataset, open_dataset
from talweg.worker.data.stored.talweg_table import Table
from talweg.worker.errors import UserSpecError

_NUMBERS = (DataColumn.NUMBER, DataColumn.INTEGER, DataColumn.BOOLEAN)
_ORDERED = (DataColumn.NUMBER, DataColumn.INTEGER, DataColumn.DATE)
_NAMES_PARTS = (DataColumn.CATEGORY, DataColumn.TEXT)
_COMPARED = ("left", "anchor")
_BYTE = "uint8"
_DIFFICULTY = "difficulty"


@dataclass(frozen=True)
class StoredSource:
    """A stored data set as one job reads it."""

    source: StoredData
    """What the spec says."""
    opened: OpenedDataset
    """The data set."""
    roles: Roles
    """The columns by their roles."""

    @property
    def name(self) -> str:
        """What its owner calls the data set."""
        parsed = DatasetName.parse(self.source.name)
        return self.source.name if parsed is None else parsed.name

    @property
    def label(self) -> str:
        """The data set's name and version, for people."""
        return dataset_label(self.source)

    def columns_text(self) -> dict[str, str]:
        """Return what each column holds, by name."""
        return {column.name: _type_text(column) for column in self.opened.info.columns}

    def worded(self, warnings: Sequence[Warning]) -> tuple[Warning, ...]:
        """Return warnings of these data in words that fit where they come from."""
        return tuple(warnings)

    def divide(self, split: Split, classes: NDArray[np.int64] | None = None) -> Division | None:
        """Divide the samples by the column that the job names for it; None where it names none.

        Args:
            split: Shares and seed.
            classes: The class of each sample where the split is stratified; else None.

        Raises:
            UserSpecError: The column cannot tell.
        """
        by, columns = self.roles.columns, self.opened.columns
        if "split" in by:
            column = by["split"]
            _demand(column, _NAMES_PARTS, "split", "train, validation and test")
            return divide_by_column(split, columns.keys(column.name), column.name)
        if "time" in by:
            column = by["time"]
            _demand(column, _ORDERED, "time", "dates or numbers")
            return divide_by_time(split, self._times(column), column.name)
        if "group" in by:
            name = by["group"].name
            return divide_groups(split, columns.alike(name), name, classes)
        return None

    def _times(self, column: DataColumn) -> NDArray[np.float64]:
        columns = self.opened.columns
        if column.type != DataColumn.DATE:
            return columns.numbers(column.name)
        moments = columns.dates(column.name)
        times = moments.astype(np.int64).astype(np.float64)
        return np.where(np.isnat(moments), np.nan, times)

    def difficulty(self, name: str) -> NDArray[np.float64]:
        """Return how hard each sample is.

        Args:
            name: A column's, or `difficulty` for the one of that role.

        Raises:
            UserSpecError: There is no such column, or it has no number for each sample.
        """
        path = "training.curriculum.difficulty.array"
        known = {column.name: column for column in self.opened.info.columns}
        by_role = self.roles.columns.get(_DIFFICULTY)
        column = by_role if by_role is not None and name == _DIFFICULTY else known.get(name)
        if column is None or column.shape or column.type not in _NUMBERS:
            fitting = [each.name for each in known.values() if _is_number(each)]
            actual = "no column" if column is None else _type_text(column)
            raise UserSpecError(
                f"{path} must name a column with one number per sample of {self.label}, "
                f"{' or '.join(fitting[:20]) or 'which has none'}, or difficulty for the column "
                f"that dataset.stored.difficulty names, but got {name!r}, {actual}"
            )
        numbers = self.opened.columns.numbers(column.name)
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if len(wrong):
            raise UserSpecError(
                f"{path}: {column.name} must have a finite number in every row, but has none in "
                f"{len(wrong):,} rows, the first of them row {wrong[0] + 1}"
            )
        return numbers

    def weights(self) -> NDArray[np.float64]:
        """Return the weight of each sample; its column was checked when the data were loaded."""
        return self.opened.columns.numbers(self.roles.columns["weight"].name)


def load(spec: JobSpec) -> RawData:
    """Read the stored data of a filled spec.

    Raises:
        UserSpecError: The data set is gone or damaged, or does not hold what the job reads.
        StoreAwayError: The blob store cannot be reached now.
    """
    source = spec.dataset.stored
    opened = open_dataset(source)
    wanted, task = arrays_of(spec), task_kind(spec)
    facts, violations = facts_of(opened.info, source, task, wanted)
    if violations:
        # The server says so at submission, but of jobs that come by another way.
        raise UserSpecError("; ".join(str(violation) for violation in violations))
    roles, _ = roles_of(opened.info, source)
    return raw_data(StoredSource(source, opened, roles), facts, task, wanted)


def raw_data(
    stored: StoredSource, facts: StoredFacts, task: Any, wanted: Iterable[str]
) -> RawData:
    """Return the arrays that a task reads of columns in their roles.

    Args:
        stored: The columns.
        facts: What they hold for the job.
        task: The job's task.
        wanted: Names of the arrays.

    Raises:
        UserSpecError: The columns do not hold what the job reads.
    """
    roles, columns = stored.roles, stored.opened.columns
    arrays: dict[str, NDArray[Any]] = {}
    table: Table | None = None
    features: tuple[str, ...] = ()
    if "x" in wanted and roles.is_table:
        names = {column.name for column in roles.inputs}
        others = [each.name for each in stored.opened.info.columns if each.name not in names]
        missing = stored.opened.info.options.missing
        table = making.table_of(roles.inputs, others, missing, id_column=stored.source.id)
        arrays["x"] = large.empty((facts.num_samples, table.width), np.float64)
        table.spread(lambda column: making.values_of(columns, column), arrays["x"])
        features = tuple(n for feature in features_of(roles.inputs) for n in feature.names)
    elif "x" in wanted:
        arrays["x"] = making.input_array(columns, roles.inputs[0])
        if arrays["x"].ndim == 2:
            name, width = roles.inputs[0].name, arrays["x"].shape[1]
            features = tuple(f"{name}{index}" for index in range(width))
    for role in roles.arrays:
        if role in wanted:
            arrays[role] = making.role_array(columns, role, roles.arrays[role])
    making.without_padding(arrays)
    classes: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    # Pairs and triplets may have classes beside them, which only plots show.
    beside = task == METRIC_LEARNING and bool(roles.targets) and bool(roles.targets[0].values)
    if "y" in wanted or beside:
        arrays["y"] = making.target_array(columns, roles, task)
        if facts.num_classes or beside:
            classes = making.class_names(roles, task)
        else:
            numbers = making.target_names(roles)
    if facts.num_classes and not classes:
        of_pixels = [roles.arrays[name] for name in ("mask", "classes") if name in arrays]
        classes = making.classes_of_pixels(facts.num_classes, of_pixels)
        if task == MULTITASK and "y" in arrays:
            numbers = making.target_names(roles)
    from_bytes = table is None and any(column.dtype == _BYTE for column in _inputs(roles))
    return RawData(
        arrays, features, classes, numbers, table=table, from_bytes=from_bytes, stored=stored
    )


def _inputs(roles: Roles) -> Iterable[DataColumn]:
    """Return the arrays that the model takes, or compares."""
    return (*roles.inputs, *(roles.arrays[name] for name in _COMPARED if name in roles.arrays))


def _demand(
    column: DataColumn, types: Iterable[DataColumn.Type.ValueType], role: str, allowed: str
) -> None:
    if column.shape or column.type not in types:
        raise UserSpecError(
            f"dataset.stored.{role} must name a column of {allowed}, but {column.name} holds "
            f"{_type_text(column)}"
        )


def _is_number(column: DataColumn) -> bool:
    return not column.shape and column.type in _NUMBERS


def _type_text(column: DataColumn) -> str:
    name = DataColumn.Type.Name(column.type).lower()
    return f"{name} ({', '.join(map(str, column.shape))})" if column.shape else name
