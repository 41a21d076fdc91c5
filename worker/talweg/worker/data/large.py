"""Arrays that may be larger than memory: in a file that is mapped, and gone with its last user.

The kernel keeps in memory what is read often, and writes the rest back to the file. What an array
holds does not depend on where it lies.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from talweg.spec.private import make_private_folder
from talweg.worker.errors import StoreAwayError
from talweg.worker.settings import Settings

MOST_IN_MEMORY = 2 * 2**30
"""Bytes of an array above which it lies in a file, and batches are gathered one by one.

Its mean and sd are then computed in pieces, which rounds otherwise: so it is one on all machines.
"""
_PIECE = 32 * 2**20


def is_large(num_bytes: int) -> bool:
    """Return whether an array of so many bytes lies in a file."""
    return num_bytes > MOST_IN_MEMORY


def empty(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Return an array to be written to, in a file of TALWEG_DATA_CACHE if it is large.

    Raises:
        StoreAwayError: There is no room for the file.
    """
    kind = np.dtype(dtype)
    num_bytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if not is_large(num_bytes):
        return np.empty(tuple(shape), kind)
    folder = Settings.from_env().data_cache
    try:
        make_private_folder(folder)
        # Without a name: it goes with the last that maps it, also when the process is killed.
        with tempfile.TemporaryFile(dir=folder) as file:
            # A disk that is full is told here; a write to the mapping would end the process.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            return np.asarray(np.memmap(file, kind, "r+", shape=tuple(shape)))
    except OSError as exc:
        raise StoreAwayError(
            f"data of {num_bytes:,} bytes, more than are held in memory, cannot be kept in "
            f"{folder}: {exc}. Make room there, or set TALWEG_DATA_CACHE to a folder of a larger "
            "local disk"
        ) from exc


def converted(
    array: NDArray[Any], dtype: DTypeLike, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Return an array changed piece by piece.

    Args:
        array: (N, …).
        dtype: Of the result.
        change: Gives the rows of the result that come of some rows; of the same shape.
    """
    if not is_large(array.size * np.dtype(dtype).itemsize):
        return change(array).astype(dtype)
    result = empty(array.shape, dtype)
    for rows in _pieces(array.shape, result.itemsize):
        result[rows] = change(array[rows])
    return result


def rows_of(array: NDArray[Any], indices: NDArray[np.intp]) -> NDArray[Any]:
    """Return a copy of some rows of an array, in their order."""
    shape = (len(indices), *array.shape[1:])
    if not is_large(int(np.prod(shape, dtype=np.int64)) * array.itemsize):
        return array[indices]
    result = empty(shape, array.dtype)
    for rows in _pieces(shape, array.itemsize):
        result[rows] = array[indices[rows]]
    return result


def mean_and_sd(
    arrays: Sequence[NDArray[Any]], *, by_column: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and sd of the rows of all arrays together, or of all their numbers.

    Args:
        arrays: (N, …) each, alike but for N.
        by_column: Whether each column has its own.
    """
    axis = 0 if by_column else None
    count = sum(len(array) if by_column else array.size for array in arrays)

    def summed(change: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Any:
        return sum(
            change(array[rows].astype(np.float64)).sum(axis=axis)
            for array in arrays
            for rows in _pieces(array.shape, np.dtype(np.float64).itemsize)
        )

    mean = np.asarray(summed(lambda piece: piece) / count)
    sd = np.asarray(np.sqrt(summed(lambda piece: (piece - mean) ** 2) / count))
    return mean, sd


def _pieces(shape: Sequence[int], item_bytes: int) -> Iterator[slice]:
    """Give slices of rows that together are all, each of a bounded number of bytes."""
    row_bytes = max(1, int(np.prod(shape[1:], dtype=np.int64)) * item_bytes)
    count = max(1, _PIECE // row_bytes)
    for start in range(0, shape[0], count):
        yield slice(start, start + count)
