"""What a data set plug-in returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Data:
    """Samples: the columns of a table, or named arrays, and the roles that they play.

    Roles are those of stored data. An array whose name is a role's plays it without mention: x, y,
    mask, boxes, classes, count, image, depth, left, right, same, anchor, positive, negative.
    """

    columns: Any
    """A pandas DataFrame, or a mapping from names to arrays (N, …), lists or series."""
    target: str = ""
    """The column to predict; y where none is named and there is such a column."""
    targets: Sequence[str] = ()
    """Several columns to predict, instead of one."""
    inputs: Sequence[str] = ()
    """Columns, or the array, that the model takes. Where empty: the array x or the only one
    without another role; of a table all columns without another role."""
    ignore: Sequence[str] = ()
    """Columns to leave out."""
    group: str = ""
    """A column of groups: all samples of a group stand in the same part of the split."""
    time: str = ""
    """A column of points in time: training takes the earliest samples, the test the latest."""
    split: str = ""
    """A column that says the part of each sample: train, validation or test."""
    difficulty: str = ""
    """A column with how hard each sample is, for a curriculum."""
    class_names: Sequence[str] = ()
    """Names of the classes, where the target counts them by whole numbers from 0."""
