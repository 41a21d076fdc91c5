"""Reading jobs and their metrics."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection

from talweg.server.errors import BadPageToken, InvalidRequest
from talweg.server.queries import pages
from talweg.server.queries.filters import parse_filter, parse_order
from talweg.server.queueing.waiting import QueueStatus, Setback, reason
from talweg.server.services.arguments import count, job_of
from talweg.server.services.attempts.tracking import reachable
from talweg.server.services.comparison.results import results
from talweg.server.store import events, jobs, listing, metrics, queues
from talweg.server.store.identity import gpu_use, projects
from talweg.server.store.listing import OrderKey
from talweg.server.store.record.clock import SECOND
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import JobRow
from talweg.v1.jobs_pb2 import Event, Job, MetricSummary, Result, TrackingRun

T = TypeVar("T")

MAX_PAGE = 1000
_DEFAULT_PAGE = 100
MAX_POINTS = 10_000
_LOG_PAGE = 1000
_LOG_KINDS = ("state", "log", "warning", "guard", "finished")
# Clients take 4 MiB in one message unless they say otherwise.
_MAX_PAGE_BYTES = 3 * 1024 * 1024


@dataclass(frozen=True)
class JobView:
    """A job, and what is not in its row."""

    row: JobRow
    """The row."""

    waiting_reason: str = ""
    """Why it is not running yet, where it is QUEUED."""

    result: Result | None = None
    """The value of its main metric; None while it has none."""

    tracking: TrackingRun | None = None
    """Its run in MLflow, with the address of its page as it is now."""


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
    """By name; none from the second page on."""

    points: Sequence[Event] = ()
    """Metric events, in order; none unless asked for."""

    next_token: str = ""
    """Where the points go on; empty at their end."""


@dataclass(frozen=True)
class Logs:
    """Part of a job's log."""

    events: Sequence[Event]
    """In order."""

    next_cursor: int
    """The cursor after which the log goes on; 0 at its end."""


class JobService:
    """Reads the record for people."""

    def __init__(self, database: Database, status: QueueStatus, *, tracking_uri: str = "") -> None:
        """Keep its collaborators.

        Args:
            database: The record.
            status: What is known of the broker and the workers.
            tracking_uri: Where people reach MLflow's pages; empty if the record alone knows.
        """
        self._database = database
        self._status = status
        self._tracking_uri = tracking_uri

    async def get(self, name: str) -> JobView:
        """Find a job.

        Args:
            name: `jobs/{id}`.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: That is not a job's name.
        """
        id_ = job_of(name)
        (view,) = await self._database.reading(lambda db: self._views(db, [jobs.get(db, id_)]))
        return view

    async def view(self, row: JobRow) -> JobView:
        """Add to a row what is not in it."""
        (view,) = await self._database.reading(self._views, [row])
        return view

    async def list_page(
        self, *, filter: str, order_by: str, page_size: int, page_token: str
    ) -> Page:
        """List jobs.

        Args:
            filter: See `talweg.server.queries.filters`.
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
            rows = listing.select_where(connection, where, order, after=after, limit=size + 1)
            fitting = _fitting(rows[:size], _num_bytes, _MAX_PAGE_BYTES)
            token = ""
            if len(fitting) < len(rows):
                token = pages.encode(listing.place(fitting[-1], order), arguments)
            return Page(self._views(connection, fitting), token)

        return await self._database.reading(read)

    async def metrics(
        self,
        name: str,
        *,
        wanted: Sequence[str] = (),
        include_points: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> JobMetrics:
        """Read what a job measured, page by page.

        Args:
            name: `jobs/{id}`.
            wanted: Names, or prefixes ending in "/"; all where empty.
            include_points: Give the metric events too.
            page_size: At most so many events; a page ends before it outgrows a client's message
                limit.
            page_token: From the page before; empty for the first.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: That is not a job's name, or the page size is out of bounds.
            BadPageToken: The token is of other arguments, or none that this service gave.
        """
        id_ = job_of(name)
        size = count(page_size, field="page_size", most=MAX_POINTS, default=MAX_POINTS)
        arguments = (name, *wanted)
        position = pages.decode(page_token, arguments, (int, str)) if page_token else None

        def read(connection: Connection) -> JobMetrics:
            row = jobs.get(connection, id_)
            summaries = [] if position else metrics.of_job(connection, row.seq)
            chosen = [each for each in summaries if _is_wanted(each.name, wanted)]
            if not include_points:
                return JobMetrics(chosen)
            after, reached = (
                (int(position[0]), _Reached(str(position[1]))) if position else (0, _Reached())
            )
            measured = events.of_kind(
                connection, row.seq, kind="metrics", after=after, limit=size + 1
            )
            room = _MAX_PAGE_BYTES - sum(each.ByteSize() for each in chosen)
            fitting = _fitting(measured[:size], Event.ByteSize, room)
            points = list(filter(reached.is_new, fitting))
            token = ""
            if len(fitting) < len(measured):
                token = pages.encode((fitting[-1].cursor, reached.text), arguments)
            return JobMetrics(chosen, [each for each in points if _narrow(each, wanted)], token)

        return await self._database.reading(read)

    async def logs(self, name: str, *, after: int, page_size: int) -> Logs:
        """Read the log of a job, page by page: all events but progress and metrics.

        Args:
            name: `jobs/{id}`.
            after: The cursor of the last event that is known; 0 for all.
            page_size: At most so many; a page ends before it outgrows a client's message limit.

        Raises:
            JobNotFound: There is no such job.
            InvalidRequest: That is not a job's name, or a number is out of bounds.
        """
        id_ = job_of(name)
        size = count(page_size, field="page_size", most=MAX_POINTS, default=_LOG_PAGE)
        if after < 0:
            raise InvalidRequest.of("after_cursor", f"must be >= 0, but got {after}")

        def read(connection: Connection) -> Logs:
            row = jobs.get(connection, id_)
            lines = events.of_kind(
                connection, row.seq, kind=_LOG_KINDS, after=after, limit=size + 1
            )
            fitting = _fitting(lines[:size], Event.ByteSize, _MAX_PAGE_BYTES)
            return Logs(fitting, fitting[-1].cursor if len(fitting) < len(lines) else 0)

        return await self._database.reading(read)

    def _views(self, connection: Connection, rows: Sequence[JobRow]) -> list[JobView]:
        queued = [row.seq for row in rows if row.state == Job.QUEUED]
        places = queues.places(connection, queued) if queued else {}
        busy = queues.busy(connection) if queued else frozenset()
        now = queues.now(connection) if any(row.setbacks for row in rows) else 0
        full = projects.full(connection) if queued else {}
        without_gpus = gpu_use.exhausted(connection) if queued else {}
        reached = results(connection, rows)
        return [
            JobView(
                row,
                reason(
                    self._status,
                    queue=row.queue,
                    place=places[row.seq],
                    is_busy=row.queue in busy,
                    setback=_setback(row, now),
                    quota=_quota(row, full) or _gpu_quota(row, without_gpus),
                )
                if row.seq in places
                else "",
                reached.get(row.seq),
                self._tracking(row),
            )
            for row in rows
        ]

    def _tracking(self, row: JobRow) -> TrackingRun | None:
        """Return a job's run; the tracking server may be elsewhere than when it was written."""
        if row.tracking is None:
            return None
        return reachable(TrackingRun.FromString(row.tracking), self._tracking_uri)


