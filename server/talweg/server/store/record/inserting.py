"""Insertions that leave what is there as it is."""

from collections.abc import Sequence

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(
    connection: Connection, table: Table, unique: Sequence[str] | None = None
) -> Insert:
    """Return an insertion that does nothing where there is such a row.

    Two operations that insert the same may come at once on PostgreSQL.

    Args:
        connection: To the record.
        table: Where to insert.
        unique: The columns that decide; each unique index of the table if None.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement: Insert = dialect.insert(table).on_conflict_do_nothing(index_elements=unique)
    return statement
