"""How a job has ended, as its spool or the server tells it."""

import logging
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass

from talweg.spec.states import has_ended
from talweg.v1.jobs_pb2 import Job, Outcome
from talweg.v1.spec_pb2 import JobSpec
from talweg.worker.tracking.attempts import SpooledAttempt
from talweg.worker.tracking.outputs.labels import description
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.spool import now_ms

# A spool that has been silent for so long may belong to a worker that is no more: the server is
# asked. Nothing else follows from the silence.
_SILENT_MS = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 60.0
# Then the run's end waits for it.
_LONGEST_OVERTAKEN = 10.0
_STATUS = {
    "SUCCEEDED": "FINISHED",
    "FAILED": "FAILED",
    "DIVERGED": "FAILED",
    "CANCELLED": "KILLED",
}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ending:
    """The end of a job. It says nothing of whether all results have arrived."""

    attempt: int
    """The number of the last attempt."""
    state: str
    """The job's state by name."""
    cause: str
    """The outcome's cause by name; empty where none."""
    message: str
    """For people; may be empty."""
    time_ms: int
    """When the job ended, in milliseconds since the epoch."""

    @classmethod
    def told_by(cls, attempt: SpooledAttempt) -> "Ending | None":
        """Return what an attempt's end line says of its job; None where it says nothing."""
        if attempt.end is None or not attempt.final_state:
            return None
        end = attempt.end
        return cls(attempt.number, end["state"], end["cause"], end["message"], end["time"])

    @classmethod
    def on_record(cls, job: Job) -> "Ending":
        """Return what the server says of a job that has ended."""
        outcome = job.outcome
        return cls(
            attempt=job.attempt,
            state=Job.State.Name(job.state),
            cause=Outcome.Cause.Name(outcome.cause) if outcome.cause else "",
            message=outcome.message,
            time_ms=job.end_time.ToMilliseconds() or now_ms(),
        )

    @property
    def status(self) -> str:
        """The status of the job's run in MLflow."""
        return _STATUS[self.state]

    def description(self, spec: JobSpec | None, attempts: Mapping[int, SpooledAttempt]) -> str:
        """Return what the run says of itself.

        Args:
            spec: The job's; None where it is not known here.
            attempts: Those that are here, by number; at least one.
        """
        # Where the last one's machine is gone, of the last one that is known here.
        last = attempts.get(self.attempt) or attempts[max(attempts)]
        message = "" if self.state == "SUCCEEDED" else f"{self.state}: {self.message}"
        return description(spec or JobSpec(), last.results, last.warnings, message)

    @property
    def tags(self) -> dict[str, str]:
        """What the run's tags say of the end."""
        tags = {
            "talweg.state": self.state,
            "talweg.cause": self.cause,
            "talweg.message": self.message,
        }
        return {name: text for name, text in tags.items() if text}


class EndQuery:
    """Asks the server how a job has ended, less and less often."""

    def __init__(self, job_id: str, record: Record) -> None:
        """Ask nothing yet.

        Args:
            job_id: Without `jobs/`.
            record: The server.
        """
        self._job_id, self._record = job_id, record
        self._ask_at, self._pause = 0.0, _FIRST_PAUSE
        self._ending: Ending | None = None

    def ask(
        self, last: SpooledAttempt | None, here: Container[int], *, overtaken: bool
    ) -> Ending | None:
        """Return how a job has ended of which nothing more seems to come; None where it has not.

        Args:
            last: Its last attempt in this spool; None where there is none.
            here: The numbers of the attempts in this spool.
            overtaken: Something of it waits here until it has ended.

        Raises:
            ServerAwayError: The server did not answer; try again later.
        """
        if self._ending is not None:
            return self._ending
        quiet = last is None or last.end is not None or now_ms() - last.changed_ms() > _SILENT_MS
        if not quiet or time.monotonic() < self._ask_at:
            return None
        self._ask_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_OVERTAKEN if overtaken else _LONGEST_PAUSE)
        job = self._record.job(self._job_id)
        if job is None:
            return self._give_up_on(last)
        if not has_ended(job.state):
            return None
        self._ending = Ending.on_record(job)
        if job.attempt in here and last is not None and not last.is_over():
            log.warning(
                "%s: has ended, but its worker still holds %s; waiting for its last lines, or "
                "for the worker to exit",
                self._job_id,
                last.lines,
            )
        return self._ending

    def _give_up_on(self, last: SpooledAttempt | None) -> Ending | None:
        """Return the end of a job that the server does not know and nobody writes to."""
        if last is not None and (
            not last.is_over() or now_ms() - last.changed_ms() < 1000 * _LONGEST_PAUSE
        ):
            return None
        log.warning("%s: the server does not know this job; its run is closed", self._job_id)
        number = last.number if last is not None else 0
        return Ending(number, "CANCELLED", cause="", message="", time_ms=now_ms())
