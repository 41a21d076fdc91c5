"""Tokens in the record. Revoked and expired ones stay: the audit log names them."""

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import TokenRow
from talweg.server.store.record.schema import tokens as table


def add(tx: Transaction, row: TokenRow) -> None:
    """Keep a token."""
    tx.connection.execute(insert(table).values(**vars(row)))


def get(connection: Connection, id_: str) -> TokenRow | None:
    """Return a token; None if there is none of this id."""
    row = connection.execute(select(table).where(table.c.id == id_)).one_or_none()
    return None if row is None else TokenRow(*row)


def list_newest(
    connection: Connection, *, project: str | None, now: int | None, limit: int
) -> Sequence[TokenRow]:
    """Return tokens, the newest first.

    Args:
        connection: To read by.
        project: Those of this project; of all if None.
        now: Those that hold at this time; all if None.
        limit: At most so many.
    """
    statement = select(table).order_by(table.c.create_time.desc(), table.c.id).limit(limit)
    if project is not None:
        statement = statement.where(table.c.project == project)
    if now is not None:
        holds = table.c.expire_time.is_(None) | (table.c.expire_time > now)
        statement = statement.where(table.c.revoke_time.is_(None), holds)
    return [TokenRow(*row) for row in connection.execute(statement)]


def revoke(tx: Transaction, id_: str) -> None:
    """Revoke a token, unless it was revoked before."""
    tx.connection.execute(
        update(table)
        .where(table.c.id == id_, table.c.revoke_time.is_(None))
        .values(revoke_time=tx.now)
    )
