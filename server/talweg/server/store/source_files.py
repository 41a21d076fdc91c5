"""Files that the server has read by their URIs, as they were when it last read them."""

from dataclasses import dataclass

from sqlalchemy import Connection, Insert, select
from sqlalchemy.dialects import postgresql, sqlite

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import source_files as table


@dataclass(frozen=True)
class SourceFile:
    """A file as it was."""

    uri: str
    """In its one form."""
    fingerprint: str
    """Another one once the file has changed."""
    sha256: str
    """Of its bytes."""
    num_bytes: int
    """Its size."""


def find(connection: Connection, uri: str) -> SourceFile | None:
    """Return a file as it was when it was last read; None where it never was."""
    columns = (table.c.uri, table.c.fingerprint, table.c.sha256, table.c.num_bytes)
    row = connection.execute(select(*columns).where(table.c.uri == uri)).first()
    return None if row is None else SourceFile(*row)


def remember(tx: Transaction, file: SourceFile) -> None:
    """Put a file as it is in the place of what it was."""
    values = {**vars(file), "time": tx.now}
    dialect = sqlite if tx.connection.dialect.name == "sqlite" else postgresql
    statement: Insert = (
        dialect.insert(table)
        .values(**values)
        .on_conflict_do_update(index_elements=[table.c.uri], set_=values)
    )
    tx.connection.execute(statement)
