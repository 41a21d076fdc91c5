"""What other machines still hold of a job that ran on several.

Each machine has a spool, and tells the server how much of a job its spool has delivered. One
machine closes the job's run: the one whose spool holds the last attempt, once all others have
delivered theirs. A machine that does not come back is waited for during a limited time. What it
holds is then named in the record, and is delivered should it come back after all.
"""

import enum
import time
from collections.abc import Callable, Sequence

from talweg.v1.workers_pb2 import ReportDeliveryResponse
from talweg.worker.tracking.job_delivery.state import DeliveryState
from talweg.worker.tracking.record import Record
from talweg.worker.tracking.spool import now_ms

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
_ANY = 2**32 - 1


class Turn(enum.Enum):
    """What a machine has to do that has delivered all that it holds."""

    WAIT = enum.auto()
    """Ask again later."""
    LEAVE = enum.auto()
    """Another machine closes the run."""
    CLOSE = enum.auto()
    """Close the run."""


class OtherSpools:
    """Asks the server about the other spools of one job, less and less often."""

    def __init__(
        self,
        job_id: str,
        record: Record,
        *,
        spool: str,
        wait_seconds: float,
        state: Callable[[], DeliveryState],
        save: Callable[[], None],
    ) -> None:
        """Ask nothing yet.

        Args:
            job_id: Without `jobs/`.
            record: The server.
            spool: This spool's id; empty where it has none.
            wait_seconds: How long another spool is waited for.
            state: Returns that of the job's delivery: it says since when.
            save: Writes the state down.
        """
        self._job_id, self._record, self._spool = job_id, record, spool
        self._wait_ms = 1000 * wait_seconds
        self._state, self._save = state, save
        self._answer = ReportDeliveryResponse()
        self._acknowledged = 0
        self._ask_at, self._pause = 0.0, _FIRST_PAUSE

    @property
    def missing(self) -> str:
        """What is not waited for any more, in words; empty for nothing."""
        minutes = f"{self._wait_ms / 60_000:.3g} min"
        return "; ".join(
            f"attempt {each.attempt} on {each.worker}: its results did not arrive within {minutes}"
            for each in self._answer.pending
            if self._is_given_up(each.attempt)
        )

    def acknowledge(self, attempt: int) -> None:
        """Say that all of the attempts up to this one is delivered, once.

        Raises:
            ServerAwayError: The server did not answer; try again later.
        """
        if self._spool and self._acknowledged < attempt:
            self._report(attempt)
            self._acknowledged = attempt

    def are_later_delivered(self, attempt: int) -> bool:
        """Return whether the spools of later attempts have delivered theirs.

        Args:
            attempt: The last one in this spool.

        Raises:
            ServerAwayError: The server did not answer; try again later.
        """
        if time.monotonic() < self._ask_at:
            return False
        self._ask(delivered=0)
        later = [each.attempt for each in self._answer.pending if each.attempt > attempt]
        if self._answer.unknown_attempt > attempt:
            # Its machine says no more than that all is complete.
            job = self._record.job(self._job_id)
            if job is not None and job.attempt > attempt and not job.tracking.complete:
                later.append(job.attempt)
        return not self._is_waiting_for(later)

    def turn(self, last: int, *, is_here: bool) -> Turn:
        """Say that all that this spool holds is delivered, and return what is to be done.

        Args:
            last: The job's last attempt.
            is_here: Whether this spool holds it.

        Raises:
            ServerAwayError: The server did not answer; try again later.
        """
        if time.monotonic() < self._ask_at:
            return Turn.WAIT
        self._ask(delivered=last)
        pending = [each.attempt for each in self._answer.pending]
        closes = is_here or self._answer.holds_latest or self._is_given_up(last)
        if self._is_waiting_for(pending if closes else [each for each in pending if each == last]):
            return Turn.WAIT
        return Turn.CLOSE if closes or self._is_given_up(last) else Turn.LEAVE

    def _ask(self, *, delivered: int) -> None:
        answer = self._report(delivered) if self._spool else None
        # A server of an older version knows nothing of spools.
        self._answer = answer or ReportDeliveryResponse(unknown_attempt=_ANY)

    def _report(self, delivered: int) -> ReportDeliveryResponse | None:
        return self._record.report_delivery(
            self._job_id,
            spool=self._spool,
            attempt=delivered,
            left_out=self._state().left_out_text,
        )

    def _is_waiting_for(self, numbers: Sequence[int]) -> bool:
        """Return whether attempts are still to be waited for; then it is asked again later."""
        since = self._state().waiting_since
        new = [str(number) for number in numbers if str(number) not in since]
        if new:
            since.update(dict.fromkeys(new, now_ms()))
            self._save()
        if all(self._is_given_up(number) for number in numbers):
            self._ask_at, self._pause = 0.0, _FIRST_PAUSE
            return False
        self._ask_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return True

    def _is_given_up(self, number: int) -> bool:
        since = self._state().waiting_since.get(str(number))
        return since is not None and now_ms() - since >= self._wait_ms
