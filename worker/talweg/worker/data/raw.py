"""A data set before it is divided and preprocessed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from talweg.worker.data.stored.talweg_table import Table

if TYPE_CHECKING:
    from talweg.worker.data.stored.source import StoredSource


@dataclass(frozen=True)
class RawData:
    """A data set as it comes, in its own units."""

    arrays: Mapping[str, NDArray[Any]]
    """By name, all of one length N. `x`: inputs (N, features), or images (N, channels, height,
    width), floats. `y`, where a sample has one target: numbers (N,) or (N, K), float64; else
    int64: class indices (N,), or 0 and 1 for labels (N, L). Others as the tasks read them."""
    feature_names: tuple[str, ...] = ()
    """Names of the features; empty for images."""
    class_names: tuple[str, ...] = ()
    """Names of the classes or labels; empty for numbers."""
    target_names: tuple[str, ...] = ()
    """Names of the numbers; empty for classes and labels."""
    table: Table | None = None
    """The columns that `x` is made of, where they are a user's: NaN stands for missing values
    until the table is fitted to the training data."""
    from_bytes: bool = False
    """Whether the inputs are bytes of a user's, divided by 255."""
    stored: "StoredSource | None" = field(default=None, compare=False)
    """Where the data come from, where they are a user's."""
