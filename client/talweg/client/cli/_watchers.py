"""Several jobs watched at once, their events in one stream."""

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import TracebackType

    from talweg.client import Job
    from talweg.v1.jobs_pb2 import Event

# Each watch costs a thread. Jobs beyond these are watched from their beginning when their turn
# comes, so that nothing is missed.
MAX_WATCHES: Final = 32


@dataclass(frozen=True)
class Watched:
    """What came of one job."""

    job: "Job"
    """The job."""
    event: "Event | None"
    """What happened; None where the server was lost, and the watch goes on trying."""
    lost: str = ""
    """Why it was lost."""


class Watchers:
    """Watches jobs from their beginning to their end; a context manager."""

    def __init__(self, jobs: Sequence["Job"]) -> None:
        """Take the jobs; the watches begin on entry."""
        self._num_jobs = len(jobs)
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            self._waiting.put(job)
        # None where a job's watch is over.
        self._came: queue.SimpleQueue[Watched | Exception | None] = queue.SimpleQueue()
        self._stopped = threading.Event()

    def __enter__(self) -> "Watchers":
        """Begin."""
        for number in range(min(MAX_WATCHES, self._num_jobs)):
            # Daemons, since a stream that waits for its next event cannot be told to stop.
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
        """Take no more events; the streams end with the client."""
        self._stopped.set()

    def events(self) -> Iterator[Watched]:
        """Give what comes, until all jobs have ended.

        Raises:
            TalwegError: Where a job could not be watched any further.
        """
        for came in self.events_or_ticks(None):
            if came is not None:
                yield came

    def events_or_ticks(self, tick_seconds: float | None) -> Iterator[Watched | None]:
        """Give what comes, and None whenever nothing came for so long.

        Raises:
            TalwegError: Where a job could not be watched any further.
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

        for event in job.follow(on_lost=lost):
            if self._stopped.is_set():
                return
            self._came.put(Watched(job, event))
