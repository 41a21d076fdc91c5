"""A job's data, as training takes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from talweg.v1.datasets_pb2 import StoredFacts
from talweg.v1.jobs_pb2 import Warning
from talweg.worker.data.stored.talweg_table import Table


@dataclass(frozen=True)
class DataSplit:
    """The samples of the training, validation or test data: named arrays, one row a sample."""

    arrays: Mapping[str, Tensor]
    """What the task reads, by name, all of one length. What there may be several of in a sample,
    such as boxes, is padded to one number, with an array that counts it."""
    first: str = "x"
    """The array of inputs, or the first of them where several are compared."""

    def __post_init__(self) -> None:
        """Refuse arrays that differ in length.

        Raises:
            ValueError: They do, or there is none.
        """
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays must have the same length, but got {lengths}")

    @property
    def x(self) -> Tensor:
        """Inputs (N, …), float32, standardised where the spec asks for it.

        Of pairs and triplets those of the first sample.
        """
        return self.arrays[self.first]

    @property
    def y(self) -> Tensor:
        """Targets, where the task has one a sample.

        Regression: float32 (N,) or (N, K), standardised where the spec asks for it; binary:
        float32 (N,); multiclass and ordinal: int64 (N,); multilabel: float32 (N, L).
        """
        return self.arrays["y"]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values())))

    @property
    def num_bytes(self) -> int:
        """Memory of the tensors."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True)
class StandardScaler:
    """Mean and sd by which numbers were standardised."""

    mean: NDArray[np.float64]
    """One a column; a single one for images."""
    sd: NDArray[np.float64]
    """As mean; 1 where a column does not vary."""

    @classmethod
    def of(cls, values: NDArray[np.float64], *, by_column: bool = True) -> "StandardScaler":
        """Take the statistics of values (N, …): of each column, or one of all numbers."""
        axis = 0 if by_column else None
        mean = np.asarray(values.mean(axis=axis), dtype=np.float64)
        return cls.by(mean, np.asarray(values.std(axis=axis), dtype=np.float64))

    @classmethod
    def by(cls, mean: NDArray[np.float64], sd: NDArray[np.float64]) -> "StandardScaler":
        """Standardise by mean and sd, and leave columns that do not vary in their units."""
        # A column of one value has a rounding error for an sd, or 0: dividing would blow it up.
        rounding = 1e-12 * np.abs(mean)
        # The mean has such an error too, which is large in units of a large number.
        return cls(mean, np.where(sd > rounding, sd, np.maximum(rounding, 1.0)))

    def only(self, chosen: NDArray[np.bool_]) -> "StandardScaler":
        """Return one that leaves all but the chosen columns as they are."""
        return StandardScaler(np.where(chosen, self.mean, 0.0), np.where(chosen, self.sd, 1.0))

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take values in their own units to standardised ones."""
        return (values - self.mean) / self.sd

    def unscale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take standardised values back to their own units."""
        return values * self.sd + self.mean


@dataclass(frozen=True)
class Inputs:
    """What a network must know of the inputs."""

    shape: tuple[int, ...]
    """The shape of one sample: (features,) or (channels, height, width)."""
    names: tuple[str, ...]
    """Names of the features; empty for images."""
    scaler: StandardScaler | None
    """How the inputs were standardised; None where they were not."""
    table: Table | None = None
    """How raw columns become inputs, before they are standardised, where they are a user's."""
    from_bytes: bool = False
    """Whether the inputs are bytes of a user's, divided by 255."""

    @property
    def categories(self) -> tuple[tuple[int, int], ...]:
        """First number and width of each column of categories, one-hot, among the features."""
        return () if self.table is None else self.table.categories


@dataclass(frozen=True)
class StoredInfo:
    """What people are told of a user's data set, beside what a job makes of it."""

    label: str
    """Its name and version, such as houses@1a2b3c4d."""
    num_samples: int
    """All of them."""
    columns: Mapping[str, str]
    """What each column holds, by name."""
    warnings: tuple[Warning, ...] = ()
    """What is allowed, and makes results look better than they are."""
    notes: tuple[str, ...] = ()
    """How missing values and the like were filled in."""


@dataclass(frozen=True)
class DataBundle:
    """A data set as one job sees it, in CPU memory. Shared between jobs: nobody writes to it."""

    name: str
    """The data set's name in the catalogue; of a user's the name that it is stored under."""
    digest: str
    """sha256, in hexadecimal, of the data as loaded: before split and preprocessing. Of a user's
    the digest that it is stored under."""
    train: DataSplit
    """What is learnt from."""
    validation: DataSplit
    """What settings are chosen by; may be empty."""
    test: DataSplit
    """What the final figures come from; may be empty."""
    inputs: Inputs
    """What the inputs are."""
    num_targets: int
    """Numbers, classes or labels that a sample's target chooses from; channels of an image."""
    class_names: tuple[str, ...]
    """Names of the classes or labels; empty for numbers."""
    target_names: tuple[str, ...]
    """Names of the numbers to predict; empty for classes and labels."""
    target_scaler: StandardScaler | None
    """How the targets were standardised; None where they were not."""
    train_rows: NDArray[np.intp]
    """Of each training sample its row in the data set, from 0 (N,)."""
    difficulty: Tensor | None = None
    """How hard each training sample is (N,), float64, where the spec names an array that tells."""
    weights: Tensor | None = None
    """The weight of each training sample (N,), float64, where they are drawn by weight."""
    stored: StoredInfo | None = None
    """About the data set, where it is a user's."""
    facts: StoredFacts | None = None
    """What it holds for the job, where it is a user's."""

    @property
    def num_bytes(self) -> int:
        """Memory of all parts."""
        return sum(part.num_bytes for part in (self.train, self.validation, self.test))


def facts_of(bundle: DataBundle) -> dict[str, Any]:
    """Return what the tracking tells of a job's data, as JSON values."""
    stored = bundle.stored
    of_stored = (
        {}
        if stored is None
        else {
            "stored": {
                "label": stored.label,
                "num_samples": stored.num_samples,
                "columns": dict(stored.columns),
            }
        }
    )
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "num_train": len(bundle.train),
        "num_validation": len(bundle.validation),
        "num_test": len(bundle.test),
        "input_shape": list(bundle.inputs.shape),
        "num_targets": bundle.num_targets,
        "class_names": list(bundle.class_names),
        "target_names": list(bundle.target_names),
        **of_stored,
    }
