"""Parquet and Arrow files."""

import pyarrow as pa
import pyarrow.parquet

from talweg.ingest.problems import Problem, Refused, names_text
from talweg.ingest.request import Column, Content, Request
from talweg.ingest.tables.arrow_types import column_of_arrow, unfit_type
from talweg.ingest.tables.header import header_problems
from talweg.v1.datasets_pb2 import ReadOptions

_INDEX = "__index_level_"
# File and stream differ in their first bytes.
_FILE_MAGIC = b"ARROW1"
_FEATHER_1 = b"FEA1"


def read_parquet(request: Request) -> Content:
    """Read a Parquet file.

    Raises:
        Refused: It cannot be stored; names columns.
    """
    return content_of(request, table_of_parquet(request), ReadOptions.parquet)


def table_of_parquet(request: Request) -> pa.Table:
    """Read the table of a Parquet file.

    Raises:
        Refused: It cannot be stored; names columns.
    """
    with pa.parquet.ParquetFile(request.path) as file:
        groups = file.metadata
        size = sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups))
        _refuse_large(request, size)
        _check_schema(file.schema_arrow, request, file.metadata.num_rows)
        return _checked(file.read())


def read_arrow(request: Request) -> Content:
    """Read an Arrow IPC file or stream, also as Feather.

    Raises:
        Refused: It cannot be stored; names columns.
    """
    return content_of(request, table_of_arrow(request), ReadOptions.arrow)


def table_of_arrow(request: Request) -> pa.Table:
    """Read the table of an Arrow IPC file or stream.

    Raises:
        Refused: It cannot be stored; names columns.
    """
    with request.path.open("rb") as start:
        magic = start.read(len(_FILE_MAGIC))
    if magic.startswith(_FEATHER_1):
        raise Refused(
            Problem(
                request.file_name,
                "version 1 of Feather",
                "Arrow IPC files and streams, and Feather of version 2",
                "write it again by pyarrow.feather.write_feather",
            )
        )
    _refuse_large(request, request.num_bytes)
    with pa.OSFile(str(request.path)) as source:
        is_file = magic.startswith(_FILE_MAGIC)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        _check_schema(reader.schema, request, None)
        return _checked(reader.read_all())


def _checked(table: pa.Table) -> pa.Table:
    # In full: the file may say what it likes of itself.
    table.validate(full=True)
    return table


def _refuse_large(request: Request, size: int) -> None:
    if size > request.room:
        raise Refused(
            Problem(
                request.file_name,
                f"{size:,} bytes of values",
                f"at most {request.room:,}",
                "divide it, or have TALWEG_INGEST_MEMORY_BYTES raised",
            )
        )


def _check_schema(schema: pa.Schema, request: Request, num_rows: int | None) -> None:
    names = [field.name for field in schema]
    problems = header_problems(names)
    unfit: dict[str, list[str]] = {}
    for field in schema:
        what = unfit_type(field.type)
        if what:
            unfit.setdefault(what, []).append(field.name)
    for what, columns in unfit.items():
        problems.append(
            Problem(
                f"column{'s' if len(columns) > 1 else ''} {names_text(columns)}",
                what,
                "numbers, true or false, dates, texts and categories",
                "give each value a column of its own, or store arrays as .npz",
            )
        )
    for option in ("categories", "texts"):
        unknown = [name for name in getattr(request.options, option) if name not in names]
        if unknown:
            columns_text = f"columns: {names_text(names, 20)}"
            problems.append(Problem(f"options.{option}", names_text(unknown), columns_text))
    if not names:
        problems.append(Problem(request.file_name, "no columns", "at least one column"))
    if num_rows == 0:
        problems.append(Problem(request.file_name, "no rows", "at least one row"))
    if problems:
        raise Refused(*problems)


def content_of(request: Request, table: pa.Table, chosen: ReadOptions.Format.ValueType) -> Content:
    """Bring the columns of a table to the types that are stored.

    Args:
        request: What was asked.
        table: Whole, as it was read.
        chosen: The format that it was read as.

    Raises:
        Refused: It cannot be stored; names columns.
    """
    if not table.num_rows:
        raise Refused(Problem(request.file_name, "no rows", "at least one row"))
    options = ReadOptions()
    options.CopyFrom(request.options)
    options.format = chosen
    columns: list[Column] = []
    notes: list[str] = []
    problems: list[Problem] = []
    num_rows = table.num_rows
    for name in table.column_names:
        values = table.column(0)
        table = table.remove_column(0)
        if name.startswith(_INDEX):
            notes.append("the index that pandas has stored beside the columns was left out")
            continue
        try:
            column, more = column_of_arrow(name, values, options)
        except Refused as exc:
            problems += exc.problems
            continue
        columns.append(column)
        notes += more
    if problems:
        raise Refused(*problems)
    if not columns:
        raise Refused(Problem(request.file_name, "no columns", "at least one column"))
    return Content(columns, num_rows, options, notes=notes)
