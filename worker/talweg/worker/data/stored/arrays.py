"""From the columns of a stored data set to the arrays that tasks read."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from talweg.spec.stored import Kind, Roles, features_of
from talweg.v1.options_pb2 import (
    BINARY,
    METRIC_LEARNING,
    MULTICLASS,
    MULTILABEL,
    SELF_SUPERVISED,
    TaskKind,
)
from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.worker.data import large
from talweg.worker.data.stored import talweg_table
from talweg.worker.data.stored.columns import Columns
from talweg.worker.data.stored.talweg_table import Column, Table
from talweg.worker.errors import UserSpecError

OF_CLASSES = (BINARY, MULTICLASS, METRIC_LEARNING, SELF_SUPERVISED)
"""Tasks whose target is a class."""
_BYTE = 255
_BACKGROUND = "background"
_IMAGES = ("image", "left", "right", "anchor", "positive", "negative")
_WHOLE = ("classes", "count", "same")


def table_of(
    inputs: Sequence[DataColumn],
    others: Sequence[str],
    missing: Sequence[str] = (),
    *,
    id_column: str = "",
) -> Table:
    """Return the columns of a table that the model takes, not fitted yet.

    Args:
        inputs: Of single values, none of them text.
        others: Names of the data set's further columns.
        missing: Texts that meant a missing value in the file.
        id_column: The column that names the rows; empty where none does.
    """
    columns = [
        Column(
            feature.column,
            _kind(feature.kind, described),
            values=feature.values,
            may_be_missing=feature.may_be_missing,
            form=described.date_form,
        )
        for feature, described in zip(features_of(inputs), inputs, strict=True)
    ]
    return Table(columns, others=others, missing=missing, id_column=id_column)


def _kind(kind: Kind, described: DataColumn) -> talweg_table.Kind:
    if kind is Kind.NUMBER:
        return "boolean" if described.type == DataColumn.BOOLEAN else "number"
    return "category" if kind is Kind.CATEGORY else "date"


def values_of(columns: Columns, column: Column) -> NDArray[Any]:
    """Return the values of a table's column as `Column.spread` takes them."""
    if column.kind == "category":
        return columns.codes(column.name)
    return columns.dates(column.name) if column.kind == "date" else columns.numbers(column.name)


def input_array(columns: Columns, column: DataColumn) -> NDArray[Any]:
    """Return vectors (N, features) or images (N, C, H, W), bytes brought to [0, 1]."""
    array = columns.array(column.name)
    if array.dtype == np.uint8:
        return large.converted(
            array, np.float32, lambda rows: rows.astype(np.float32) / np.float32(_BYTE)
        )
    # Statistics of vectors are those of the built-in data, in float64.
    return large.converted(array, np.float64 if array.ndim == 2 else np.float32, np.asarray)


def role_array(columns: Columns, role: str, column: DataColumn) -> NDArray[Any]:
    """Return what a task reads under the name of a role, as the built-in data sets have it."""
    if role in _IMAGES:
        return input_array(columns, column)
    array = columns.array(column.name)
    dtype: DTypeLike = np.int64 if role in _WHOLE else np.float32
    if role == "mask":
        dtype = np.uint8 if column.max <= _BYTE else np.int64
    return large.converted(array, dtype, np.asarray)


def without_padding(arrays: dict[str, NDArray[Any]]) -> None:
    """Clear, in place, the classes and boxes beyond the number that an image has."""
    if {"boxes", "classes", "count"} <= arrays.keys():
        boxes, classes, count = (arrays[name] for name in ("boxes", "classes", "count"))
        most = min(boxes.shape[1], classes.shape[1])
        present = np.arange(most) < count[:, None]
        arrays["boxes"] = np.where(present[..., None], boxes[:, :most], 0).astype(boxes.dtype)
        arrays["classes"] = np.where(present, classes[:, :most], 0)


def target_array(columns: Columns, roles: Roles, task: TaskKind.ValueType) -> NDArray[Any]:
    """Return the targets; see `RawData.arrays`."""
    first = roles.targets[0]
    if task in OF_CLASSES:
        return columns.classes(first.name)
    if first.shape:
        array = columns.array(first.name).astype(np.float64)
        target = array[:, 0] if array.shape[1:] == (1,) else array
    elif len(roles.targets) == 1 and task != MULTILABEL:
        target = columns.numbers(first.name)
    else:
        target = np.stack([columns.numbers(column.name) for column in roles.targets], axis=1)
    if task != MULTILABEL:
        return target
    if not np.isin(target, (0, 1)).all():
        raise UserSpecError(
            f"dataset.stored.targets: {first.name} must hold 0 and 1 alone under task multilabel, "
            f"but holds {target[~np.isin(target, (0, 1))][0]:g}"
        )
    return target.astype(np.int64)


def target_names(roles: Roles) -> tuple[str, ...]:
    """Return a name for each number or label that is a target."""
    first = roles.targets[0]
    if first.shape and first.shape[0] > 1:
        return tuple(f"{first.name}{index}" for index in range(first.shape[0]))
    return tuple(column.name for column in roles.targets)


def class_names(roles: Roles, task: TaskKind.ValueType) -> tuple[str, ...]:
    """Return the names of the classes of a target."""
    if task == MULTILABEL:
        return target_names(roles)
    return tuple(each.value for each in roles.targets[0].values)


def classes_of_pixels(count: int, columns: Sequence[DataColumn]) -> tuple[str, ...]:
    """Return names for classes of masks and boxes, which may have only numbers.

    Args:
        count: Classes, the background among them.
        columns: The masks, or the classes of boxes; of several the first with names counts.
    """
    numbered = (_BACKGROUND, *(f"class {index}" for index in range(1, count)))
    named = next((tuple(each.value for each in column.values) for column in columns
                  if column.type == DataColumn.CATEGORY), ())  # fmt: skip
    return (*named[:count], *numbered[len(named) :])
