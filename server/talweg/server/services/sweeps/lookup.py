"""Reading and following sweeps."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from talweg.server.errors import InvalidRequest, ShuttingDown
from talweg.server.queries import pages
from talweg.server.services.arguments import count, sweep_of
from talweg.server.services.attempts.tracking import reachable
from talweg.server.services.quotas import why_no_jobs
from talweg.server.services.sweeps.messages import SweepView, trial_message
from talweg.server.services.sweeps.plans import Plans
from talweg.server.services.watching import WatchLimit
from talweg.server.store.record.database import Database
from talweg.server.store.record.rows import SweepRow, TrialRow
from talweg.server.store.sweeps import runs, sweeps, trials
from talweg.v1.jobs_pb2 import TrackingRun
from talweg.v1.sweeps_pb2 import Sweep, SweepEvent, Trial

_MAX_PAGE = 1000
_DEFAULT_SWEEPS, _DEFAULT_TRIALS = 50, 100
_EVENTS = 200
_POLL_S = 0.5
# Each is a line to read; a sweep of more compared values shows the first.
_MOST_BEST = 100


@dataclass(frozen=True)
class SweepPage:
    """Part of a list of sweeps."""

    sweeps: Sequence[SweepView]
    """The newest first."""
    next_token: str
    """Where the list goes on; empty at its end."""


@dataclass(frozen=True)
class TrialPage:
    """Part of a list of trials."""

    trials: Sequence[Trial]
    """In the order that was asked for."""
    next_token: str
    """Where the list goes on; empty at its end."""


class SweepService:
    """Reads the record for people."""

    def __init__(
        self, database: Database, limit: WatchLimit | None = None, *, tracking_uri: str = ""
    ) -> None:
        """Keep the record.

        Args:
            database: The record.
            limit: Counts the watches of each caller.
            tracking_uri: Where people reach MLflow's pages; empty if the record alone knows.
        """
        self._database = database
        self._limit = limit or WatchLimit()
        self._tracking_uri = tracking_uri
        self._plans = Plans()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Have all watchers end: the server is about to."""
        self._closing.set()

    async def get(self, name: str) -> SweepView:
        """Find a sweep.

        Args:
            name: `sweeps/{id}`.

        Raises:
            SweepNotFound: There is no such sweep.
            InvalidRequest: That is not a sweep's name.
        """
        id_ = sweep_of(name)
        return await self._database.reading(lambda db: self._view(db, sweeps.get(db, id_)))

    async def view(self, row: SweepRow) -> SweepView:
        """Add to a row what is not in it."""
        if not row.id:
            return SweepView(row)
        return await self._database.reading(self._view, row)

    def _view(self, connection: Connection, row: SweepRow) -> SweepView:
        plan = self._plans.of(row)
        if row.state == Sweep.RUNNING and not trials.open_jobs(connection, row.seq):
            why = why_no_jobs(connection, row.project)
            row = replace(row, message=f"waits: {why}") if why else row
        searches = range(min(len(plan.searches), _MOST_BEST))
        best = [trials.best(connection, row.seq, search, row.goal) for search in searches]
        return SweepView(
            row,
            jobs=trials.job_states(connection, row.seq),
            trials=trials.count(connection, row.seq),
            best=self._messages(connection, row, [trial for trial in best if trial is not None]),
            num_reused=trials.num_reused(connection, row.seq),
            tracking=self._runs(connection, [row]).get(row.seq),
            num_continued=trials.num_continued(connection, row.seq),
        )

    def _runs(self, connection: Connection, rows: Sequence[SweepRow]) -> dict[int, TrackingRun]:
        found = runs.of_sweeps(connection, [row.seq for row in rows])
        return {seq: reachable(run, self._tracking_uri) for seq, run in found.items()}

    def _messages(
        self, connection: Connection, row: SweepRow, found: Sequence[TrialRow]
    ) -> list[Trial]:
        plan = self._plans.of(row)
        jobs = trials.jobs_of(connection, row.seq, [trial.number for trial in found])
        return [trial_message(trial, plan, jobs.get(trial.number, ())) for trial in found]

    async def list_page(
        self, *, states: Sequence[int], page_size: int, page_token: str
    ) -> SweepPage:
        """List sweeps, the newest first.

        Args:
            states: Only those in these; all where empty.
            page_size: At most so many.
            page_token: From the page before; empty for the first.

        Raises:
            BadPageToken: The token is of other arguments, or none that this service gave.
            InvalidRequest: The page size is out of bounds, or a state is none.
        """
        size = count(page_size, field="page_size", most=_MAX_PAGE, default=_DEFAULT_SWEEPS)
        _check_states(states, Sweep.State.values())
        arguments = [str(state) for state in states]
        before = int(pages.decode(page_token, arguments, (int,))[0]) if page_token else None

        def read(connection: Connection) -> SweepPage:
            rows = sweeps.newest(connection, states=states, before=before, limit=size + 1)
            token = pages.encode([rows[size - 1].seq], arguments) if len(rows) > size else ""
            tracking = self._runs(connection, rows[:size])
            views = [
                SweepView(
                    row,
                    jobs=trials.job_states(connection, row.seq),
                    trials=trials.count(connection, row.seq),
                    tracking=tracking.get(row.seq),
                )
                for row in rows[:size]
            ]
            return SweepPage(views, token)

        return await self._database.reading(read)

    async def list_trials(
        self,
        name: str,
        *,
        best_first: bool,
        states: Sequence[int],
        page_size: int,
        page_token: str,
    ) -> TrialPage:
        """List the trials of a sweep that have begun.

        Args:
            name: `sweeps/{id}`.
            best_first: The best first, instead of by number.
            states: Only those in these; all where empty.
            page_size: At most so many.
            page_token: From the page before; empty for the first.

        Raises:
            SweepNotFound: There is no such sweep.
            BadPageToken: The token is of other arguments, or none that this service gave.
            InvalidRequest: An argument is out of bounds.
        """
        id_ = sweep_of(name, field="sweep")
        size = count(page_size, field="page_size", most=_MAX_PAGE, default=_DEFAULT_TRIALS)
        _check_states(states, Trial.State.values())
        arguments = [name, str(best_first), *map(str, states)]
        start = int(pages.decode(page_token, arguments, (int,))[0]) if page_token else 0
        if start < 0:
            raise InvalidRequest.of("page_token", "was not issued by this service")

        def read(connection: Connection) -> TrialPage:
            row = sweeps.get(connection, id_)
            found = trials.page(
                connection,
                row.seq,
                states=states,
                goal=row.goal if best_first else None,
                start=start,
                limit=size + 1,
            )
            token = ""
            if len(found) > size:
                place = start + size if best_first else found[size - 1].number
                token = pages.encode([place], arguments)
            return TrialPage(self._messages(connection, row, found[:size]), token)

        return await self._database.reading(read)

    async def watch(
        self, name: str, after: int, *, caller: str = ""
    ) -> AsyncGenerator[SweepEvent]:
        """Yield a sweep's events after a cursor, and new ones as they come, up to its end.

        Args:
            name: `sweeps/{id}`.
            after: The last cursor not wanted; 0 for all.
            caller: Who asks; equal texts are one caller.

        Raises:
            TooManyWatches: The caller has as many as it may.
            SweepNotFound: There is no such sweep.
            InvalidRequest: The cursor is one that the sweep does not have yet.
            ShuttingDown: The server is about to end; watch again from the last event.
        """
        id_ = sweep_of(name)
        with self._limit.counted(caller):
            async with aclosing(self._watch(id_, after)) as events:
                async for event in events:
                    yield event

    async def _watch(self, id_: str, after: int) -> AsyncGenerator[SweepEvent]:
        row = await self._database.reading(sweeps.get, id_)
        if not 0 <= after <= row.last_cursor:
            raise InvalidRequest.of(
                "after_cursor",
                f"must be >= 0 and <= {row.last_cursor}, the latest event, but got {after}",
            )
        while True:
            row = await self._database.reading(sweeps.get, id_)
            while after < row.last_cursor:
                new = await self._database.reading(
                    sweeps.events_after, row.seq, after, limit=_EVENTS
                )
                for event in new:
                    after = event.cursor
                    yield event
                    if event.HasField("finished") and after >= row.last_cursor:
                        return
            if row.ended:
                return
            # The record is asked, which several servers may share: no message is to be lost.
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._closing.wait()
                    raise ShuttingDown(
                        "the server is shutting down; watch again from the last event"
                    )


def _check_states(states: Sequence[int], known: Sequence[int]) -> None:
    for state in states:
        if state not in known or not state:
            raise InvalidRequest.of("states", f"must hold known states, but holds {state}")
