"""The event log of each job: numbered from 1, without gaps."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, bindparam, insert, select

from talweg.server.store.record.clock import to_timestamp
from talweg.server.store.record.database import Transaction
from talweg.server.store.record.rows import JobRow
from talweg.server.store.record.schema import events, jobs
from talweg.v1.jobs_pb2 import Event


def append(tx: Transaction, row: JobRow, new: Sequence[Event]) -> int:
    """Append events to a locked job's log and tell of them after the commit.

    Args:
        tx: A transaction.
        row: The job. Its attempt is the events'.
        new: Events whose kind alone is set.

    Returns:
        The number of the last one, which the caller must write to the job's `last_cursor` in the
        same transaction.
    """
    cursor = row.last_cursor
    columns = []
    announced = tx.changes.events.setdefault(row.id, [])
    for content in new:
        cursor += 1
        event = Event()
        event.CopyFrom(content)
        event.cursor = cursor
        event.time.CopyFrom(to_timestamp(tx.now))
        event.attempt = row.attempt
        announced.append(event)
        columns.append(_columns(row.seq, event))
    if columns:
        tx.connection.execute(_INSERT, columns)
    return cursor


def insert_first(tx: Transaction, first: Mapping[int, Event]) -> None:
    """Write the first event of new jobs, whose `last_cursor` is 1 already.

    Args:
        tx: A transaction.
        first: By job, the event; its kind alone is set.
    """
    if not first:
        return
    time = to_timestamp(tx.now)
    columns = []
    for seq, content in first.items():
        event = Event(cursor=1, time=time)
        event.MergeFrom(content)
        columns.append(_columns(seq, event))
    tx.connection.execute(_INSERT, columns)


def _columns(seq: int, event: Event) -> dict[str, object]:
    kind = event.WhichOneof("kind")
    assert kind is not None, "an event without a kind"
    return {
        "job": seq,
        "cursor": event.cursor,
        "attempt": event.attempt,
        "kind": kind,
        "event": event.SerializeToString(),
    }


_PAGE = 1000
_INSERT = insert(events)
_AFTER = (
    select(events.c.event)
    .where(events.c.job == bindparam("seq"), events.c.cursor > bindparam("after"))
    .order_by(events.c.cursor)
    .limit(bindparam("most"))
)


def after(connection: Connection, seq: int, cursor: int, *, limit: int) -> list[Event]:
    """Read a job's events after a cursor, in order.

    Args:
        connection: To read by.
        seq: The job.
        cursor: The last number not to be read.
        limit: At most so many.
    """
    result = connection.execute(_AFTER, {"seq": seq, "after": cursor, "most": limit})
    return [Event.FromString(data) for data in result.scalars()]


def of_kind(
    connection: Connection, seq: int, *, kind: str | Sequence[str], after: int, limit: int
) -> list[Event]:
    """Read events of one or more kinds, in order.

    Args:
        connection: To read by.
        seq: The job.
        kind: Members of the events' oneof.
        after: The last number not to be read.
        limit: At most so many.
    """
    statement = (
        select(events.c.event)
        .where(
            events.c.job == seq,
            events.c.kind.in_([kind] if isinstance(kind, str) else kind),
            events.c.cursor > after,
        )
        .order_by(events.c.cursor)
        .limit(limit)
    )
    return [Event.FromString(data) for data in connection.execute(statement).scalars()]


def values_at(connection: Connection, metric: str, steps: Mapping[int, int]) -> dict[int, float]:
    """Return a metric's value at one step of each job, where its log holds that.

    Args:
        connection: To read by.
        metric: Its name.
        steps: The step by job.
    """
    statement = (
        select(events.c.job, events.c.event)
        .where(events.c.kind == "metrics", events.c.job.in_(list(steps)))
        .order_by(events.c.job, events.c.cursor)
    )
    values: dict[int, float] = {}
    sought = metric.encode()
    for row in connection.execute(statement.execution_options(yield_per=_PAGE)):
        # Most points are of training: looking for the name is quicker than reading each.
        if sought in row.event:
            point = Event.FromString(row.event).metrics
            if point.step == steps[row.job] and metric in point.values:
                values[row.job] = point.values[metric]
    return values


def points_until(connection: Connection, seq: int, step: int) -> list[Event]:
    """Return the metrics that a job has told of up to a step, as a longer job would.

    Args:
        connection: To read by.
        seq: The job.
        step: Its last one, after which it was evaluated.
    """
    statement = (
        select(events.c.event)
        .where(events.c.job == seq, events.c.kind == "metrics")
        .order_by(events.c.cursor)
    )
    points = [Event.FromString(data) for data in connection.execute(statement).scalars()]
    evaluated = [
        index
        for index, point in enumerate(points)
        if point.metrics.step == step
        and any(name.startswith("val/") for name in point.metrics.values)
    ]
    # What follows are the test and the point that ends a training: a longer one has neither there.
    end = evaluated[-1] if evaluated else -1
    return [
        Event(metrics=point.metrics)
        for index, point in enumerate(points)
        if point.metrics.step < step or index <= end
    ]


def first_evaluation(connection: Connection, seq: int) -> int | None:
    """Return the step after which a job was evaluated first; None where it never was.

    Args:
        connection: To read by.
        seq: The job.
    """
    statement = (
        select(events.c.event)
        .where(events.c.job == seq, events.c.kind == "metrics")
        .order_by(events.c.cursor)
    )
    for data in connection.execute(statement).scalars():
        point = Event.FromString(data).metrics
        if any(name.startswith("val/") for name in point.values):
            return int(point.step)
    return None


def last_cursors(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the number of the latest event of each of these jobs."""
    statement = select(jobs.c.id, jobs.c.last_cursor).where(jobs.c.id.in_(ids))
    return {row.id: row.last_cursor for row in connection.execute(statement)}
