"""Writes the canonical form, and digests it."""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf import json_format

from talweg.ingest.request import Content

_PIECE = 1 << 20
_ALIGNMENT = 8
# As safetensors names them.
_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}


@dataclass(frozen=True)
class Written:
    """What was written."""

    digest: str
    """sha256 of the content and of how it was read."""
    sha256: str
    """Of the file alone."""
    num_bytes: int
    """Its size."""


def write(content: Content, folder: Path) -> Written:
    """Write data.arrow or data.safetensors."""
    if content.is_table:
        path = folder / "data.arrow"
        _write_table(content, path)
    else:
        path = folder / "data.safetensors"
        _write_arrays({each.name: each.values for each in content.columns}, path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    sha256 = digest.hexdigest()
    as_used = json_format.MessageToDict(content.options, preserving_proto_field_name=True)
    digest.update(b"\0" + json.dumps(as_used, sort_keys=True).encode())
    return Written(digest.hexdigest(), sha256, path.stat().st_size)


def _write_table(content: Content, path: Path) -> None:
    table = pa.table({each.name: each.values for each in content.columns})
    # One batch, so that each column is one piece of the mapped file.
    table = table.combine_chunks()
    options = pa.ipc.IpcWriteOptions(compression=None)
    with pa.OSFile(str(path), "wb") as file:
        with pa.ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)


def _write_arrays(arrays: dict[str, np.ndarray[Any, Any]], path: Path) -> None:
    """Write a safetensors file array by array: its own library holds all of it in memory twice."""
    # Larger elements first, so that each array is aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {}
    offset = 0
    for name in names:
        array = arrays[name]
        header[name] = {
            "dtype": _DTYPES[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in names:
            np.ascontiguousarray(arrays[name]).tofile(file)
