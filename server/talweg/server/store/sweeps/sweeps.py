"""Rows and events of sweeps."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from talweg.server.errors import SweepNotFound
from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.inserting import insert_new
from talweg.server.store.record.rows import SweepRow
from talweg.server.store.record.schema import goes_on, sweep_events, sweeps, trial_jobs
from talweg.server.store.record.scope import in_project, project_of, scoped_request_id
from talweg.server.store.sweeps import runs
from talweg.spec import sweep_name
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, SweepStateChange

_COLUMNS = [field.name for field in fields(SweepRow) if field.name != "seq"]
_BY_ID = select(sweeps).where(sweeps.c.id == bindparam("sweep"))
_LOCK = _BY_ID.with_for_update()


def create(tx: Transaction, row: SweepRow) -> SweepRow | None:
    """Write a new sweep with its first event.

    Args:
        tx: A transaction.
        row: Its `seq` is still to come.

    Returns:
        The row with its `seq`; None where its request_id is another's already.
    """
    project = project_of(tx.connection) or row.project
    row = replace(row, project=project)
    columns = {name: getattr(row, name) for name in _COLUMNS}
    columns["request_id"] = scoped_request_id(row.request_id or "", project) or None
    # Two calls with one request_id may come at once on PostgreSQL: the second inserts nothing.
    statement = insert_new(tx.connection, sweeps, ["request_id"])
    seq = tx.connection.execute(statement.returning(sweeps.c.seq), columns).scalar()
    if seq is None:
        return None
    change_ = SweepStateChange(state=Sweep.RUNNING, reason=row.message)
    first = SweepEvent(cursor=1, time=to_timestamp(tx.now), state=change_)
    _write(tx, seq, [first])
    return replace(row, seq=seq)


def get(connection: Connection, id_: str) -> SweepRow:
    """Find a sweep.

    Args:
        connection: To read by.
        id_: Its id.

    Raises:
        SweepNotFound: There is none.
    """
    row = connection.execute(in_project(connection, _BY_ID, sweeps), {"sweep": id_}).first()
    if row is None:
        raise SweepNotFound(sweep_name(id_))
    return SweepRow(*row)


def lock(tx: Transaction, id_: str) -> SweepRow:
    """Find a sweep and keep others from changing it until the transaction ends.

    Args:
        tx: A transaction.
        id_: Its id.

    Raises:
        SweepNotFound: There is none.
    """
    statement = in_project(tx.connection, _LOCK, sweeps)
    row = tx.connection.execute(statement, {"sweep": id_}).first()
    if row is None:
        raise SweepNotFound(sweep_name(id_))
    return SweepRow(*row)


def by_request_id(connection: Connection, request_id: str) -> SweepRow | None:
    """Find a sweep of the project by the request_id that it was created with."""
    kept = scoped_request_id(request_id, project_of(connection))
    row = connection.execute(select(sweeps).where(sweeps.c.request_id == kept)).first()
    return None if row is None else replace(SweepRow(*row), request_id=request_id)


def going_on(connection: Connection) -> list[str]:
    """Return the ids of sweeps that have not ended, the oldest first."""
    return list(connection.scalars(select(sweeps.c.id).where(goes_on).order_by(sweeps.c.seq)))


def going_on_with(connection: Connection, jobs: Sequence[str]) -> dict[str, str]:
    """Return by job the id of a sweep that goes on and that the job belongs to, if there is one.

    Args:
        connection: To read by.
        jobs: Ids of at most a thousand jobs.
    """
    statement = (
        select(trial_jobs.c.job, sweeps.c.id)
        .join(sweeps, sweeps.c.seq == trial_jobs.c.sweep)
        .where(trial_jobs.c.job.in_(list(jobs)), goes_on)
    )
    return {row.job: row.id for row in connection.execute(statement)}


def newest(
    connection: Connection, *, states: Sequence[int], before: int | None, limit: int
) -> list[SweepRow]:
    """List sweeps, the newest first.

    Args:
        connection: To read by.
        states: Only those in these; all where empty.
        before: Only those with a lower `seq`.
        limit: At most so many.
    """
    statement = select(sweeps).order_by(sweeps.c.seq.desc()).limit(limit)
    statement = in_project(connection, statement, sweeps)
    if states:
        statement = statement.where(sweeps.c.state.in_(states))
    if before is not None:
        statement = statement.where(sweeps.c.seq < before)
    return [SweepRow(*row) for row in connection.execute(statement)]


def change(tx: Transaction, row: SweepRow, **values: Any) -> SweepRow:
    """Change columns of a locked sweep.

    Returns:
        The sweep as it is now.
    """
    tx.connection.execute(update(sweeps).where(sweeps.c.seq == row.seq).values(**values))
    return replace(row, **values)


def move(tx: Transaction, row: SweepRow, state: Sweep.State.ValueType, why: str) -> SweepRow:
    """Bring a locked sweep into another state, and tell of it; at its end its summary is due.

    Args:
        tx: A transaction.
        row: The sweep.
        state: The new one.
        why: In words.
    """
    changed = SweepStateChange(state=state, reason=why)
    if state in (Sweep.RUNNING, Sweep.PAUSED):
        row = append(tx, row, [SweepEvent(state=changed)])
        return change(tx, row, state=int(state), message=why, end_time=None)
    row = append(tx, row, [SweepEvent(finished=changed)])
    runs.queue(tx, row)
    return change(tx, row, state=int(state), message=why, end_time=tx.now, closing=0)


def append(tx: Transaction, row: SweepRow, new: Sequence[SweepEvent]) -> SweepRow:
    """Append events to a locked sweep's log.

    Args:
        tx: A transaction.
        row: The sweep.
        new: Events whose kind alone is set.

    Returns:
        The sweep as it is now.
    """
    if not new:
        return row
    numbered = []
    for cursor, content in enumerate(new, start=row.last_cursor + 1):
        event = SweepEvent(cursor=cursor, time=to_timestamp(tx.now))
        event.MergeFrom(content)
        numbered.append(event)
    _write(tx, row.seq, numbered)
    return change(tx, row, last_cursor=row.last_cursor + len(new))


def _write(tx: Transaction, seq: int, events: Sequence[SweepEvent]) -> None:
    columns = [
        {"sweep": seq, "cursor": event.cursor, "event": event.SerializeToString()}
        for event in events
    ]
    tx.connection.execute(insert(sweep_events), columns)


def events_after(connection: Connection, seq: int, cursor: int, *, limit: int) -> list[SweepEvent]:
    """Read a sweep's events after a cursor, in order.

    Args:
        connection: To read by.
        seq: The sweep.
        cursor: The last number not to be read.
        limit: At most so many.
    """
    statement = (
        select(sweep_events.c.event)
        .where(sweep_events.c.sweep == seq, sweep_events.c.cursor > cursor)
        .order_by(sweep_events.c.cursor)
        .limit(limit)
    )
    return [SweepEvent.FromString(data) for data in connection.scalars(statement)]
