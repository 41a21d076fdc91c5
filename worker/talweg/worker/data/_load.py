"""From a spec to the data it trains on."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talweg.spec import kind, task_kind
from talweg.v1.options_pb2 import BINARY, MULTICLASS, MULTILABEL, ORDINAL, REGRESSION, TaskKind
from talweg.v1.spec_pb2 import JobSpec, TargetOutliers
from talweg.worker.data._bundle import DataBundle, Inputs, Part, Scaler
from talweg.worker.data._loaders import LOADERS, RawData
from talweg.worker.data._ranks import Ranks
from talweg.worker.data._split import divide

_MOST_KEPT = 16
_MOST_BYTES_KEPT = 256 * 2**20


class BundleCache:
    """The bundles used last, within a bound on their number and memory."""

    def __init__(self, *, most: int = _MOST_KEPT, most_bytes: int = _MOST_BYTES_KEPT) -> None:
        """Makes an empty cache of at most so many bundles and bytes."""
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, DataBundle] = OrderedDict()

    def load(self, spec: JobSpec) -> DataBundle:
        """Gives the data of a filled spec; see `load`."""
        key = _key(spec)
        bundle = self._kept.pop(key, None) or make(spec)
        self._kept[key] = bundle
        while self._kept and (
            len(self._kept) > self._most
            or sum(kept.num_bytes for kept in self._kept.values()) > self._most_bytes
        ):
            self._kept.popitem(last=False)
        return bundle


_cache = BundleCache()


def load(spec: JobSpec) -> DataBundle:
    """Gives the data of a checked spec: loaded, divided, preprocessed.

    The same data again comes from memory, so nobody may write to it.

    Raises:
        UserSpecError: The data cannot be divided as asked.
    """
    return _cache.load(spec)


def make(spec: JobSpec) -> DataBundle:
    """Does what `load` does, without remembering it."""
    name, message = kind(spec.dataset)
    task = task_kind(spec)
    raw = LOADERS[name](message)
    targets = _of_task(raw, task)
    by_class = spec.split.stratified and task in (BINARY, MULTICLASS)
    division = divide(spec.split, len(targets), raw.targets if by_class else None)
    classes = raw.class_names
    if task == ORDINAL and not classes:
        ranks = Ranks.of(targets[division.train], spec.task.ordinal.ranks)
        targets, classes = ranks.of_numbers(targets), ranks.names
    parts = {
        part: (raw.inputs[indices], targets[indices])
        for part, indices in division._asdict().items()
    }

    preprocessing = spec.preprocessing
    x_train, y_train = parts["train"]
    target_scaler = None
    if task == REGRESSION:
        if preprocessing.HasField("target_outliers"):
            y_train = _with_outliers(y_train, preprocessing.target_outliers)
            parts["train"] = (x_train, y_train)
        if preprocessing.standardise_targets:
            target_scaler = Scaler.of(y_train)
    input_scaler = None
    if preprocessing.standardise_inputs:
        input_scaler = Scaler.of(x_train, by_column=x_train.ndim == 2)

    def part(x: NDArray[np.float64], y: NDArray[Any]) -> Part:
        if input_scaler is not None:
            x = input_scaler.scale(x)
        if target_scaler is not None:
            y = target_scaler.scale(y)
        return Part(_floats(x), _floats(y) if y.dtype == np.float64 else torch.from_numpy(y))

    return DataBundle(
        name=name,
        digest=_digest(raw),
        train=part(*parts["train"]),
        validation=part(*parts["validation"]),
        test=part(*parts["test"]),
        inputs=Inputs(raw.inputs.shape[1:], raw.feature_names, input_scaler),
        num_targets=len(classes) if classes else len(raw.target_names),
        class_names=classes,
        target_names=raw.target_names,
        target_scaler=target_scaler,
    )


def _of_task(raw: RawData, task: TaskKind.ValueType) -> NDArray[Any]:
    """The targets in the type that the task's losses take."""
    return raw.targets.astype(np.float64) if task in (BINARY, MULTILABEL) else raw.targets


def _with_outliers(targets: NDArray[np.float64], spec: TargetOutliers) -> NDArray[np.float64]:
    """Moves a share of the samples' targets up, in sd of the targets as they are."""
    rng = np.random.default_rng(spec.seed)
    moved = rng.choice(len(targets), round(spec.share * len(targets)), replace=False)
    shift = rng.uniform(spec.low_sd, spec.high_sd, len(moved))
    result = targets.copy()
    # Of several targets each moves by its own sd.
    result[moved] += (targets.std(axis=0) * shift[:, None]).reshape(result[moved].shape)
    return result


def _floats(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _digest(raw: RawData) -> str:
    sha = hashlib.sha256()
    for array in (raw.inputs, raw.targets):
        sha.update(f"{array.dtype.str} {array.shape};".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _key(spec: JobSpec) -> bytes:
    """All of a spec that decides its data."""
    messages = (spec.task, spec.dataset, spec.split, spec.preprocessing)
    parts = [message.SerializeToString(deterministic=True) for message in messages]
    return b"\0".join(len(part).to_bytes(4) + part for part in parts)
