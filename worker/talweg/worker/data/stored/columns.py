"""The columns of a stored data set, mapped into memory: a table of Arrow, or safetensors."""

import json
import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from talweg.v1.stored_datasets_pb2 import DataColumn
from talweg.worker.data.stored.cache import DATA, DamagedDataError

_ARROW, _SAFETENSORS = DATA
_HEADER_SIZE = struct.Struct("<Q")
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


class Keys(NamedTuple):
    """The values of a column, as far as they are alike or not."""

    codes: NDArray[np.int64]
    """Of each row the index of its value, below 0 where it is missing (N,)."""
    texts: Sequence[str]
    """The values."""


class Columns(ABC):
    """Everything that has one value, or one array, per sample."""

    def __init__(self, columns: Sequence[DataColumn]) -> None:
        """Take the columns' descriptions."""
        self._described = {column.name: column for column in columns}

    @abstractmethod
    def array(self, name: str) -> NDArray[Any]:
        """Return an array (N, …) as it was stored."""

    @abstractmethod
    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return numbers, or true and false as 1 and 0 (N,); NaN where one is missing."""

    @abstractmethod
    def codes(self, name: str) -> NDArray[np.int64]:
        """Return each category's index among the column's values (N,), below 0 if missing."""

    @abstractmethod
    def dates(self, name: str) -> NDArray[Any]:
        """Return points in time, datetime64 (N,); NaT where one is missing."""

    @abstractmethod
    def alike(self, name: str) -> NDArray[np.int64]:
        """Return a number of each row that is the same where a column's single values are (N,).

        It is below 0 where the value is missing.
        """

    @abstractmethod
    def keys(self, name: str) -> Keys:
        """Return the single values of a column of any type, each distinct one once."""

    def classes(self, name: str) -> NDArray[np.int64]:
        """Return of each value its index among those that the column's description lists (N,)."""
        column = self._described[name]
        values = [each.value for each in column.values]
        if column.type == DataColumn.CATEGORY:
            return self.codes(name)
        numbers = self.numbers(name)
        if column.type == DataColumn.BOOLEAN:
            # false is before true.
            return numbers.astype(np.int64)
        wanted = np.array([float(value) for value in values])
        order = np.argsort(wanted, kind="stable")
        places = np.searchsorted(wanted[order], numbers).clip(max=len(wanted) - 1)
        indices: NDArray[np.int64] = order[places].astype(np.int64)
        return indices


def open_columns(folder: Path, columns: Sequence[DataColumn]) -> Columns:
    """Map the data of a folder into memory.

    Args:
        folder: Holds data.arrow or data.safetensors.
        columns: What they are.

    Raises:
        FileNotFoundError: It holds neither.
        DamagedDataError: The file is not what its name says, or lacks a column.
    """
    is_table = (folder / _ARROW).is_file()
    file = folder / (_ARROW if is_table else _SAFETENSORS)
    try:
        opened = _Table(file, columns) if is_table else _Arrays(file, columns)
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError, OSError, struct.error) as exc:
        raise DamagedDataError(f"{file.name} cannot be read: {exc}") from exc
    missing = [column.name for column in columns if column.name not in opened.names]
    if missing:
        raise DamagedDataError(f"{file.name} lacks the columns {', '.join(missing)}")
    return opened


class _Table(Columns):
    """A table in Arrow's file format."""

    def __init__(self, file: Path, columns: Sequence[DataColumn]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - jobs on built-in data do without it

        super().__init__(columns)
        self._pa = pa
        with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
            self._table = reader.read_all()
        self.names = frozenset(self._table.column_names)

    def array(self, name: str) -> NDArray[Any]:
        return self.numbers(name)

    def numbers(self, name: str) -> NDArray[np.float64]:
        column = self._table.column(name)
        if self._pa.types.is_boolean(column.type):
            column = column.cast(self._pa.uint8())
        # Whole numbers beyond 2^53 are rounded.
        numbers = column.cast(self._pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.asarray(numbers, dtype=np.float64)

    def codes(self, name: str) -> NDArray[np.int64]:
        keys = self.keys(name)
        places = {each.value: index for index, each in enumerate(self._described[name].values)}
        # The last stands for a missing one, which has the code -1.
        order = np.array([*(places.get(text, -1) for text in keys.texts), -1], dtype=np.int64)
        return order[keys.codes]

    def dates(self, name: str) -> NDArray[Any]:
        moments = self._table.column(name).cast(self._pa.timestamp("us"))
        return np.asarray(moments.to_numpy(zero_copy_only=False), dtype="datetime64[us]")

    def alike(self, name: str) -> NDArray[np.int64]:
        indices = [chunk.indices.fill_null(-1).to_numpy() for chunk in self._encoded(name).chunks]
        return np.concatenate([np.empty(0, np.int64), *indices]).astype(np.int64)

    def keys(self, name: str) -> Keys:
        column = self._encoded(name)
        values = column.chunk(0).dictionary.to_pylist() if column.num_chunks else []
        return Keys(self.alike(name), [str(value) for value in values])

    def _encoded(self, name: str) -> Any:
        column = self._table.column(name)
        if not self._pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        return column.unify_dictionaries()


class _Arrays(Columns):
    """Arrays in a safetensors file."""

    def __init__(self, file: Path, columns: Sequence[DataColumn]) -> None:
        super().__init__(columns)
        content = np.memmap(file, dtype=np.uint8, mode="r")
        (size,) = _HEADER_SIZE.unpack_from(content[: _HEADER_SIZE.size].tobytes())
        start = _HEADER_SIZE.size + size
        header = json.loads(content[_HEADER_SIZE.size : start].tobytes())
        self._arrays: dict[str, NDArray[Any]] = {}
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = (start + offset for offset in entry["data_offsets"])
                self._arrays[name] = _mapped(content[begin:end], entry, name)
        self.names = frozenset(self._arrays)

    def array(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        return self._arrays[name].astype(np.float64)

    def codes(self, name: str) -> NDArray[np.int64]:
        return self._arrays[name].astype(np.int64)

    def dates(self, name: str) -> NDArray[Any]:
        return self._arrays[name].astype(np.int64).view("datetime64[us]")

    def alike(self, name: str) -> NDArray[np.int64]:
        return self.keys(name).codes

    def keys(self, name: str) -> Keys:
        column, array = self._described[name], self._arrays[name]
        if column.type == DataColumn.CATEGORY:
            return Keys(self.codes(name), [each.value for each in column.values])
        values, codes = np.unique(array, return_inverse=True)
        return Keys(codes.astype(np.int64), [str(value) for value in values])


def _mapped(content: NDArray[np.uint8], entry: dict[str, Any], name: str) -> NDArray[Any]:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{name} is of type {entry['dtype']}, not {', '.join(_DTYPES)}")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if len(content) != math.prod(entry["shape"]) * dtype.itemsize:
        raise ValueError(f"{name} is of {len(content)} bytes, not as many as its shape says")
    # Where it does not begin at a multiple of its size, it must be copied.
    array = np.frombuffer(content, dtype) if len(content) else np.empty(0, dtype)
    return array.reshape(entry["shape"])
