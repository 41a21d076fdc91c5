"""A folder with a table for each part of the data, such as train.csv and test.csv."""

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa

from talweg.ingest.images.archive import Entry, open_archive
from talweg.ingest.problems import Problem, Refused, names_text, quoted
from talweg.ingest.request import Column, Content, Request
from talweg.ingest.tables.arrow_files import content_of, table_of_arrow, table_of_parquet
from talweg.ingest.tables.csv_file import TextTable, read_text, typed
from talweg.spec.stored import PARTS, part_named
from talweg.v1.datasets_pb2 import ReadOptions
from talweg.v1.stored_datasets_pb2 import DataColumn

FORMATS = {
    ".csv": ReadOptions.csv,
    ".tsv": ReadOptions.csv,
    ".tab": ReadOptions.csv,
    ".parquet": ReadOptions.parquet,
    ".pq": ReadOptions.parquet,
    ".arrow": ReadOptions.arrow,
    ".feather": ReadOptions.arrow,
    ".ipc": ReadOptions.arrow,
    ".arrows": ReadOptions.arrow,
}
"""The formats of tables, by what their names end in."""
SPLIT = "split"
"""The column that says the part of each row."""


@dataclass(frozen=True)
class _Part:
    name: str
    """train, validation or test."""
    request: Request
    """Reads its file."""


def holds_parts(request: Request) -> bool:
    """Return whether an archive holds nothing but a table for each of several parts."""
    try:
        with open_archive(request) as archive:
            folders = {PurePath(entry.name).parent for entry in archive.entries}
            parts = [_part_of(entry) for entry in archive.entries]
    except (Refused, tarfile.TarError):
        return False
    are_tables = len(folders) == 1 and all(parts)
    return are_tables and len(set(parts)) == len(parts) > 1


def read_parts(request: Request) -> Content:
    """Read the tables of the parts as one, with a column that says the part of each row.

    Raises:
        Refused: They cannot be stored together; names files, rows and columns.
    """
    with _extracted(request) as parts:
        formats = {_format(part.request.file_name) for part in parts}
        if len(formats) > 1:
            names = [part.request.file_name for part in parts]
            raise Refused(Problem(names_text(names), "tables in several formats", "one format"))
        (chosen,) = formats
        if chosen == ReadOptions.csv:
            content, counts = _of_text(parts)
        else:
            content, counts = _of_arrow(request, parts, chosen)
    names = sorted(part.name for part in parts)
    codes = np.repeat([names.index(part.name) for part in parts], counts).astype(np.int32)
    values = pa.DictionaryArray.from_arrays(codes, names)
    column = Column(SPLIT, DataColumn.CATEGORY, pa.chunked_array([values]), names)
    told = ", ".join(f"{n:,} of {part.name}" for n, part in zip(counts, parts, strict=True))
    content.columns.append(column)
    content.notes.append(f"rows of the parts, in the column {SPLIT}: {told}")
    return content


def _part_of(entry: Entry) -> str:
    """Return the part that a file is of by its name; empty where it is none."""
    path = PurePath(entry.name)
    return part_named(path.stem) if path.suffix.lower() in FORMATS else ""


def _format(name: str) -> ReadOptions.Format.ValueType:
    return FORMATS[PurePath(name).suffix.lower()]


@contextmanager
def _extracted(request: Request) -> Iterator[list[_Part]]:
    """Give the parts, in their order, as files that go afterwards."""
    with (
        tempfile.TemporaryDirectory(dir=request.folder) as name,
        open_archive(request) as archive,
    ):
        parts = []
        for entry in archive.entries:
            path = Path(name) / PurePath(entry.name).name
            path.write_bytes(archive.read(entry))
            part = replace(request, path=path, file_name=entry.name)
            parts.append(_Part(_part_of(entry), part))
        yield sorted(parts, key=lambda part: PARTS.index(part.name))


@contextmanager
def _naming(part: _Part) -> Iterator[None]:
    """Have problems of a file name it."""
    try:
        yield
    except Refused as exc:
        file = part.request.file_name
        raise Refused(
            *(
                each
                if each.place == file
                else replace(each, place=f"{quoted(file)}, {each.place}")
                for each in exc.problems
            )
        ) from exc


def _of_text(parts: Sequence[_Part]) -> tuple[Content, list[int]]:
    tables: list[TextTable] = []
    for part in parts:
        with _naming(part):
            tables.append(read_text(part.request))
        _check_names(tables[0].header, tables[-1].header, part)
    header = tables[0].header
    counts = [len(table.columns[0]) for table in tables]
    joined = [
        pa.chunked_array(
            [chunk for table in tables for chunk in table.columns[table.header.index(name)].chunks]
        )
        for name in header
    ]
    for table in tables:
        table.columns.clear()
    try:
        return typed(TextTable(header, joined, tables[0].options, tables[0].notes)), counts
    except Refused:
        # Each by itself, so that rows are those of a file.
        for part in parts:
            with _naming(part):
                typed(read_text(part.request))
        raise


def _of_arrow(
    request: Request, parts: Sequence[_Part], chosen: ReadOptions.Format.ValueType
) -> tuple[Content, list[int]]:
    read = table_of_parquet if chosen == ReadOptions.parquet else table_of_arrow
    tables: list[pa.Table] = []
    for part in parts:
        with _naming(part):
            tables.append(read(part.request))
        _check_names(tables[0].column_names, tables[-1].column_names, part)
    counts = [table.num_rows for table in tables]
    names = tables[0].column_names
    try:
        joined = pa.concat_tables(
            [table.select(names) for table in tables], promote_options="permissive"
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as exc:
        files = names_text([part.request.file_name for part in parts])
        raise Refused(
            Problem(
                files,
                f"columns of different types ({str(exc)[:200]})",
                "the same types in all files",
                "write the files again from one table",
            )
        ) from exc
    return content_of(request, joined, chosen), counts


def _check_names(wanted: Sequence[str], names: Sequence[str], part: _Part) -> None:
    if SPLIT in names:
        raise Refused(
            Problem(
                part.request.file_name,
                f"a column {quoted(SPLIT)}",
                "other names: this one is made of the files' names",
                "rename the column, or put all rows into one file",
            )
        )
    if set(wanted) == set(names):
        return
    missing = [name for name in wanted if name not in names]
    extra = [name for name in names if name not in wanted]
    found = "; ".join(
        f"{what} {names_text(which)}"
        for what, which in (("no column", missing), ("a further column", extra))
        if which
    )
    raise Refused(
        Problem(
            part.request.file_name,
            found,
            f"the columns of the first file: {names_text(list(wanted), 20)}",
        )
    )
