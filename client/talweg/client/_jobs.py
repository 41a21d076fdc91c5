"""The handle of a job."""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from talweg.client._errors import JobFailed, TalwegError, Unavailable, WaitTimeout, from_spec_error
from talweg.client._files import to_spec
from talweg.client._values import JobMetrics, JobResult, JobState
from talweg.spec import SpecError, job_id, override, to_dict
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec

if TYPE_CHECKING:
    from talweg.client._connection import Connection
    from talweg.v1.replay_pb2 import ReplayReport

FRESH_SECONDS = 1.0
"""A state that is older is asked for again."""
_CURVES = ("train/loss_mean", "val/loss")
Seconds = timedelta | float
"""A duration: a timedelta, or seconds."""


class Job:
    """A job as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: jobs_pb2.Job) -> None:
        """Wrap a message; called by `Client`."""
        self._connection = connection
        self._as_of = 0.0
        self._take_message(message)

    @property
    def message(self) -> jobs_pb2.Job:
        """The message from the server."""
        return self._message

    @property
    def name(self) -> str:
        """jobs/{id}; empty for a job that was only validated."""
        return self._message.name

    @property
    def id(self) -> str:
        """The name without ``jobs/``."""
        return job_id(self.name) if self.name else ""

    @property
    def state(self) -> JobState:
        """The state of the job, of a second ago at most; the last known if the server is away."""
        state = JobState.of(self._message.state)
        if state.is_final or not self.name or time.monotonic() - self._as_of < FRESH_SECONDS:
            return state
        with suppress(TalwegError):
            self.refresh()
        return JobState.of(self._message.state)

    @property
    def tracking_url(self) -> str | None:
        """The page of its run in MLflow; None until there is one.

        Raises:
            TalwegError: An error of the server.
        """
        if not self._message.tracking.url and self.name:
            self.refresh()
        return self._message.tracking.url or None

    @property
    def spec(self) -> JobSpec:
        """A copy of the submitted spec, with all defaults."""
        copy = JobSpec()
        copy.CopyFrom(self._message.spec)
        return copy

    @property
    def warnings(self) -> tuple[jobs_pb2.Warning, ...]:
        """The warnings of the job."""
        return tuple(self._message.warnings)

    @property
    def outcome(self) -> jobs_pb2.Outcome | None:
        """How it ended; None until then."""
        return self._message.outcome if self._message.HasField("outcome") else None

    @property
    def replayed(self) -> "ReplayReport | None":
        """What a replay has shown; None for other jobs, and until it has ended."""
        has_report = self._message.outcome.HasField("replay")
        return self._message.outcome.replay if has_report else None

    def refresh(self) -> "Job":
        """Update the job from the server.

        Raises:
            TalwegError: An error of the server.
        """
        request = jobs_pb2.GetJobRequest(name=self._named())
        self._take_message(self._connection.call(self._connection.jobs.GetJob, request))
        return self

    def watch(self, after: int = 0) -> Iterator[jobs_pb2.Event]:
        """Yield the events of the job, old and new, up to the last one, which has `finished`.

        If the server goes away, the watch continues after the last event once it is back: no
        event is lost or repeated. `state` and `message.progress` follow the events.

        Args:
            after: A cursor: yield only the events after this one.

        Raises:
            TalwegError: An error of the server; Unavailable if it stays away for longer than the
                client's patience.
        """
        return self.follow(after=after)

    def follow(
        self,
        *,
        after: int = 0,
        until: float | None = None,
        on_lost: Callable[[str], None] | None = None,
    ) -> Iterator[jobs_pb2.Event]:
        """Watch, as `watch` does, up to a time on the monotonic clock.

        Args:
            after: A cursor: yield only the events after this one.
            until: When to give up; never if None.
            on_lost: Called with the reason each time the server cannot be reached.

        Raises:
            WaitTimeout: At `until`.
            TalwegError: As `watch`.
        """
        watched = self._connection.watch(self._named(), after=after, until=until, on_lost=on_lost)
        for event in watched:
            self._take(event)
            yield event

    def wait(self, timeout: Seconds | None = None) -> "Job":
        """Wait until the job has ended, in whatever state.

        Args:
            timeout: A timedelta, or seconds; no limit if None.

        Raises:
            WaitTimeout: It has not ended by then. The job continues.
            TalwegError: As `watch`.
        """
        if self._message.HasField("outcome"):
            return self
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        until = None if seconds is None else time.monotonic() + seconds
        try:
            for _ in self.follow(after=self._message.last_cursor, until=until):
                pass
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
            tracking_url=self._message.tracking.url or None,
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
            prefixes: Names, or prefixes that end in ``/``, such as ``val/``; all if empty.
            points: Include the recorded points.

        Raises:
            TalwegError: An error of the server.
        """
        request = jobs_pb2.GetJobMetricsRequest(
            name=self._named(), metrics=list(prefixes), include_points=points
        )
        response = self._connection.call(self._connection.jobs.GetJobMetrics, request)
        summaries = {summary.name: summary for summary in response.summaries}
        gathered = list(response.points)
        while response.next_page_token:
            request.page_token = response.next_page_token
            response = self._connection.call(self._connection.jobs.GetJobMetrics, request)
            gathered += response.points
        return JobMetrics(summaries=summaries, points=tuple(gathered))

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

    def cancel(
        self, reason: str = "", *, grace: Seconds | None = None, force: bool = False
    ) -> "Job":
        """Cancel the job; it ends as CANCELLED.

        Args:
            reason: The reason, for the record.
            grace: How long its worker may take for an orderly stop; 30 s if None.
            force: Stop it at once.

        Raises:
            FailedPrecondition: It has ended in another state.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.CancelJobRequest(name=self._named(), reason=reason, force=force)
        if grace is not None:
            patience = grace if isinstance(grace, timedelta) else timedelta(seconds=grace)
            request.grace_period.FromTimedelta(patience)
        self._take_message(self._connection.call(self._connection.jobs.CancelJob, request))
        return self

    def pause(self, reason: str = "") -> "Job":
        """Pause the job until it is resumed, and free its worker.

        A running job writes a checkpoint first, and is PAUSED a little later.

        Args:
            reason: The reason, for the record.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.PauseJobRequest(name=self._named(), reason=reason)
        self._take_message(self._connection.call(self._connection.jobs.PauseJob, request))
        return self

    def resume(self) -> "Job":
        """Resume the paused job.

        Raises:
            FailedPrecondition: It has ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.ResumeJobRequest(name=self._named())
        self._take_message(self._connection.call(self._connection.jobs.ResumeJob, request))
        return self

    def continue_(
        self, *changes: str, step: int | None = None, request_id: str | None = None
    ) -> "Job":
        """Continue an ended job from a checkpoint, as a new job with changed settings.

        Args:
            changes: Such as ``training.epochs=40`` or ``optimizer.adamw.learning_rate=0.0001``.
                Task, data, model, loss, seed and batch sizes stay.
            step: The step of one of its checkpoints; the last if None.
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            InvalidSpec: The job has not ended or has no checkpoint, a fixed setting changes, or
                nothing is left to train; with all violations.
            TalwegError: Another error of the server.
        """
        spec = to_dict(self._message.spec)
        spec["continued_from"] = {"job": self._named(), **({"step": step} if step else {})}
        try:
            changed = override(spec, changes)
        except SpecError as error:
            raise from_spec_error(error) from error
        request = jobs_pb2.SubmitJobRequest(
            spec=to_spec(changed), request_id=request_id or new_request_id()
        )
        response = self._connection.call(self._connection.jobs.SubmitJob, request)
        return Job(self._connection, response.job)

    def replay(
        self, step: int, *, without: Iterable[int] = (), request_id: str | None = None
    ) -> "Job":
        """Replay an optimizer step of the job exactly, as a new job that measures it.

        The new job starts from the nearest checkpoint before the step. Its `replayed` is the
        report: the losses and gradient norms of the step's rows, the outputs and gradients of
        each layer.

        Args:
            step: The step, from 1.
            without: Rows of the data set, from 0: the step is also taken without them.
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            InvalidSpec: The job has not taken the step, or no checkpoint leads to it.
            TalwegError: Another error of the server.
        """
        spec = self.spec
        spec.ClearField("display_name")
        spec.resources.ClearField("time_limit_seconds")
        spec.replay.job, spec.replay.step = self._named(), step
        spec.replay.without.extend(without)
        request = jobs_pb2.SubmitJobRequest(spec=spec, request_id=request_id or new_request_id())
        response = self._connection.call(self._connection.jobs.SubmitJob, request)
        return Job(self._connection, response.job)

    def delete(self, *, force: bool = False) -> None:
        """Delete the ended job; a worker then removes its files and its run in MLflow.

        Args:
            force: Do not wait for results that are still on their way to MLflow.

        Raises:
            FailedPrecondition: It has not ended, another job refers to it, or its results are on
                their way.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.DeleteJobRequest(name=self._named(), force=force)
        self._connection.call(self._connection.jobs.DeleteJob, request)

    def retry(self, *, request_id: str | None = None) -> "Job":
        """Submit the spec of an ended job again, and return the new job.

        Args:
            request_id: An idempotency key: calls with the same id return the same new job.

        Raises:
            FailedPrecondition: It has not ended.
            TalwegError: Another error of the server.
        """
        request = jobs_pb2.RetryJobRequest(
            name=self._named(), request_id=request_id or new_request_id()
        )
        return Job(
            self._connection, self._connection.call(self._connection.jobs.RetryJob, request)
        )

    def _repr_html_(self) -> str:
        """Show state, result and curves of the losses, as they are now."""
        from talweg.client import _html

        if not self.name:
            return _html.text(repr(self))
        with suppress(Unavailable):
            self.refresh()
        drawn = ""
        with suppress(Unavailable):
            points = self.metrics(_CURVES, points=True)
            drawn = _html.curves({name: points.series(name) for name in _CURVES})
        return _html.of_job(self._message, str(self.state), drawn)

    def __repr__(self) -> str:
        """Show name and state."""
        return f"<Job {self.name or '(validated only)'} {self.state}>"

    def _take_message(self, message: jobs_pb2.Job) -> None:
        self._message = message
        self._as_of = time.monotonic()

    def _named(self) -> str:
        if not self.name:
            raise ValueError("this job was only validated, not submitted: it has no name")
        return self.name

    def _take(self, event: jobs_pb2.Event) -> None:
        """Update the message by an event of a watch; older events are ignored."""
        if event.cursor <= self._message.last_cursor:
            return
        self._message.last_cursor = event.cursor
        self._as_of = time.monotonic()
        self._message.attempt = max(self._message.attempt, event.attempt)
        if event.HasField("state"):
            self._message.state = event.state.state
        elif event.HasField("progress"):
            self._message.progress.CopyFrom(event.progress)
        elif event.HasField("finished"):
            self._message.state = event.finished.state
            self._message.outcome.CopyFrom(event.finished)

    def _how_far(self) -> str:
        progress = self._message.progress
        if self._message.waiting_reason:
            return f" ({self._message.waiting_reason})"
        return f" (step {progress.step} of {progress.total_steps})" if progress.step else ""


def new_request_id() -> str:
    """Return a unique request id."""
    return uuid.uuid4().hex
