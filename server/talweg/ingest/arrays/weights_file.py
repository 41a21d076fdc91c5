"""Safetensors files that hold the weights of a model: tensors of any shapes."""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from talweg.ingest.arrays.canonical import Array
from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.ingest.request import Column, Content, Request
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

_OF_WEIGHTS = ".weight"
_MOST_TENSORS = 10_000
_MOST_NAME_CHARS = 500
_MOST_DIMENSIONS = 8
_HEADER_SIZE = struct.Struct("<Q")
# What is stored as it is; halves become float32, which holds each of their values.
_KEPT = {"F64", "F32", "I64", "I32", "I16", "I8", "U8", "BOOL"}
_HALVES = {"F16", "BF16"}
_BF16_BITS = 16


def holds_weights(request: Request) -> bool:
    """Tell whether a safetensors file looks like the weights of a model: by its tensors' names."""
    try:
        with safe_open(request.path, framework="numpy") as file:
            return any(name.endswith(_OF_WEIGHTS) for name in file.keys())
    except (OSError, SafetensorError):
        # Its reader says what is wrong with it.
        return False


def read_weights(request: Request) -> Content:
    """Read a safetensors file of weights.

    Raises:
        Refused: It cannot be stored; names tensors.
    """
    options = ReadOptions()
    options.CopyFrom(request.options)
    options.format = ReadOptions.weights
    if request.num_bytes > request.room:
        raise Refused(
            Problem(
                request.file_name,
                f"{request.num_bytes:,} bytes",
                f"at most {request.room:,}",
                "have TALWEG_INGEST_MEMORY_BYTES raised",
            )
        )
    with safe_open(request.path, framework="numpy") as file:
        types = {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}
        problems = _problems(request.file_name, types)
        if problems:
            raise Refused(*problems)
        header = _header(request)
        arrays = {
            name: _bf16(request, header, name) if dtype == "BF16" else file.get_tensor(name)
            for name, dtype in types.items()
        }
    problems = [problem for name, array in arrays.items() for problem in _of_array(name, array)]
    if problems:
        raise Refused(*problems)
    columns = [_column(name, array) for name, array in sorted(arrays.items())]
    halves = [name for name, dtype in types.items() if dtype in _HALVES]
    notes = [f"stored as float32: {names_text(halves)}"] if halves else []
    return Content(columns, 0, options, is_table=False, notes=notes, is_weights=True)


def _problems(file_name: str, types: dict[str, str]) -> list[Problem]:
    if not types:
        return [Problem(file_name, "no tensor", "at least one tensor")]
    if len(types) > _MOST_TENSORS:
        return [Problem(file_name, f"{len(types):,} tensors", f"at most {_MOST_TENSORS:,}")]
    problems = []
    for name, dtype in types.items():
        if not 1 <= len(name) <= _MOST_NAME_CHARS or not name.isprintable():
            allowed = f"1 to {_MOST_NAME_CHARS} printable characters"
            problems.append(Problem("tensor", f"the name {quoted(name)}", allowed))
        if dtype not in _KEPT | _HALVES:
            problems.append(
                Problem(
                    f"tensor {quoted(name)}",
                    f"values of the type {dtype}",
                    ", ".join(sorted(_KEPT | _HALVES)),
                    "convert it to float32",
                )
            )
    return problems


def _of_array(name: str, array: Array) -> list[Problem]:
    place = f"tensor {quoted(name)}"
    if array.ndim > _MOST_DIMENSIONS:
        return [Problem(place, f"{array.ndim} dimensions", f"at most {_MOST_DIMENSIONS}")]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        number = int((~np.isfinite(array)).sum())
        return [Problem(place, f"{number:,} values that are NaN or infinite", "finite values")]
    return []


def _column(name: str, array: Array) -> Column:
    kind = DataColumn.NUMBER if array.dtype.kind == "f" else DataColumn.INTEGER
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Column(name, DataColumn.BOOLEAN if array.dtype.kind == "b" else kind, array)


@dataclass(frozen=True)
class _Header:
    """The header of a safetensors file."""

    end: int
    """Where the values of the tensors begin."""
    tensors: dict[str, Any]
    """Shape and offsets of each."""


def _header(request: Request) -> _Header:
    with request.path.open("rb") as file:
        (size,) = _HEADER_SIZE.unpack(file.read(_HEADER_SIZE.size))
        return _Header(_HEADER_SIZE.size + size, json.loads(file.read(size)))


def _bf16(request: Request, header: _Header, name: str) -> Array:
    """Read a tensor of bfloat16, which NumPy does not know: the upper half of a float32."""
    about = header.tensors[name]
    begin, _ = about["data_offsets"]
    with request.path.open("rb") as file:
        file.seek(header.end + begin)
        count = math.prod(about["shape"])
        upper = np.fromfile(file, dtype="<u2", count=count).astype(np.uint32)
    return (upper << _BF16_BITS).view(np.float32).reshape(about["shape"])
