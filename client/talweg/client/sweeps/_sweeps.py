"""The handle of a sweep."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Self

from talweg.client._connection import Source
from talweg.client._errors import Unavailable, WaitTimeout
from talweg.client._handle import Seconds, to_seconds
from talweg.client._jobs import Job, listed_jobs, read_metrics
from talweg.client._pages import paged
from talweg.client.comparisons._comparison import Comparison
from talweg.client.notebooks.sweeps import live_sweep
from talweg.client.sessions._values import ProposalAnswer
from talweg.client.sweeps._answer import SweepAnswer
from talweg.client.sweeps._handle import SweepHandle
from talweg.client.sweeps._progress import SweepProgress
from talweg.client.sweeps._values import SweepState, Trial, TrialState, trial_state_number
from talweg.v1 import sweeps_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection

_PAGE = 200
# A filter may have 200 conditions.
_NAMED_AT_ONCE = 100


class Sweep(SweepHandle):
    """A sweep as last reported by the server; `refresh` updates it."""

    def watch(self, after: int = 0) -> Generator[sweeps_pb2.SweepEvent]:
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
            with closing(self.follow(after=after)) as events:
                for event in events:
                    if display.is_due(event):
                        self.refresh()
                        display.show(self)
                    yield event

    def follow(
        self,
        *,
        after: int = 0,
        until: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> Generator[sweeps_pb2.SweepEvent]:
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
        with closing(watched) as events:
            for event in events:
                self._take(event)
                yield event

    def wait(
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
                for event in self.follow(after=self._message.last_cursor, until=until):
                    if on_event is not None:
                        on_event(event)
                    if display.is_due(event):
                        self.refresh()
                        display.show(self)
                self.refresh()
        except WaitTimeout as error:
            # A server that is away has no news.
            with suppress(Unavailable):
                self.refresh()
            if SweepState.of(self._message.state).is_final:
                return self
            progress = SweepProgress(self._message)
            raise WaitTimeout(
                f"{self.name} is still {self.state} after {seconds:g} s ({progress.trials_text})"
            ) from error
        return self

    def trials(
        self,
        *,
        best: bool = False,
        states: Iterable[TrialState | str] = (),
        limit: int | None = None,
    ) -> Iterator[Trial]:
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
        for message in paged(
            self._connection,
            self._connection.sweeps.ListTrials,
            request,
            lambda response: response.trials,
            page_size=_PAGE,
            limit=limit,
        ):
            yield Trial.of(message)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that the trials rest on, those taken over from earlier sweeps too.

        The jobs that were submitted for it, retried ones too, have the tag `sweep`:
        ``client.jobs(filter='tags.sweep = "ID"')``.

        Raises:
            TalwegError: An error of the server.
        """
        names: list[str] = []
        for trial in self.trials():
            names += trial.jobs
            while len(names) >= _NAMED_AT_ONCE:
                for job in listed_jobs(self._connection, _any_of(names[:_NAMED_AT_ONCE])):
                    yield job
                del names[:_NAMED_AT_ONCE]
        if names:
            for job in listed_jobs(self._connection, _any_of(names)):
                yield job

    def answer(self) -> SweepAnswer:
        """Return what the sweep has shown; provisional until it has ended.

        Raises:
            TalwegError: An error of the server.
        """
        request = sweeps_pb2.AnswerSweepRequest(name=self._named())
        response = self._connection.call(self._connection.sweeps.AnswerSweep, request)
        comparison = None
        if response.HasField("comparison"):
            paths = [self._message.spec.compare.path]
            comparison = Comparison.of(response.comparison, paths, self._points)
        return SweepAnswer(
            text=response.text,
            comparison=comparison,
            chosen=tuple(map(Trial.of, response.chosen)),
            remarks=tuple(response.remarks),
            is_provisional=response.is_provisional,
            metric=self._message.spec.objective.metric,
            session_answers=tuple(map(ProposalAnswer.of, response.session_answers)),
        )

    def pause(self, reason: str = "") -> Self:
        """Pause the sweep and its jobs until it is resumed.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.PauseSweepRequest(name=self._named(), reason=reason)
        self._take_message(self._connection.call(self._connection.sweeps.PauseSweep, request))
        return self

    def resume(self) -> Self:
        """Resume the paused sweep and its jobs.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.ResumeSweepRequest(name=self._named())
        self._take_message(self._connection.call(self._connection.sweeps.ResumeSweep, request))
        return self

    def cancel(self, reason: str = "") -> Self:
        """Cancel the sweep and its jobs; what has ended stays.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended in another state.
            TalwegError: Another error of the server.
        """
        request = sweeps_pb2.CancelSweepRequest(name=self._named(), reason=reason)
        self._take_message(self._connection.call(self._connection.sweeps.CancelSweep, request))
        return self

    def retry(
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
        response = self._connection.call(self._connection.sweeps.RetryTrials, request)
        self._take_message(response.sweep)
        return response.num_jobs

    def update(
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
        self._take_message(self._connection.call(self._connection.sweeps.UpdateSweep, request))
        return self

    def _repr_html_(self) -> str:
        """Show state, progress and the best trials, as they are now."""
        if self.name:
            with suppress(Unavailable):
                self.refresh()
        return super()._repr_html_()

    def _points(self, job: str, metric: str) -> list[tuple[int, float]]:
        return read_metrics(self._connection, job, [metric], points=True).series(metric)


def _any_of(names: Iterable[str]) -> str:
    """Return the filter for jobs by their names."""
    either = " OR ".join(f'name = "{name}"' for name in names)
    return f"({either})"


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
