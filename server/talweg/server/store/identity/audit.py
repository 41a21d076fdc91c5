"""The audit log: what callers have changed, and what they were refused."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import AuditRow
from talweg.server.store.record.schema import audit as table


def add(tx: Transaction, entries: Sequence[AuditRow]) -> None:
    """Append entries, in their order; their numbers and times are given here."""
    values = [{**vars(entry), "time": entry.time or tx.now} for entry in entries]
    for each in values:
        del each["seq"]
    tx.connection.execute(insert(table), values)


def list_newest(
    connection: Connection, *, project: str | None, since: int, before: int | None, limit: int
) -> Sequence[AuditRow]:
    """Return entries, the newest first.

    Args:
        connection: To read by.
        project: Those of this project; of all if None.
        since: Microseconds since 1970: none before.
        before: Those with smaller numbers; all if None.
        limit: At most so many.
    """
    statement = select(table).where(table.c.time >= since)
    if project is not None:
        statement = statement.where(table.c.project == project)
    if before is not None:
        statement = statement.where(table.c.seq < before)
    ordered = statement.order_by(table.c.seq.desc()).limit(limit)
    return [AuditRow(*row) for row in connection.execute(ordered)]


def forget(tx: Transaction, *, older_than: int) -> None:
    """Remove entries that are so many microseconds old."""
    tx.connection.execute(delete(table).where(table.c.time < tx.now - older_than))
