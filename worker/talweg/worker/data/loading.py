"""From a spec to the data it trains on."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from talweg.spec import arrays_of, examples_of, inputs_of, kind, task_kind
from talweg.v1.options_pb2 import (
    BINARY,
    METRIC_LEARNING,
    MULTICLASS,
    MULTILABEL,
    ORDINAL,
    REGRESSION,
)
from talweg.v1.spec_pb2 import JobSpec, Split, TargetOutliers
from talweg.v1.tasks_pb2 import MetricLearning
from talweg.worker.data.binning import Ranks
from talweg.worker.data.bundle import DataBundle, DataSplit, Inputs, StandardScaler
from talweg.worker.data.digit_scenes import digit_scenes
from talweg.worker.data.loaders import LOADERS, RawData
from talweg.worker.data.pairs_triplets import digit_pairs, digit_triplets
from talweg.worker.data.split import Division, divide, divide_classes
from talweg.worker.errors import UserSpecError

DIVIDED: dict[str, Callable[[Any, Split], tuple[RawData, Division]]] = {
    "digit_scenes": digit_scenes,
    "digit_pairs": digit_pairs,
    "digit_triplets": digit_triplets,
}
"""The members of `Dataset` whose parts are made each by itself; the others have a loader."""

_Arrays = dict[str, NDArray[Any]]

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

    The same data again comes from memory, so nobody may write to it.

    Raises:
        UserSpecError: The data cannot be divided as asked.
    """
    return _cache.load(spec)


def make(spec: JobSpec) -> DataBundle:
    """Do what `load` does, without remembering it."""
    raw, division = _raw(spec)
    arrays = _wanted(raw, spec)
    difficulty = _difficulty(raw, spec)
    division = _division(spec, raw, arrays, division)
    classes = _encode_targets(spec, raw, arrays, division)
    parts = {
        part: {name: array[indices] for name, array in arrays.items()}
        for part, indices in division._asdict().items()
    }
    train = parts["train"]
    if task_kind(spec) == REGRESSION and spec.preprocessing.HasField("target_outliers"):
        train["y"] = _with_outliers(train["y"], spec.preprocessing.target_outliers)
    scalers = _scalers(spec, train)
    first = inputs_of(spec)[0]
    splits = {part: _split(arrays, scalers, first) for part, arrays in parts.items()}
    return DataBundle(
        name=kind(spec.dataset)[0],
        digest=_digest(raw),
        **splits,
        inputs=Inputs(arrays[first].shape[1:], raw.feature_names, scalers.get(first)),
        num_targets=_num_targets(arrays, raw, classes),
        class_names=classes,
        target_names=raw.target_names,
        target_scaler=scalers.get("y"),
        train_rows=division.train,
        difficulty=None if difficulty is None else torch.from_numpy(difficulty[division.train]),
    )


def _raw(spec: JobSpec) -> tuple[RawData, Division | None]:
    """Return the data set, and its division where it is made in parts."""
    name, message = kind(spec.dataset)
    return (
        DIVIDED[name](message, spec.split) if name in DIVIDED else (LOADERS[name](message), None)
    )


def _division(
    spec: JobSpec, raw: RawData, arrays: _Arrays, made_with_the_data: Division | None
) -> Division:
    """Return which samples go to training, validation and test."""
    task = task_kind(spec)
    if task == METRIC_LEARNING and examples_of(spec) == MetricLearning.labels:
        return divide_classes(spec.split, arrays["y"])
    if made_with_the_data is not None:
        return made_with_the_data
    by_class = spec.split.stratified and task in (BINARY, MULTICLASS)
    num_samples = len(arrays[inputs_of(spec)[0]])
    return divide(spec.split, num_samples, raw.arrays["y"] if by_class else None)


def _encode_targets(
    spec: JobSpec, raw: RawData, arrays: _Arrays, division: Division
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


def _scalers(spec: JobSpec, train: _Arrays) -> dict[str, StandardScaler]:
    """Return what standardises arrays, by their names, measured on the training split."""
    scalers: dict[str, StandardScaler] = {}
    if "y" in train and spec.preprocessing.standardise_targets:
        scalers["y"] = StandardScaler.of(train["y"])
    if spec.preprocessing.standardise_inputs:
        # One for all inputs that are compared: a sample is the same in any place.
        inputs = inputs_of(spec)
        together = np.concatenate([train[name] for name in inputs])
        scaler = StandardScaler.of(together, by_column=together.ndim == 2)
        scalers |= dict.fromkeys(inputs, scaler)
    return scalers


def _split(arrays: _Arrays, scalers: Mapping[str, StandardScaler], first_input: str) -> DataSplit:
    scaled = {
        name: scalers[name].scale(array) if name in scalers else array
        for name, array in arrays.items()
    }
    return DataSplit({name: _tensor(array) for name, array in scaled.items()}, first_input)


def _num_targets(arrays: _Arrays, raw: RawData, classes: tuple[str, ...]) -> int:
    """Return what the task's targets choose from, or channels of an image that is one."""
    if "image" in arrays:
        return int(arrays["image"].shape[1])
    # Of pairs and triplets no class need be known.
    return len(classes or raw.target_names) or 1


def _wanted(raw: RawData, spec: JobSpec) -> _Arrays:
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
    fitting = [name for name, array in raw.arrays.items() if array.ndim == 1]
    if name not in fitting:
        actual = f"of shape {raw.arrays[name].shape}" if name in raw.arrays else "no array"
        raise UserSpecError(
            f"{path} must name an array with one value per sample of dataset "
            f"{kind(spec.dataset)[0]}, {' or '.join(fitting) or 'which has none'}, but got "
            f"{name!r}, {actual}"
        )
    return raw.arrays[name].astype(np.float64)


def _with_outliers(targets: NDArray[np.float64], spec: TargetOutliers) -> NDArray[np.float64]:
    """Move a share of the samples' targets up, in sd of the targets as they are."""
    rng = np.random.default_rng(spec.seed)
    moved = rng.choice(len(targets), round(spec.share * len(targets)), replace=False)
    shift = rng.uniform(spec.low_sd, spec.high_sd, len(moved))
    result = targets.copy()
    # Of several targets each moves by its own sd.
    result[moved] += (targets.std(axis=0) * shift[:, None]).reshape(result[moved].shape)
    return result


def _tensor(values: NDArray[Any]) -> Tensor:
    """Return numbers as float32, indices and counts as int64."""
    whole = np.issubdtype(values.dtype, np.integer)
    return torch.from_numpy(values.astype(np.int64 if whole else np.float32, copy=not whole))


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
    return b"\0".join(len(part).to_bytes(4) + part for part in parts)
