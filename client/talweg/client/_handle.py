"""What is known of a job: its message from the server, and how it is kept up to date."""

import time
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Self, overload

from talweg.client._errors import TalwegError
from talweg.client._values import JobState
from talweg.spec import job_id
from talweg.v1 import jobs_pb2
from talweg.v1.spec_pb2 import JobSpec

if TYPE_CHECKING:
    from talweg.client._connection import Connection
    from talweg.v1.replay_pb2 import ReplayReport

FRESH_SECONDS = 1.0
"""A state that is older is asked for again."""
Seconds = timedelta | float
"""A duration: a timedelta, or seconds."""


class JobInfo:
    """A job as last reported by the server; nothing here asks the server."""

    def __init__(self, message: jobs_pb2.Job) -> None:
        """Wrap a message."""
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
        """The state of the job as last reported; `refresh` and the events of a watch update it."""
        return JobState.of(self._message.state)

    @property
    def tracking_url(self) -> str | None:
        """The page of its run in MLflow as last reported; None until there is one."""
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

    def __repr__(self) -> str:
        """Show name and state."""
        return f"<{type(self).__name__} {self.name or '(validated only)'} {self.state}>"

    def _repr_html_(self) -> str:
        """Show state and result as last reported."""
        from talweg.client.notebooks import html

        return (
            html.of_job(self._message, str(self.state), "") if self.name else html.text(repr(self))
        )

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


class JobHandle(JobInfo):
    """A job as last reported by the server; `refresh` updates it."""

    def __init__(self, connection: "Connection", message: jobs_pb2.Job) -> None:
        """Wrap a message; called by `Client`."""
        super().__init__(message)
        self._connection = connection

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

    def refresh(self) -> Self:
        """Update the job from the server.

        Raises:
            TalwegError: An error of the server.
        """
        request = jobs_pb2.GetJobRequest(name=self._named())
        self._take_message(self._connection.call(self._connection.jobs.GetJob, request))
        return self


@overload
def to_seconds(duration: Seconds) -> float: ...


@overload
def to_seconds(duration: Seconds | None) -> float | None: ...


def to_seconds(duration: Seconds | None) -> float | None:
    """Convert a duration to seconds; None stays None."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def new_request_id() -> str:
    """Return a unique request id."""
    return uuid.uuid4().hex
