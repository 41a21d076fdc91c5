"""Uploads as a client sends them."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.server.conftest import Running

from talweg.spec import from_dict
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.spec_pb2 import JobSpec
from talweg.v1.stored_datasets_pb2 import (
    StoredDataset,
    UploadChunk,
    UploadHeader,
    UploadStoredDatasetRequest,
)

CHUNK = 1 << 20


def houses(num_rows: int = 40) -> bytes:
    """A table with a number, a category, and a price; the same at each call."""
    lines = ["area,kind,price"]
    for row in range(num_rows):
        kind = ("flat", "house", "barn")[row % 3]
        lines.append(f"{20 + row * 1.5},{kind},{1000 + 37 * row % 101}.5")
    return "\n".join([*lines, ""]).encode()


def header(content: bytes, name: str = "houses", **fields: Any) -> UploadHeader:
    parts: dict[str, Any] = {
        "name": name,
        "file_name": "houses.csv",
        "sha256": hashlib.sha256(content).hexdigest(),
        "num_bytes": len(content),
    }
    return UploadHeader(**(parts | fields))


def chunks(
    content: bytes, offset: int = 0, size: int = CHUNK
) -> Iterator[UploadStoredDatasetRequest]:
    for start in range(offset, len(content), size):
        data = content[start : start + size]
        yield UploadStoredDatasetRequest(chunk=UploadChunk(offset=start, data=data))


async def messages(
    head: UploadHeader, content: bytes, offset: int = 0, size: int = CHUNK
) -> AsyncIterator[UploadStoredDatasetRequest]:
    yield UploadStoredDatasetRequest(header=head)
    for each in chunks(content, offset, size):
        yield each


async def upload(
    running: Running, content: bytes, name: str = "houses", **fields: Any
) -> StoredDataset:
    """Upload a file in one piece."""
    options = fields.pop("options", ReadOptions())
    head = header(content, name, options=options, **fields)
    return await running.data.UploadStoredDataset(messages(head, content))


def job(**dataset: Any) -> JobSpec:
    """A small job that reads stored data."""
    return from_dict(
        {
            "task": "regression",
            "dataset": {"stored": {"name": "houses", "target": "price", **dataset}},
            "model": {"mlp": {"hidden": [8]}},
            "loss": "mse",
            "training": {"steps": 5},
            "outputs": {"model": False, "plots": False},
        }
    )
