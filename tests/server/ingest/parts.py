"""Files to read, and reading them in the tests' own process."""

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf import json_format
from PIL import Image

from talweg.ingest.problems import Problem
from talweg.ingest.request import Request
from talweg.ingest.run import run
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn, StoredDataset

MEMORY = 3 << 30


@dataclass
class Result:
    """What reading a file gave."""

    info: StoredDataset
    """Empty where it was refused."""
    problems: list[Problem]
    """Why it was refused."""
    folder: Path
    """Where the canonical form is."""

    @property
    def types(self) -> dict[str, str]:
        return {c.name: DataColumn.Type.Name(c.type) for c in self.info.columns}

    def column(self, name: str) -> DataColumn:
        return next(column for column in self.info.columns if column.name == name)

    @property
    def table(self) -> pa.Table:
        with pa.memory_map(str(self.folder / "data.arrow")) as file:
            return pa.ipc.open_file(file).read_all()


def ingest(
    folder: Path, content: bytes, name: str = "t.csv", *, memory: int = MEMORY, **options: Any
) -> Result:
    """Read a file as the process does, but for the limits."""
    folder.mkdir(exist_ok=True)
    source, output = folder / "source", folder / "output"
    source.write_bytes(content)
    output.mkdir()
    request = Request(
        path=source,
        file_name=name,
        options=json_format.ParseDict(options, ReadOptions()),
        folder=output,
        memory_bytes=memory,
        seconds=60,
    )
    run(request)
    problems = output / "problems.json"
    if problems.exists():
        assert sorted(path.name for path in output.iterdir()) == ["problems.json"]
        return Result(
            StoredDataset(), [Problem(**each) for each in json.loads(problems.read_text())], output
        )
    info = json_format.Parse((output / "info.json").read_text(), StoredDataset())
    return Result(info, [], output)


def read(folder: Path, content: bytes, name: str = "t.csv", **options: Any) -> Result:
    """Read a file that must be in order."""
    result = ingest(folder, content, name, **options)
    assert not result.problems, result.problems
    return result


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def arrow(table: pa.Table, *, stream: bool = False) -> bytes:
    sink = io.BytesIO()
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def npz(**arrays: Any) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=allow_pickle)
    return sink.getvalue()


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def tar(files: Mapping[str, bytes], *members: tarfile.TarInfo) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in members:
            archive.addfile(member)
    return sink.getvalue()


def image(
    height: int = 6,
    width: int = 8,
    *,
    mode: str = "RGB",
    kind: str = "PNG",
    seed: int = 0,
    **options: Any,
) -> bytes:
    generator = np.random.default_rng(seed)
    shape = (height, width) if mode == "L" else (height, width, len(mode))
    pixels = generator.integers(0, 256, shape, np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()
