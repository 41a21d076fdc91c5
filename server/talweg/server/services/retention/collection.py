"""Deleting old jobs: those of an age, but for the ones that are worth keeping."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select

from talweg.server.errors import DatabaseUnavailable
from talweg.server.queries.filters import parse_filter
from talweg.server.queueing.outage import Outage
from talweg.server.services.comparison.results import results
from talweg.server.services.retention.ages import check_age
from talweg.server.services.retention.deletion import is_on_its_way, sweeps_that_need
from talweg.server.store import jobs, listing, removals, sessions
from talweg.server.store.listing import Condition, OrderKey
from talweg.server.store.record.clock import current_time, microseconds
from talweg.server.store.record.database import Database, Transaction
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import CollectJobsRequest, Job
from talweg.v1.options_pb2 import Goal

MOST_AT_ONCE = 1000
"""At most so many jobs go in one transaction."""
_PERIOD = timedelta(minutes=10)

log = logging.getLogger(__name__)

Keep = CollectJobsRequest.Keep


@dataclass(frozen=True)
class Collected:
    """Jobs that were deleted, or would be."""

    rows: Sequence[JobRow]
    """The jobs, the newest first."""

    num_kept: int
    """How many of that age stay: worth keeping, needed by another job, or not delivered yet."""


class CollectionService:
    """Deletes old jobs, on request and by the server's own policy."""

    def __init__(self, database: Database, *, keep_days: float | None = None) -> None:
        """Keep the record.

        Args:
            database: The record.
            keep_days: Jobs that ended so many days ago are deleted, but for the best of each
                experiment; None to delete none.
        """
        self._database = database
        self._keep_days = keep_days

    async def collect(
        self,
        *,
        older_than: timedelta,
        keep: Keep.ValueType,
        filter: str = "",
        validate_only: bool = False,
    ) -> Collected:
        """Delete jobs that ended long ago.

        Args:
            older_than: How long ago they ended at least.
            keep: Which of them stay in each experiment.
            filter: Only jobs that meet this condition; see `talweg.server.queries.filters`.
            validate_only: Only say which would be deleted.

        Raises:
            BadFilter: The filter cannot be read.
            InvalidRequest: An argument is out of bounds.
        """
        check_age(older_than)
        where = parse_filter(filter)
        if validate_only:
            return await self._database.reading(_chosen, older_than, keep, where)
        return await self._database.writing(_collect, older_than, keep, where)

    async def run(self) -> None:
        """Apply the server's policy now and then, until cancelled."""
        outage = Outage(log, "cannot delete old jobs", "deleting old jobs works again")
        while True:
            await asyncio.sleep(_PERIOD.total_seconds())
            if self._keep_days is None:
                continue
            try:
                collected = await self.collect(
                    older_than=timedelta(days=self._keep_days), keep=CollectJobsRequest.BEST
                )
            except DatabaseUnavailable as exc:
                outage.failed(exc)
            else:
                outage.passed()
                if collected.rows:
                    log.info("deleted %d jobs by TALWEG_KEEP_DAYS", len(collected.rows))


def _collect(
    tx: Transaction,
    older_than: timedelta,
    keep: Keep.ValueType,
    where: Sequence[Sequence[Condition]],
) -> Collected:
    chosen = _chosen(tx.connection, older_than, keep, where)
    for row in chosen.rows:
        removals.remove(tx, jobs.lock(tx, row.id))
    return chosen


def _chosen(
    connection: Connection,
    older_than: timedelta,
    keep: Keep.ValueType,
    where: Sequence[Sequence[Condition]],
) -> Collected:
    now: int = connection.scalar(select(current_time())) or 0
    before = now - microseconds(older_than)
    rows = listing.select_where(
        connection, where, [OrderKey("create_time", descending=True)], after=None, limit=None
    )
    ended = [row for row in rows if row.ended]
    old = [row for row in ended if row.end_time is not None and row.end_time <= before]
    worth = set(_worth_keeping(connection, ended, keep))
    candidates = [row for row in old if row.seq not in worth and not is_on_its_way(row, now)]
    gone = _unneeded(connection, candidates)
    return Collected(gone, len(old) - len(gone))


def _unneeded(connection: Connection, candidates: Sequence[JobRow]) -> list[JobRow]:
    """Return those that no sweep goes on with, and no other job refers to, but for jobs that go.

    Args:
        connection: To read by.
        candidates: The newest first, so that what they refer to may go with them.
    """
    gone: dict[str, JobRow] = {}
    for start in range(0, len(candidates), MOST_AT_ONCE):
        rows = candidates[start : start + MOST_AT_ONCE]
        users = removals.referrers(connection, [row.id for row in rows])
        needed = sweeps_that_need(connection, rows)
        for row in rows:
            if row.id in needed:
                continue
            if row.job_spec.HasField("session") and sessions.open_session_of(connection, [row.id]):
                continue
            if len(gone) == MOST_AT_ONCE:
                return list(gone.values())
            if all(user in gone for user in users.get(row.id, ())):
                gone[row.name] = row
    return list(gone.values())


def _worth_keeping(
    connection: Connection, rows: Sequence[JobRow], keep: Keep.ValueType
) -> Iterator[int]:
    """Yield the numbers of the jobs that stay: of each project, experiment and metric one."""
    succeeded = [row for row in rows if row.state == Job.SUCCEEDED]
    if keep == CollectJobsRequest.LAST:
        last: dict[tuple[str, str], int] = {}
        for row in succeeded:
            last.setdefault((row.project, row.experiment), row.seq)
        yield from last.values()
    if keep != CollectJobsRequest.BEST:
        return
    reached = results(connection, succeeded)
    best: dict[tuple[str, str, str], tuple[float, int]] = {}
    for row in succeeded:
        result = reached.get(row.seq)
        if result is None:
            continue
        key = (row.project, row.experiment, result.metric)
        value = -result.value if result.goal == Goal.MAXIMIZE else result.value
        if key not in best or value < best[key][0]:
            best[key] = (value, row.seq)
    yield from (seq for _, seq in best.values())
