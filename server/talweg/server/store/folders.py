"""Folders of the blob store that are named after no job of the record."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, insert, select

from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import jobs, links, removals


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


def remove(tx: Transaction, projects: Mapping[str, str]) -> set[str]:
    """Have workers remove folders, and return which: of those that are still unknown.

    Args:
        tx: A transaction.
        projects: Ids that `unknown` returned, and in whose part of the store their folders lie;
            the record may have learnt of some since.
    """
    strangers = unknown(tx.connection, projects)
    if strangers:
        rows = [
            {
                "id": id_,
                "run_id": "",
                "experiment_id": "",
                "time": tx.now,
                "project": projects[id_],
            }
            for id_ in sorted(strangers)
        ]
        tx.connection.execute(insert(removals), rows)
    return strangers
