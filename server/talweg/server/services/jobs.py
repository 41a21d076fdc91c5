"""Reading jobs and their metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from talweg.server import pages
from talweg.server.filters import parse_filter, parse_order
from talweg.server.queueing.waiting import Surroundings, reason
from talweg.server.services.arguments import count, job_of
from talweg.server.store import events, jobs, listing, metrics, queues
from talweg.server.store.database import Database
from talweg.server.store.listing import OrderKey
from talweg.server.store.rows import JobRow
from talweg.v1.jobs_pb2 import Event, Job, MetricSummary

MAX_PAGE = 1000
_DEFAULT_PAGE = 100
# Clients take 4 MiB in one message unless they say otherwise.
_MAX_PAGE_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True)
class JobView:
    """A job, and what is not in its row."""

    row: JobRow
    """The row."""

    waiting_reason: str = ""
    """Why it is not running yet, where it is QUEUED."""


@dataclass(frozen=True)
class Page:
    """Part of a list of jobs."""

    jobs: Sequence[JobView]
    """In the order that was asked for."""

    next_token: str
    """Where the list goes on; empty at its end."""


@dataclass(frozen=True)
class JobMetrics:
    """What a job measured."""

    summaries: Sequence[MetricSummary]
    """By name."""

    points: Sequence[Event]
    """Metric events, in order; none unless asked for."""


class JobService:
    """Reads the record for people."""

    def __init__(self, database: Database, surroundings: Surroundings) -> None:
        """Keeps its collaborators.

        Args:
            database: The record.
            surroundings: What is known of the broker and the workers.
        """
        self._database = database
        self._surroundings = surroundings

    async def get(self, name: str) -> JobView:
        """Finds a job.

        Args:
            name: jobs/{id}.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: That is not a job's name.
        """
        id_ = job_of(name)
        (view,) = await self._database.reading(lambda db: self._views(db, [jobs.get(db, id_)]))
        return view

    async def view(self, row: JobRow) -> JobView:
        """Adds to a row what is not in it."""
        if row.state != Job.QUEUED:
            return JobView(row)
        (view,) = await self._database.reading(self._views, [row])
        return view

    async def list_page(
        self, *, filter: str, order_by: str, page_size: int, page_token: str
    ) -> Page:
        """Lists jobs.

        Args:
            filter: See `talweg.server.filters`.
            order_by: See there.
            page_size: At most so many; a page ends before it outgrows a client's message limit.
            page_token: From the page before; empty for the first.

        Raises:
            BadFilter: The filter cannot be read.
            BadOrder: The order cannot be read.
            BadPageToken: The token is of other arguments, or none that this service gave.
            InvalidRequest: The page size is out of bounds.
        """
        where = parse_filter(filter)
        order = parse_order(order_by)
        size = count(page_size, field="page_size", most=MAX_PAGE, default=_DEFAULT_PAGE)
        arguments = (filter, order_by)
        after = None
        if page_token:
            after = pages.decode(page_token, arguments, _place_kinds(order))

        def read(connection: Connection) -> Page:
            found = listing.select_where(connection, where, order, after=after, limit=size + 1)
            fitting = _fitting(found[:size])
            token = ""
            if len(fitting) < len(found):
                token = pages.encode(listing.place(fitting[-1], order), arguments)
            return Page(self._views(connection, fitting), token)

        return await self._database.reading(read)

    async def metrics(
        self, name: str, *, wanted: Sequence[str], include_points: bool
    ) -> JobMetrics:
        """Reads what a job measured.

        Args:
            name: jobs/{id}.
            wanted: Names, or prefixes ending in "/"; all where empty.
            include_points: Give the metric events too.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: That is not a job's name.
        """
        id_ = job_of(name)

        def read(connection: Connection) -> JobMetrics:
            row = jobs.get(connection, id_)
            summaries = metrics.of_job(connection, row.seq)
            points: list[Event] = []
            if include_points:
                points = _each_step_once(events.of_kind(connection, row.seq, kind="metrics"))
            return JobMetrics(summaries, points)

        found = await self._database.reading(read)
        if not wanted:
            return found
        chosen = [each for each in found.summaries if _is_wanted(each.name, wanted)]
        narrowed = []
        for event in found.points:
            for metric in list(event.metrics.values):
                if not _is_wanted(metric, wanted):
                    del event.metrics.values[metric]
            if event.metrics.values:
                narrowed.append(event)
        return JobMetrics(chosen, narrowed)

    def _views(self, connection: Connection, rows: Sequence[JobRow]) -> list[JobView]:
        queued = [row.seq for row in rows if row.state == Job.QUEUED]
        places = queues.places(connection, queued) if queued else {}
        return [
            JobView(
                row,
                reason(self._surroundings, queue=row.queue, place=places[row.seq])
                if row.seq in places
                else "",
            )
            for row in rows
        ]


def _place_kinds(order: Sequence[OrderKey]) -> list[type]:
    return [*(str if key.field == "loss" else int for key in order), int]


def _fitting(rows: Sequence[JobRow]) -> Sequence[JobRow]:
    size = 0
    for index, row in enumerate(rows):
        size += sum(len(part or b"") for part in (row.spec, row.warnings, row.outcome))
        if size > _MAX_PAGE_BYTES and index:
            return rows[:index]
    return rows


def _each_step_once(points: Sequence[Event]) -> list[Event]:
    """Leaves out what a later attempt measured again, from its checkpoint on."""
    reached: dict[tuple[str, ...], int] = {}
    kept = []
    for event in points:
        kind = tuple(sorted(event.metrics.values))
        if event.metrics.step > reached.get(kind, -1):
            reached[kind] = event.metrics.step
            kept.append(event)
    return kept


def _is_wanted(metric: str, wanted: Sequence[str]) -> bool:
    return any(
        metric.startswith(each) if each.endswith("/") else metric == each for each in wanted
    )
