"""Watch several jobs at once, with their events in one stream."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

    from talweg.client._jobs import Job
    from talweg.v1.jobs_pb2 import Event

# Each watch needs a thread. Further jobs are watched from their beginning when a thread is free:
# no event is missed.
MAX_WATCHES: Final = 32


@dataclass(frozen=True)
class Watched:
    """An event of a job, or the loss of the connection."""

    job: "Job"
    """The job."""
    event: "Event | None"
    """The event; None if the connection is lost, while the watch retries."""
    lost: str = ""
    """Why the connection is lost."""


class Watchers:
    """Watch jobs from start to end; a context manager."""

    def __init__(
        self, jobs: Sequence["Job"], *, only_new: bool = False, until: float | None = None
    ) -> None:
        """Take the jobs; the watches start on entry.

        Args:
            jobs: The jobs.
            only_new: Leave out the events that the jobs already reflect.
            until: When to give up, on the monotonic clock; never if None.
        """
        self._only_new, self._until = only_new, until
        self._num_jobs = len(jobs)
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self._waiting.put(job)
        # None when the watch of a job is over.
        self._came: queue.SimpleQueue[Watched | Exception | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def __enter__(self) -> "Watchers":
        """Start the watches."""
        for number in range(min(MAX_WATCHES, self._num_jobs)):
            # Daemons, since a stream that waits for an event cannot be stopped.
            threading.Thread(
                target=self._watch, name=f"talweg-watch-{number}", daemon=True
            ).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Stop taking events; the streams end with the client."""
        self._stopped.set()

    def events(self) -> Iterator[Watched]:
        """Yield events until all jobs have ended.

        Raises:
            TalwegError: A job can no longer be watched.
        """
        for came in self.events_or_ticks(None):
            if came is not None:
                yield came

    def events_or_ticks(self, tick_seconds: float | None) -> Iterator[Watched | None]:
        """Yield events, and None after each tick without one.

        Raises:
            WaitTimeout: At `until`.
            TalwegError: A job can no longer be watched.
        """
        num_open = self._num_jobs
        while num_open:
            try:
                came = self._came.get(timeout=tick_seconds)
            except queue.Empty:
                yield None
                continue
            if isinstance(came, Exception):
                raise came
            if came is None:
                num_open -= 1
            else:
                yield came

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self._watch_one(job)
            except Exception as error:
                self._came.put(error)
                return
            self._came.put(None)

    def _watch_one(self, job: "Job") -> None:
        def lost(why: str) -> None:
            self._came.put(Watched(job, None, why))

        after = job.message.last_cursor if self._only_new else 0
        for event in job.follow(after=after, until=self._until, on_lost=lost):
            if self._stopped.is_set():
                return
            self._came.put(Watched(job, event))
