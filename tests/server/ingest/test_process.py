"""The process that reads a file: its limits, and what the server makes of its end."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.server.ingest.parts import npz

from talweg.server.errors import DataTooLarge, InternalError, UnreadableData
from talweg.server.services.stored_datasets.reading import Read, Reader, ReadLimits
from talweg.v1.datasets_pb2 import ReadOptions

GIB = 1 << 30


async def read(
    folder: Path,
    content: bytes,
    name: str = "t.csv",
    *,
    memory: int = 4 * GIB,
    seconds: float = 120,
) -> Read:
    source, output = folder / "source", folder / "output"
    source.write_bytes(content)
    output.mkdir()
    reader = Reader(ReadLimits(memory, timedelta(seconds=seconds)))
    return await reader.read(
        source, file_name=name, sha256="", options=ReadOptions(), folder=output
    )


async def test_reads_a_file(tmp_path: Path) -> None:
    result = await read(tmp_path, b"a,b\n1,x\n2,y\n")
    assert result.info.num_samples == 2
    assert result.data.name == "data.arrow"
    assert result.info.num_bytes == result.data.stat().st_size


async def test_problems_have_places(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match="2 problems in the file: row 1") as caught:
        await read(tmp_path, b"a,b\n1\n2,3\n4,5,6\n")
    assert [each.field for each in caught.value.fields] == ["row 1", "row 3"]
    assert caught.value.fields[0].description.startswith('found 1 values: "1"; allowed 2')


async def test_memory_is_limited(tmp_path: Path) -> None:
    # Few bytes and many columns and rows: the text of all of them does not fit.
    content = b"a,b\n" + b'1,"%s"\n' % (b"x" * 1000) * 400_000
    with pytest.raises(DataTooLarge, match="TALWEG_INGEST_MEMORY_BYTES"):
        await read(tmp_path, content, memory=GIB)


async def test_what_an_archive_says_is_too_much_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match="bytes once it is unpacked"):
        await read(tmp_path, npz(x=np.zeros((60, 1 << 20))), "t.npz", memory=GIB)


async def test_time_is_limited(tmp_path: Path) -> None:
    # Less than Python takes to begin.
    with pytest.raises(DataTooLarge, match=r"more than 0\.01 s"):
        await read(tmp_path, b"a\n1\n", seconds=0.01)


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("kill -SEGV $$", UnreadableData, "its reader broke down"),
        ("kill -ALRM $$", DataTooLarge, "TALWEG_INGEST_SECONDS"),
        ("kill -KILL $$", DataTooLarge, "TALWEG_INGEST_MEMORY_BYTES"),
        ("echo std::bad_alloc >&2; exit 1", DataTooLarge, "TALWEG_INGEST_MEMORY_BYTES"),
    ],
)
async def test_a_process_that_breaks_down_is_told_by_its_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    error: type[Exception],
    said: str,
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    with pytest.raises(error, match=said):
        await read(tmp_path, b"a\n1\n")


async def test_an_end_that_nobody_foresaw_is_an_internal_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(InternalError):
        await read(tmp_path, b"a\n1\n")
