"""Folders of the blob store that are named after no job of the record.

The server does not see the blob store: a worker lists the folders in it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from talweg.server.store.database import Transaction
from talweg.server.store.schema import jobs, links, removals, unknown_folders


@dataclass(frozen=True)
class UnknownFolder:
    """A folder without a job, as a worker found it."""

    id: str
    """The id of the job that it is named after."""

    write_time: int
    """When a file in it was last written, in microseconds."""

    bytes: int
    """Size of all files."""


def unknown(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those ids that no job has, that no job refers to, and that no removal is of.

    Args:
        connection: To read by.
        ids: Ids of jobs.
    """
    known: set[str] = set()
    for column in (jobs.c.id, links.c.target, removals.c.id):
        known |= set(connection.scalars(select(column).where(column.in_(list(ids)))))
    return set(ids) - known


def note(tx: Transaction, folders: Sequence[UnknownFolder]) -> None:
    """Write down folders, each once.

    Args:
        tx: A transaction.
        folders: What was found; what was found of them before is replaced.
    """
    if not folders:
        return
    ids = [each.id for each in folders]
    tx.connection.execute(delete(unknown_folders).where(unknown_folders.c.id.in_(ids)))
    tx.connection.execute(
        insert(unknown_folders),
        [{"id": each.id, "write_time": each.write_time, "bytes": each.bytes} for each in folders],
    )


def written_before(connection: Connection, before: int, limit: int) -> list[UnknownFolder]:
    """Return folders that no job needs and that are old, the oldest first.

    Args:
        connection: To read by.
        before: The time after which nothing in them was written, in microseconds.
        limit: At most so many.
    """
    statement = (
        select(unknown_folders)
        .where(
            unknown_folders.c.write_time <= before,
            # The record may have learnt of the job since: it may be a newer copy of it.
            unknown_folders.c.id.not_in(select(jobs.c.id)),
            unknown_folders.c.id.not_in(select(links.c.target)),
            unknown_folders.c.id.not_in(select(removals.c.id)),
        )
        .order_by(unknown_folders.c.write_time, unknown_folders.c.id)
        .limit(limit)
    )
    return [UnknownFolder(*row) for row in connection.execute(statement)]


def remove(tx: Transaction, folders: Sequence[UnknownFolder]) -> None:
    """Have workers remove folders.

    Args:
        tx: A transaction.
        folders: What `written_before` returned in it.
    """
    if not folders:
        return
    tx.connection.execute(
        insert(removals),
        [{"id": each.id, "run_id": "", "experiment_id": "", "time": tx.now} for each in folders],
    )
    ids = [each.id for each in folders]
    tx.connection.execute(delete(unknown_folders).where(unknown_folders.c.id.in_(ids)))
