"""From arrays in their own units to what a task computes with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talweg.spec import inputs_of, task_kind
from talweg.v1.options_pb2 import BINARY, MULTILABEL, ORDINAL, REGRESSION
from talweg.v1.spec_pb2 import JobSpec, TargetOutliers
from talweg.worker.data import large
from talweg.worker.data.binning import Ranks
from talweg.worker.data.bundle import DataSplit, StandardScaler
from talweg.worker.data.raw import RawData
from talweg.worker.data.split import Division
from talweg.worker.data.stored.talweg_table import Table

Arrays = dict[str, NDArray[Any]]


def encode_targets(
    spec: JobSpec, raw: RawData, arrays: Arrays, division: Division
) -> tuple[str, ...]:
    """Bring the targets, in place, to what the task computes with; return the classes' names."""
    task = task_kind(spec)
    if "y" in arrays and task in (BINARY, MULTILABEL):
        arrays["y"] = arrays["y"].astype(np.float64)
    classes = raw.class_names if "image" not in arrays else ()
    if task == ORDINAL and not classes:
        ranks = Ranks.of(arrays["y"][division.train], spec.task.ordinal.ranks)
        arrays["y"], classes = ranks.of_numbers(arrays["y"]), ranks.names
    return classes


def fit_table(raw: RawData, arrays: Arrays, division: Division) -> Table | None:
    """Fill in the missing values of a user's table, in place; return the table as it was fitted.

    What is filled in, and which categories count as seen, comes from the training split alone.
    """
    if raw.table is None or "x" not in arrays:
        return None
    fitted = raw.table.fitted(large.rows_of(arrays["x"], division.train))
    fitted.fill(arrays["x"])
    return fitted


def scalers_of(spec: JobSpec, train: Arrays, table: Table | None) -> dict[str, StandardScaler]:
    """Return what standardises arrays, by their names, measured on the training split."""
    scalers: dict[str, StandardScaler] = {}
    if "y" in train and spec.preprocessing.standardise_targets:
        scalers["y"] = StandardScaler.of(train["y"])
    if spec.preprocessing.standardise_inputs:
        # One for all inputs that are compared: a sample is the same in any place.
        inputs = inputs_of(spec)
        scaler = _scaler_of([train[name] for name in inputs])
        if table is not None:
            scaler = scaler.only(table.is_scaled)
        scalers |= dict.fromkeys(inputs, scaler)
    return scalers


def _scaler_of(inputs: Sequence[NDArray[Any]]) -> StandardScaler:
    by_column = inputs[0].ndim == 2
    if large.is_large(sum(array.nbytes for array in inputs)):
        return StandardScaler.by(*large.mean_and_sd(inputs, by_column=by_column))
    return StandardScaler.of(np.concatenate(inputs), by_column=by_column)


def split_of(arrays: Arrays, scalers: Mapping[str, StandardScaler], first_input: str) -> DataSplit:
    """Return a part of the data, standardised, as tensors."""
    return DataSplit(
        {name: _tensor(array, scalers.get(name)) for name, array in arrays.items()}, first_input
    )


def num_targets(arrays: Arrays, raw: RawData, classes: tuple[str, ...]) -> int:
    """Return what the task's targets choose from, or channels of an image that is one."""
    if "image" in arrays:
        return int(arrays["image"].shape[1])
    # Of pairs and triplets no class need be known.
    return len(classes or raw.target_names) or 1


def put_in_outliers(spec: JobSpec, train: Arrays) -> None:
    """Move some of the training targets up, in place, where the spec asks for it."""
    if task_kind(spec) == REGRESSION and spec.preprocessing.HasField("target_outliers"):
        train["y"] = _with_outliers(train["y"], spec.preprocessing.target_outliers)


def _with_outliers(targets: NDArray[np.float64], spec: TargetOutliers) -> NDArray[np.float64]:
    """Move a share of the samples' targets up, in sd of the targets as they are."""
    rng = np.random.default_rng(spec.seed)
    moved = rng.choice(len(targets), round(spec.share * len(targets)), replace=False)
    shift = rng.uniform(spec.low_sd, spec.high_sd, len(moved))
    result = targets.copy()
    # Of several targets each moves by its own sd.
    result[moved] += (targets.std(axis=0) * shift[:, None]).reshape(result[moved].shape)
    return result


def _tensor(values: NDArray[Any], scaler: StandardScaler | None) -> Tensor:
    """Return numbers as float32, indices and counts as int64; what is that already, as it is."""
    if scaler is not None:
        # Divided in float64, and rounded once.
        return torch.from_numpy(large.converted(values, np.float32, scaler.scale))
    dtype = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float32
    if values.dtype != dtype:
        values = large.converted(values, dtype, np.asarray)
    return torch.from_numpy(values)
