"""The handle of a job."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from talweg.client._connection import Source
from talweg.client._control import ControlledJob
from talweg.client._errors import JobFailed, TalwegError, Unavailable, WaitTimeout
from talweg.client._handle import Seconds, to_seconds
from talweg.client._pages import paged
from talweg.client._values import JobMetrics, JobResult, JobState
from talweg.client.notebooks.progress import live
from talweg.client.results._results import JobFiles
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from talweg.client._connection import Connection

_CURVES = ("train/loss_mean", "val/loss")
_PAGE = 200


class Job(ControlledJob, JobFiles):
    """A job as last reported by the server; `refresh` updates it."""

    def watch(self, after: int = 0) -> Generator[jobs_pb2.Event]:
        """Yield the events of the job, old and new, up to the last one, which has `finished`.

        If the server goes away, the watch continues after the last event once it is back: no
        event is lost or repeated. `state` and `message.progress` follow the events. In a notebook
        a progress bar follows them too.

        Args:
            after: A cursor: yield only the events after this one.

        Raises:
            TalwegError: An error of the server; Unavailable if it stays away for longer than the
                client's patience.
        """
        with live([self]) as display:
            with closing(self.follow(after=after)) as events:
                for event in events:
                    display.take(self, event)
                    yield event

    def follow(
        self,
        *,
        after: int = 0,
        until: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> Generator[jobs_pb2.Event]:
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

    def wait(self, timeout: Seconds | None = None) -> "Job":
        """Wait until the job has ended, in whatever state; in a notebook with a progress bar.

        Args:
            timeout: A timedelta, or seconds; no limit if None.

        Raises:
            WaitTimeout: It has not ended by then. The job continues.
            TalwegError: As `watch`.
        """
        if self._message.HasField("outcome"):
            return self
        seconds = to_seconds(timeout)
        until = None if seconds is None else time.monotonic() + seconds
        try:
            with live([self]) as display:
                for event in self.follow(after=self._message.last_cursor, until=until):
                    display.take(self, event)
        except WaitTimeout as error:
            # A server that is away has no news.
            with suppress(Unavailable):
                self.refresh()
            if self._message.HasField("outcome"):
                return self
            raise WaitTimeout(
                f"{self.name} is still {self.state} after {seconds:g} s{self._how_far()}"
            ) from error
        return self.refresh()

    def result(self, timeout: Seconds | None = None) -> JobResult:
        """Wait until the job has ended, and return its result.

        Raises:
            JobFailed: It did not end as SUCCEEDED; with outcome and result.
            WaitTimeout: It has not ended in time.
            TalwegError: As `watch`.
        """
        self.wait(timeout)
        if not self._message.tracking.url:
            # Events do not tell it.
            self.refresh()
        summaries = self.metrics().summaries
        outcome = self._message.outcome
        result = JobResult(
            name=self.name,
            state=self.state,
            metrics={name: summary.last for name, summary in summaries.items()},
            best={
                name: summary.best
                for name, summary in summaries.items()
                if summary.HasField("best")
            },
            message=outcome.message,
            divergence=outcome.divergence if outcome.HasField("divergence") else None,
            find_run=self._find_run,
        )
        if result.state is not JobState.SUCCEEDED:
            raise JobFailed(
                f"{self.name} ended as {result.state}: {outcome.message}",
                result=result,
                outcome=outcome,
            )
        return result

    def metrics(self, prefixes: Iterable[str] = (), *, points: bool = False) -> JobMetrics:
        """Return the metrics of the job.

        Args:
            prefixes: Names, or prefixes that end in ``/``, such as ``val/``; or one of them; all
                if empty.
            points: Include the recorded points.

        Raises:
            TalwegError: An error of the server.
        """
        return read_metrics(self._connection, self._named(), prefixes, points=points)

    def logs(self, *, after: int = 0) -> Iterator[jobs_pb2.Event]:
        """Yield the log so far, oldest first: all events but progress and metrics.

        Each event has its time and attempt, and `state`, `log`, `warning`, `guard` or `finished`.
        To follow a running job, use `watch`.

        Args:
            after: A cursor: yield only the events after this one.

        Raises:
            TalwegError: An error of the server.
        """
        request = jobs_pb2.GetJobLogsRequest(name=self._named(), after_cursor=after)
        while True:
            response = self._connection.call(self._connection.jobs.GetJobLogs, request)
            yield from response.events
            if not response.next_cursor:
                return
            request.after_cursor = response.next_cursor

    def _repr_html_(self) -> str:
        """Show state, result and curves of the losses, as they are now."""
        from talweg.client.notebooks import curves, html

        if not self.name:
            return html.text(repr(self))
        with suppress(Unavailable):
            self.refresh()
        drawn = ""
        with suppress(Unavailable):
            points = self.metrics(_CURVES, points=True)
            drawn = curves.of_series({name: points.series(name) for name in _CURVES})
        return html.of_job(self._message, str(self.state), drawn)

    def _find_run(self) -> str | None:
        # Whoever reads a result may have closed the client, or the server may be away.
        with suppress(TalwegError, ValueError):
            return self.tracking_url
        return None

    def _how_far(self) -> str:
        progress = self._message.progress
        if self._message.waiting_reason:
            return f" ({self._message.waiting_reason})"
        return f" (step {progress.step} of {progress.total_steps})" if progress.step else ""


def listed_jobs(
    connection: "Connection", filter: str, order_by: str = "", limit: int | None = None
) -> Iterator[Job]:
    """Yield jobs, page by page.

    Args:
        connection: To the server.
        filter: As for `Client.jobs`.
        order_by: As there.
        limit: The largest number of jobs.

    Raises:
        TalwegError: An error of the server.
    """
    for message in paged(
        connection,
        connection.jobs.ListJobs,
        jobs_pb2.ListJobsRequest(filter=filter, order_by=order_by),
        lambda response: response.jobs,
        page_size=_PAGE,
        limit=limit,
    ):
        yield Job(connection, message)


def read_metrics(
    connection: "Connection", name: str, prefixes: Iterable[str], *, points: bool
) -> JobMetrics:
    """Return the metrics of a job, all pages of them.

    Args:
        connection: To the server.
        name: ``jobs/{id}``.
        prefixes: As for `Job.metrics`.
        points: Include the recorded points.

    Raises:
        TalwegError: An error of the server.
    """
    # One is meant, not its letters.
    wanted = [prefixes] if isinstance(prefixes, str) else list(prefixes)
    request = jobs_pb2.GetJobMetricsRequest(name=name, metrics=wanted, include_points=points)
    response = connection.call(connection.jobs.GetJobMetrics, request)
    summaries = {summary.name: summary for summary in response.summaries}
    gathered = list(response.points)
    while response.next_page_token:
        request.page_token = response.next_page_token
        response = connection.call(connection.jobs.GetJobMetrics, request)
        gathered += response.points
    return JobMetrics(summaries=summaries, points=tuple(gathered))


def _source(connection: "Connection", name: str) -> Source[jobs_pb2.Event]:
    """Return the events of a job, to be watched."""
    return Source(
        name=name,
        watch=connection.jobs.WatchJob,
        request=lambda cursor: jobs_pb2.WatchJobRequest(name=name, after_cursor=cursor),
        get=connection.jobs.GetJob,
        get_request=jobs_pb2.GetJobRequest(name=name),
        has_ended=lambda job: bool(job.HasField("outcome")),
        may_go_on=False,
    )
