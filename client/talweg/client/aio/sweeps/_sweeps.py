# Made by client/make_asyncio.py from ../../sweeps/_sweeps.py: change that module.
"""The handle of a sweep."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Self

from talweg.client._connection import Source
from talweg.client._errors import Unavailable, WaitTimeout
from talweg.client._handle import Seconds, to_seconds
from talweg.client.aio._comparison import AsyncComparison
from talweg.client.aio._jobs import AsyncJob, listed_jobs, read_metrics
from talweg.client.aio._pages import paged
from talweg.client.aio.sweeps._answer import AsyncSweepAnswer
from talweg.client.aio.sweeps._handle import SweepHandle
from talweg.client.notebooks.sweeps import live_sweep
from talweg.client.sessions._values import ProposalAnswer
from talweg.client.sweeps._progress import SweepProgress
from talweg.client.sweeps._sweeps import _NAMED_AT_ONCE, _PAGE, _any_of
from talweg.client.sweeps._values import SweepState, Trial, TrialState, trial_state_number
from talweg.v1 import sweeps_pb2

if TYPE_CHECKING:
    from talweg.client.aio._connection import Connection


class AsyncSweep(SweepHandle):
    """A sweep as last reported by the server; `refresh` updates it."""

    async def watch(self, after: int = 0) -> AsyncGenerator[sweeps_pb2.SweepEvent]:
        """Yield the events of the sweep, old and new, up to the last one, which has `finished`.

        If the server goes away, the watch continues after the last event once it is back: no
        event is lost or repeated. `state` follows the events. In a notebook a progress bar
        follows them too.

        Args:
            after: A cursor: yield only the events after this one.

        Raises:
            TalwegError: An error of the server; Unavailable if it stays away for longer than the
                client's patience.
        """
        with live_sweep(self) as display:
            async with aclosing(self.follow(after=after)) as events:
                async for event in events:
                    if display.is_due(event):
                        await self.refresh()
                        display.show(self)
                    yield event

    async def follow(
        self,
        *,
        after: int = 0,
        until: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> AsyncGenerator[sweeps_pb2.SweepEvent]:
        """Watch, as `watch` does, up to a time on the monotonic clock.

        Args:
            after: A cursor: yield only the events after this one.
            until: When to give up; never if None.
            on_lost: Called with the reason each time the server cannot be reached.

        Raises:
            WaitTimeout: At `until`.
            TalwegError: As `watch`.
        """
        source = _source(self._connection, self._named())
        watched = self._connection.watch(source, after=after, until=until, on_lost=on_lost)
        async with aclosing(watched) as events:
            async for event in events:
                self._take(event)
                yield event

    async def wait(
        self,
        timeout: Seconds | None = None,
        *,
        on_event: Callable[[sweeps_pb2.SweepEvent], None] | None = None,
    ) -> Self:
        """Wait until the sweep has ended, in whatever state; in a notebook with a progress bar.

        Args:
            timeout: A timedelta, or seconds; no limit if None.
            on_event: Called with each new event, such as a trial that has ended.

        Raises:
            WaitTimeout: It has not ended by then. The sweep goes on.
            TalwegError: As `watch`.
        """
        if SweepState.of(self._message.state).is_final:
            return self
        seconds = to_seconds(timeout)
        until = None if seconds is None else time.monotonic() + seconds
        try:
            with live_sweep(self) as display:
                async for event in self.follow(after=self._message.last_cursor, until=until):
                    if on_event is not None:
                        on_event(event)
                    if display.is_due(event):
                        await self.refresh()
                        display.show(self)
                await self.refresh()
        except WaitTimeout as error:
            # A server that is away has no news.
            with suppress(Unavailable):
                await self.refresh()
            if SweepState.of(self._message.state).is_final:
                return self
            progress = SweepProgress(self._message)
            raise WaitTimeout(
                f"{self.name} is still {self.state} after {seconds:g} s ({progress.trials_text})"
            ) from error
        return self

    async def trials(
        self,
        *,
        best: bool = False,
        states: Iterable[TrialState | str] = (),
        limit: int | None = None,
    ) -> AsyncIterator[Trial]:
        """Yield the trials that have begun, page by page.

        Args:
            best: The best first, instead of by number; those without a value last.
            states: Only trials in these states, such as ``["DIVERGED"]``; all if empty.
            limit: The largest number of trials.

        Raises:
            ValueError: There is no such state.
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.ListTrialsRequest(
            sweep=self._named(), best_first=best, states=map(trial_state_number, states)
        )
        async for message in paged(
            self._connection,
            self._connection.sweeps.ListTrials,
            request,
            lambda response: response.trials,
            page_size=_PAGE,
            limit=limit,
        ):
            yield Trial.of(message)

    async def jobs(self) -> AsyncIterator[AsyncJob]:
        """Yield the jobs that the trials rest on, those taken over from earlier sweeps too.

        The jobs that were submitted for it, retried ones too, have the tag `sweep`:
        ``client.jobs(filter='tags.sweep = "ID"')``.

        Raises:
            TalwegError: An error of the server.
        """
        names: list[str] = []
        async for trial in self.trials():
            names += trial.jobs
            while len(names) >= _NAMED_AT_ONCE:
                async for job in listed_jobs(self._connection, _any_of(names[:_NAMED_AT_ONCE])):
                    yield job
                del names[:_NAMED_AT_ONCE]
        if names:
            async for job in listed_jobs(self._connection, _any_of(names)):
                yield job

    async def answer(self) -> AsyncSweepAnswer:
        """Return what the sweep has shown; provisional until it has ended.

        Raises:
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.AnswerSweepRequest(name=self._named())
        response = await self._connection.call(self._connection.sweeps.AnswerSweep, request)
        comparison = None
        if response.HasField("comparison"):
            paths = [self._message.spec.compare.path]
            comparison = AsyncComparison.of(response.comparison, paths, self._points)
        return AsyncSweepAnswer(
            text=response.text,
            comparison=comparison,
            chosen=tuple(map(Trial.of, response.chosen)),
            remarks=tuple(response.remarks),
            is_provisional=response.is_provisional,
            metric=self._message.spec.objective.metric,
            session_answers=tuple(map(ProposalAnswer.of, response.session_answers)),
        )

    async def pause(self, reason: str = "") -> Self:
        """Pause the sweep and its jobs until it is resumed.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.PauseSweepRequest(name=self._named(), reason=reason)
        self._take_message(
            await self._connection.call(self._connection.sweeps.PauseSweep, request)
        )
        return self

    async def resume(self) -> Self:
        """Resume the paused sweep and its jobs.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.ResumeSweepRequest(name=self._named())
        self._take_message(
            await self._connection.call(self._connection.sweeps.ResumeSweep, request)
        )
        return self

    async def cancel(self, reason: str = "") -> Self:
        """Cancel the sweep and its jobs; what has ended stays.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended in another state.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.CancelSweepRequest(name=self._named(), reason=reason)
        self._take_message(
            await self._connection.call(self._connection.sweeps.CancelSweep, request)
        )
        return self

    async def retry(
        self, states: Iterable[TrialState | str] = (TrialState.FAILED, TrialState.CANCELLED)
    ) -> int:
        """Submit the jobs of trials in some states again, and return how many these are.

        A sweep that has ended goes on. Trials that DIVERGED are a result, and are submitted again
        only where they are named.

        Args:
            states: FAILED, DIVERGED or CANCELLED.

        Raises:
            ValueError: There is no such state.
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.RetryTrialsRequest(
            name=self._named(), states=map(trial_state_number, states)
        )
        response = await self._connection.call(self._connection.sweeps.RetryTrials, request)
        self._take_message(response.sweep)
        return response.num_jobs

    async def update(
        self,
        *,
        trials: int | None = None,
        seeds: int | None = None,
        parallel: int | None = None,
    ) -> Self:
        """Change how much is tried; a sweep that has ended goes on.

        Args:
            trials: The new number of settings, at least as many as before; not of a grid.
            seeds: The new number of seeds of each, at least as many as before.
            parallel: The new number of jobs at once.

        Raises:
            FailedPrecondition: It was cancelled, or its final jobs have been submitted.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.UpdateSweepRequest(
            name=self._named(), trials=trials, seeds=seeds, parallel=parallel
        )
        self._take_message(
            await self._connection.call(self._connection.sweeps.UpdateSweep, request)
        )
        return self

    async def _points(self, job: str, metric: str) -> list[tuple[int, float]]:
        return (await read_metrics(self._connection, job, [metric], points=True)).series(metric)


def _source(connection: "Connection", name: str) -> Source[sweeps_pb2.SweepEvent]:
    """Return the events of a sweep, to be watched."""
    return Source(
        name=name,
        watch=connection.sweeps.WatchSweep,
        request=lambda cursor: sweeps_pb2.WatchSweepRequest(name=name, after_cursor=cursor),
        get=connection.sweeps.GetSweep,
        get_request=sweeps_pb2.GetSweepRequest(name=name),
        has_ended=lambda sweep: bool(sweep.HasField("end_time")),
        may_go_on=True,
    )
