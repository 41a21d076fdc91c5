"""The record as files, whatever its database: what SQLite has written, PostgreSQL can read.

Each table is a file of JSON lines, a list of columns first and then one of values a row; bytes are
base64 in an object of their own. All tables are read in one transaction, and so of one moment.
"""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.exc import CompileError, InterfaceError, OperationalError, StatementError

from talweg.server.errors import CannotStart
from talweg.server.store.record import migrate
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.schema import metadata

_AT_ONCE = 500
_BYTES = "base64"


class DumpError(Exception):
    """A record cannot be written to files, or be read from them."""


def write_tables(database: Database, folder: Path) -> dict[str, int]:
    """Write all tables, as they are at one moment, while servers go on.

    Args:
        database: The record.
        folder: Where; it exists.

    Returns:
        The number of rows of each table.

    Raises:
        DumpError: The record is of another version than this program.
        DatabaseUnavailable: It does not answer.
        OSError: The files cannot be written.
    """
    version = migrate.current(database)
    if version != migrate.latest():
        raise DumpError(
            f"the record has version {version or 'none'}, but this program needs "
            f"{migrate.latest()}: run `talweg db upgrade` first"
        )
    with database.read() as connection:
        return {
            table.name: _write(connection, table, folder / f"{table.name}.jsonl")
            for table in metadata.sorted_tables
        }


def read_tables(database: Database, folder: Path, *, version: str) -> dict[str, int]:
    """Read all tables into an empty record, in one transaction.

    Args:
        database: The record. Its tables are made where it has none.
        folder: Where `write_tables` has written.
        version: The version of the record that was written.

    Returns:
        The number of rows of each table.

    Raises:
        DumpError: The record is not empty, the files are of a later version, or are no dump.
        DatabaseUnavailable: It does not answer.
        OSError: A file cannot be read.
    """
    if migrate.current(database) is not None and _has_rows(database):
        raise DumpError("the record to restore into is not empty: choose a new one")
    with database.write() as tx:
        try:
            # As it was then; what has come since is added to it behind.
            migrate.upgrade_to(tx.connection, version)
        except Exception as exc:
            raise DumpError(
                f"the backup has version {version}, which this program does not know: use the "
                "version that has written it, or a later one"
            ) from exc
        counts = {
            table.name: _read(tx, table, folder / f"{table.name}.jsonl")
            for table in metadata.sorted_tables
            if (folder / f"{table.name}.jsonl").exists()
        }
        _continue_sequences(tx)
    try:
        migrate.upgrade(database)
    except CannotStart as exc:
        raise DumpError(str(exc)) from exc
    return counts


def read_rows(folder: Path, table: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that `write_tables` has written, by the names of their columns."""
    with (folder / f"{table}.jsonl").open(encoding="utf-8") as file:
        for rows in _batches(file, json.loads(file.readline())):
            yield from rows


def replace_rows(folder: Path, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of a table anew that `write_tables` has written.

    Args:
        folder: Where it has.
        table: The table.
        rows: All of them; they may be read from there meanwhile.
    """
    path = folder / f"{table}.jsonl"
    columns = [column.name for column in metadata.tables[table].columns]
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(json.dumps(columns) + "\n")
        for row in rows:
            file.write(json.dumps([_to_json(row[name]) for name in columns]) + "\n")
    aside.replace(path)


def count_rows(folder: Path, name: str) -> int:
    """Count the rows of a table that `write_tables` has written; 0 where it is not there."""
    try:
        with (folder / f"{name}.jsonl").open("rb") as file:
            # The first line names the columns.
            return max(sum(1 for _ in file) - 1, 0)
    except FileNotFoundError:
        return 0


def _write(connection: Connection, table: Table, path: Path) -> int:
    num_rows = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(json.dumps([column.name for column in table.columns]) + "\n")
        rows = connection.execution_options(yield_per=_AT_ONCE).execute(select(table))
        for row in rows:
            file.write(json.dumps([_to_json(value) for value in row]) + "\n")
            num_rows += 1
    return num_rows


def _read(tx: Transaction, table: Table, path: Path) -> int:
    num_rows = 0
    if table.name == "projects":
        # A migration has made the first one.
        tx.connection.execute(table.delete())
    with path.open(encoding="utf-8") as file:
        try:
            columns = json.loads(file.readline())
            for rows in _batches(file, columns):
                tx.connection.execute(insert(table), rows)
                num_rows += len(rows)
        except (ValueError, KeyError, TypeError) as exc:
            raise DumpError(f"{path} is no table of a backup: {exc}") from exc
        except (CompileError, StatementError) as exc:
            if isinstance(exc, (InterfaceError, OperationalError)):
                # The database's own trouble.
                raise
            raise DumpError(f"{path} is no table of a backup: {exc.args[0]}") from exc
    return num_rows


def _batches(lines: Iterator[str], columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for line in lines:
        values = [_from_json(value) for value in json.loads(line)]
        rows.append(dict(zip(columns, values, strict=True)))
        if len(rows) == _AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def _to_json(value: Any) -> Any:
    # Infinities and NaN are written by their names, which Python's JSON reads.
    if isinstance(value, (bytes, memoryview)):
        return {_BYTES: base64.b64encode(bytes(value)).decode()}
    return value


def _from_json(value: Any) -> Any:
    return base64.b64decode(value[_BYTES], validate=True) if isinstance(value, dict) else value


def _has_rows(database: Database) -> bool:
    with database.read() as connection:
        tables = {name for name in metadata.tables if name != "projects"}
        return any(
            connection.execute(select(metadata.tables[name]).limit(1)).first() is not None
            for name in tables
        )


def _continue_sequences(tx: Transaction) -> None:
    """Have new rows numbered behind the old ones, which PostgreSQL does not know of."""
    if tx.connection.dialect.name != "postgresql":
        return
    for table in metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None or column.foreign_keys:
            continue
        highest = tx.connection.scalar(select(func.max(column)))
        if highest is not None:
            tx.connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :value)"),
                {"table": table.name, "column": column.name, "value": highest},
            )
