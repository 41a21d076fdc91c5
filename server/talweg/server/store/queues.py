"""What waits in the queues."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, or_, select

from talweg.server.store.record.clock import current_time
from talweg.server.store.record.schema import is_queued, is_running, jobs


@dataclass(frozen=True)
class Waiting:
    """The waiting jobs of one queue."""

    num_jobs: int
    """How many may be claimed now."""

    age: int
    """How long ago the first of them was submitted, in microseconds."""


# In this shape the count needs nothing but the index.
_COUNTS = (
    select(jobs.c.queue, func.count().label("num"), func.min(jobs.c.seq).label("first"))
    .where(is_queued)
    .group_by(jobs.c.queue)
    .subquery()
)
# Made once: this runs before each wake-up message, while somebody waits for the job.
_WAITING = select(_COUNTS.c.queue, _COUNTS.c.num, current_time() - jobs.c.create_time).join(
    jobs, jobs.c.seq == _COUNTS.c.first
)


_HELD_BACK = (
    select(jobs.c.queue, func.count())
    .where(is_queued, jobs.c.not_before.is_not(None), jobs.c.not_before > current_time())
    .group_by(jobs.c.queue)
)


def waiting(connection: Connection) -> dict[str, Waiting]:
    """Count the waiting jobs of each queue that has any."""
    held_back: dict[str, int] = {}
    for queue, num in connection.execute(_HELD_BACK):
        held_back[queue] = num
    return {
        queue: Waiting(num - held_back.get(queue, 0), age)
        for queue, num, age in connection.execute(_WAITING)
    }


def now(connection: Connection) -> int:
    """Return the database's time, in microseconds since 1970."""
    time: int = connection.scalar(select(current_time())) or 0
    return time


def places(connection: Connection, seqs: Sequence[int]) -> dict[int, int]:
    """Return how many jobs of its project go before each of these jobs.

    Args:
        connection: To read by.
        seqs: Jobs; those that do not wait are missing in the result.
    """
    ranks = (
        select(
            jobs.c.seq,
            func.row_number()
            .over(
                # Projects take turns, and what others have is nobody's business.
                partition_by=(jobs.c.queue, jobs.c.project),
                order_by=(jobs.c.priority.desc(), jobs.c.seq.asc()),
            )
            .label("place"),
        )
        .where(is_queued)
        .subquery()
    )
    statement = select(ranks.c.seq, ranks.c.place).where(ranks.c.seq.in_(seqs))
    return {seq: place - 1 for seq, place in connection.execute(statement)}


def busy(connection: Connection) -> frozenset[str]:
    """Name the queues of which a job is RUNNING."""
    return frozenset(connection.scalars(select(jobs.c.queue).where(is_running).distinct()))


_OVERDUE = select(
    exists().where(
        is_running,
        or_(jobs.c.lease_until < current_time(), jobs.c.cancel_deadline < current_time()),
    )
)


def any_overdue(connection: Connection) -> bool:
    """Return whether a RUNNING job's lease or time to cancel in order has run out."""
    return bool(connection.scalar(_OVERDUE))
