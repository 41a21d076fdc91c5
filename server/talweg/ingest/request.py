"""What is to be read, and what it becomes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn


@dataclass(frozen=True)
class Request:
    """A file to read."""

    path: Path
    """Where it is."""
    file_name: str
    """What its owner calls it."""
    options: ReadOptions
    """How to read it; what is absent is detected."""
    folder: Path
    """Where the results go; empty."""
    memory_bytes: int
    """Address space that this process may take."""
    seconds: float
    """Time that it may take."""
    sha256: str = ""
    """Of the file, in hexadecimal."""

    @classmethod
    def from_json(cls, text: bytes) -> "Request":
        """Read a request as the server writes it."""
        content = json.loads(text)
        return cls(
            path=Path(content["path"]),
            file_name=content["file_name"],
            options=json_format.ParseDict(content["options"], ReadOptions()),
            folder=Path(content["folder"]),
            memory_bytes=int(content["memory_bytes"]),
            seconds=float(content["seconds"]),
            sha256=content["sha256"],
        )

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def room(self) -> int:
        """How many bytes what is read may take, so that it can also be described and written."""
        return self.memory_bytes // 3


@dataclass
class Column:
    """What a file holds for each sample, under one name."""

    name: str
    """Its name."""
    type: DataColumn.Type.ValueType
    """What its values are."""
    values: Any
    """A chunked array of Arrow in the canonical type, or an array of NumPy."""
    categories: Sequence[str] = ()
    """Of an array of categories: what its codes mean."""
    ignored: int | None = None
    """Of masks: the code of pixels that have no class."""
    padding: int | None = None
    """Of an array of categories: the code that stands where a sample has no further value."""
    date_form: str = ""
    """Of dates that were text: how they were written, such as DD.MM.YYYY."""


@dataclass
class Content:
    """What a file holds."""

    columns: list[Column]
    """All of one length, unless they are weights."""
    num_samples: int
    """Their length."""
    options: ReadOptions
    """How it was read, with everything that was detected."""
    is_table: bool = True
    """Whether the values are Arrow's."""
    notes: list[str] = field(default_factory=list)
    """What was changed or chosen while reading, for people."""
    is_weights: bool = False
    """Whether the columns are the tensors of a model, of any shapes, and there are no samples."""
