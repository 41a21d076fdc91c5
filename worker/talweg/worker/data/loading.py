"""From a spec to the data it trains on."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from talweg.spec import arrays_of, examples_of, inputs_of, kind, task_kind
from talweg.v1.options_pb2 import BINARY, METRIC_LEARNING, MULTICLASS
from talweg.v1.spec_pb2 import JobSpec, Split
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker.data import large
from talweg.worker.data.bundle import DataBundle, Inputs
from talweg.worker.data.digit_scenes import digit_scenes
from talweg.worker.data.loaders import LOADERS
from talweg.worker.data.pairs_triplets import digit_pairs, digit_triplets
from talweg.worker.data.plugin.source import load as load_plugin
from talweg.worker.data.preprocessing import (
    Arrays,
    encode_targets,
    fit_table,
    num_targets,
    put_in_outliers,
    scalers_of,
    split_of,
)
from talweg.worker.data.raw import RawData
from talweg.worker.data.split import Division, divide, divide_classes
from talweg.worker.data.stored.looking import stored_info
from talweg.worker.data.stored.source import load as load_stored
from talweg.worker.errors import UserSpecError

DIVIDED: dict[str, Callable[[Any, Split], tuple[RawData, Division]]] = {
    "digit_scenes": digit_scenes,
    "digit_pairs": digit_pairs,
    "digit_triplets": digit_triplets,
}
"""The members of `Dataset` whose parts are made each by itself; the others have a loader."""

_MOST_KEPT = 16
_MOST_BYTES_KEPT = 256 * 2**20


class BundleCache:
    """The bundles used last, within a bound on their number and memory."""

    def __init__(self, *, most: int = _MOST_KEPT, most_bytes: int = _MOST_BYTES_KEPT) -> None:
        """Make an empty cache of at most so many bundles and bytes."""
        self._most = most
        self._most_bytes = most_bytes
        self._bundles: OrderedDict[bytes, DataBundle] = OrderedDict()

    def load(self, spec: JobSpec) -> DataBundle:
        """Return the data of a filled spec; see `load`."""
        key = _key(spec)
        bundle = self._bundles.pop(key, None) or make(spec)
        self._bundles[key] = bundle
        while self._bundles and (
            len(self._bundles) > self._most
            or sum(bundle.num_bytes for bundle in self._bundles.values()) > self._most_bytes
        ):
            self._bundles.popitem(last=False)
        return bundle


_cache = BundleCache()


def load(spec: JobSpec) -> DataBundle:
    """Return the data of a checked spec: loaded, divided, preprocessed.

    The same data again comes from memory, so nobody may write to it. A plug-in is asked each time:
    what it returns may be others' to change.

    Raises:
        UserSpecError: The data cannot be divided as asked, or a plug-in fails.
    """
    is_plugin = kind(spec.dataset)[0] == "plugin"
    return make(spec) if is_plugin else _cache.load(spec)


def make(spec: JobSpec) -> DataBundle:
    """Do what `load` does, without remembering it."""
    raw, division = _raw(spec)
    arrays = _wanted(raw, spec)
    difficulty = _difficulty(raw, spec)
    division = _division(spec, raw, arrays, division)
    table = fit_table(raw, arrays, division)
    classes = encode_targets(spec, raw, arrays, division)
    parts = {
        part: {name: large.rows_of(array, indices) for name, array in arrays.items()}
        for part, indices in division._asdict().items()
    }
    put_in_outliers(spec, parts["train"])
    scalers = scalers_of(spec, parts["train"], table)
    first = inputs_of(spec)[0]
    if table is not None and first in scalers:
        table = table.standardised(scalers[first].mean, scalers[first].sd)
    splits = {part: split_of(arrays, scalers, first) for part, arrays in parts.items()}
    return DataBundle(
        name=kind(spec.dataset)[0] if raw.stored is None else raw.stored.name,
        digest=_digest(raw) if raw.stored is None else raw.stored.source.digest,
        **splits,
        inputs=Inputs(
            arrays[first].shape[1:],
            raw.feature_names,
            scalers.get(first),
            table=table,
            from_bytes=raw.from_bytes,
        ),
        num_targets=num_targets(arrays, raw, classes),
        class_names=classes,
        target_names=raw.target_names,
        target_scaler=scalers.get("y"),
        train_rows=division.train,
        difficulty=None if difficulty is None else torch.from_numpy(difficulty[division.train]),
        weights=_weights(raw, spec, division),
        stored=None
        if raw.stored is None
        else stored_info(raw.stored, arrays, division, table, classes),
        facts=None if raw.stored is None else raw.stored.source.facts,
    )


def _raw(spec: JobSpec) -> tuple[RawData, Division | None]:
    """Return the data set, and its division where it is made in parts."""
    name, message = kind(spec.dataset)
    if name == "stored":
        return load_stored(spec), None
    if name == "plugin":
        return load_plugin(spec), None
    return (
        DIVIDED[name](message, spec.split) if name in DIVIDED else (LOADERS[name](message), None)
    )


def _division(
    spec: JobSpec, raw: RawData, arrays: Arrays, made_with_the_data: Division | None
) -> Division:
    """Return which samples go to training, validation and test."""
    task = task_kind(spec)
    by_class = spec.split.stratified and task in (BINARY, MULTICLASS)
    classes = raw.arrays["y"] if by_class else None
    by_column = None if raw.stored is None else raw.stored.divide(spec.split, classes)
    if by_column is not None:
        return by_column
    if task == METRIC_LEARNING and examples_of(spec) == MetricLearning.labels:
        return divide_classes(spec.split, arrays["y"])
    if made_with_the_data is not None:
        return made_with_the_data
    return divide(spec.split, len(arrays[inputs_of(spec)[0]]), classes)


def _wanted(raw: RawData, spec: JobSpec) -> Arrays:
    """Return the arrays that the task reads."""
    wanted = arrays_of(spec)
    missing = [name for name in wanted if name not in raw.arrays]
    if missing:
        raise UserSpecError(
            f"dataset {kind(spec.dataset)[0]} has no array {' and no '.join(missing)}, which task "
            f"{kind(spec.task)[0]} reads; it has {', '.join(raw.arrays)}"
        )
    if "y" in raw.arrays and examples_of(spec) != MetricLearning.labels:
        wanted = (*wanted, "y")
    return {name: raw.arrays[name] for name in wanted}


def _difficulty(raw: RawData, spec: JobSpec) -> NDArray[np.float64] | None:
    """Return how hard each sample is, where the spec names an array that tells."""
    curriculum = spec.training.curriculum
    if curriculum.difficulty.WhichOneof("kind") != "array":
        return None
    path = "training.curriculum.difficulty.array"
    name = curriculum.difficulty.array.name
    if raw.stored is not None:
        return raw.stored.difficulty(name)
    fitting = [name for name, array in raw.arrays.items() if array.ndim == 1]
    if name not in fitting:
        actual = f"of shape {raw.arrays[name].shape}" if name in raw.arrays else "no array"
        raise UserSpecError(
            f"{path} must name an array with one value per sample of dataset "
            f"{kind(spec.dataset)[0]}, {' or '.join(fitting) or 'which has none'}, but got "
            f"{name!r}, {actual}"
        )
    return raw.arrays[name].astype(np.float64)


def _weights(raw: RawData, spec: JobSpec, division: Division) -> torch.Tensor | None:
    """Return the weight of each training sample, where they are drawn by weight."""
    if spec.training.sampling.WhichOneof("kind") != "weighted":
        return None
    assert raw.stored is not None
    return torch.from_numpy(raw.stored.weights()[division.train])


def _digest(raw: RawData) -> str:
    sha = hashlib.sha256()
    for array in raw.arrays.values():
        sha.update(f"{array.dtype.str} {array.shape};".encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def _key(spec: JobSpec) -> bytes:
    """Return all of a spec that decides its data."""
    messages = (spec.task, spec.dataset, spec.split, spec.preprocessing)
    parts = [message.SerializeToString(deterministic=True) for message in messages]
    parts.append(spec.training.curriculum.difficulty.array.name.encode())
    parts.append(spec.training.sampling.SerializeToString(deterministic=True))
    return b"\0".join(len(part).to_bytes(4) + part for part in parts)
