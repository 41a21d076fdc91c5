"""What workers have told of the plug-ins that are installed beside them: the last of each."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select, update

from talweg.server.store.record.clock import current_time
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.schema import worker_plugins as table


def keep(tx: Transaction, worker: str, report: bytes, *, owner: str, oldest: int) -> None:
    """Put what a worker tells in the place of what it told before, and forget what is too old.

    Args:
        tx: A transaction.
        worker: The worker's name.
        report: A serialised ReportPluginsRequest.
        owner: The id of the worker's token; empty for none.
        oldest: Microseconds for which a report holds.
    """
    tx.connection.execute(delete(table).where(table.c.time < tx.now - oldest))
    values = {"time": tx.now, "report": report}
    own = (table.c.owner == owner, table.c.worker == worker)
    done = tx.connection.execute(update(table).where(*own).values(**values))
    if not done.rowcount:
        tx.connection.execute(insert(table).values(owner=owner, worker=worker, **values))


def current(connection: Connection, *, oldest: int) -> Sequence[bytes]:
    """Return the reports that hold, serialised, the latest last.

    Args:
        connection: To read by.
        oldest: Microseconds for which a report holds.
    """
    since = current_time() - oldest
    statement = select(table.c.report).where(table.c.time >= since)
    return connection.execute(statement.order_by(table.c.time, table.c.worker)).scalars().all()