def _quota(row: JobRow, full: Mapping[str, int]) -> str:
    """Return why a job's project runs no more jobs; empty where it may.

    Args:
        row: The job.
        full: The projects that run as many as they may, with that number.
    """
    if row.project not in full:
        return ""
    most = full[row.project]
    jobs_ = "1 job" if most == 1 else f"{most:,} jobs"
    return f"project {row.project!r} runs {jobs_}, as many as it may at once"


def _setback(row: JobRow, now: int) -> Setback | None:
    if not row.setbacks:
        return None
    left = 0 if row.not_before is None else row.not_before - now
    return Setback(row.setbacks, row.worker, row.setback, left / SECOND)


def _place_kinds(order: Sequence[OrderKey]) -> list[type]:
    return [*(str if key.field == "loss" else int for key in order), int]


def _fitting(items: Sequence[T], size_of: Callable[[T], int], room: int) -> Sequence[T]:
    """Return as many as fit, but always the first: a page without any would not go on."""
    for index, item in enumerate(items):
        room -= size_of(item)
        if room < 0 and index:
            return items[:index]
    return items


def _num_bytes(row: JobRow) -> int:
    return sum(len(part or b"") for part in (row.spec, row.warnings, row.outcome))


class _Reached:
    """How far points of each kind have come: attempts that go on measure some steps again."""

    def __init__(self, text: str = "") -> None:
        self._steps: dict[str, int] = _steps(text) if text else {}

    @property
    def text(self) -> str:
        """For the next page."""
        return json.dumps(self._steps)

    def is_new(self, event: Event) -> bool:
        """Return whether no earlier point holds the same metrics of its step or a later one."""
        kind = ",".join(sorted(event.metrics.values))
        if event.metrics.step <= self._steps.get(kind, -1):
            return False
        self._steps[kind] = event.metrics.step
        return True


def _steps(text: str) -> dict[str, int]:
    try:
        steps = json.loads(text)
    # Of brackets nested by the thousand.
    except (ValueError, RecursionError) as exc:
        raise BadPageToken("page_token was not issued by this service") from exc
    if not isinstance(steps, dict) or not all(type(step) is int for step in steps.values()):
        raise BadPageToken("page_token was not issued by this service")
    return steps


def _narrow(event: Event, wanted: Sequence[str]) -> bool:
    """Take away the metrics that are not wanted, and tell whether any is left."""
    for metric in list(event.metrics.values):
        if not _is_wanted(metric, wanted):
            del event.metrics.values[metric]
    return bool(event.metrics.values)


def _is_wanted(metric: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(
        metric.startswith(each) if each.endswith("/") else metric == each for each in wanted
    )


def _gpu_quota(row: JobRow, exhausted: Mapping[str, float]) -> str:
    """Return why a job's project gets no GPU; empty where it does, or the job takes none.

    Args:
        row: The job.
        exhausted: The projects that have used what they may, with that number of hours.
    """
    if row.device == "cpu" or row.project not in exhausted:
        return ""
    return (
        f"project {row.project!r} has used the {exhausted[row.project]:,g} GPU hours that it may "
        f"in {gpu_use.PERIOD_DAYS} days"
    )
