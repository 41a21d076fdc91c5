"""What may stop a running job, asked before every step."""

from collections.abc import Callable

from talweg.worker.clock import SYSTEM, Clock
from talweg.worker.training import Stop
from talweg.worker.training.interface import StopReason

_NEVER = float("inf")


class JobControl:
    """Whether an attempt may go on.

    `check` reads a flag and a clock; everything else is other threads' business.
    """

    def __init__(
        self,
        *,
        lease_end: float,
        time_limit: float | None = None,
        shutting_down: Callable[[], bool] = lambda: False,
        clock: Clock = SYSTEM,
    ) -> None:
        """Let it go on.

        Args:
            lease_end: `clock.monotonic()` at which the attempt must stop unless it is extended.
            time_limit: Seconds that the job may train, in all its attempts together.
            shutting_down: Whether the worker is about to end.
            clock: This process's.
        """
        self._shutting_down = shutting_down
        self._now = clock.monotonic
        self._started = self._now()
        self._limit = time_limit
        self._limit_end = _NEVER if time_limit is None else self._started + time_limit
        self._lease_end = lease_end
        # While the record is away, past the lease's end.
        self._may_go_on_until = lease_end
        self._alarm = min(self._limit_end, self._lease_end)
        self._stop: Stop | None = None
        self._error: Exception | None = None
        self.is_answered = False
        """Whether the job has seen that it must stop."""

    def check(self) -> Stop | None:
        """Return why the attempt must end now, then always the same; None where it goes on.

        Raises:
            Exception: What `fail` was given.
        """
        if not self.is_due:
            return None
        self.is_answered = True
        return self._why()

    @property
    def is_due(self) -> bool:
        """Whether `check` might say something else than None; it has not been asked by that."""
        return (
            self._stop is not None
            or self._error is not None
            or self._now() >= self._alarm
            or self._shutting_down()
        )

    def _why(self) -> Stop | None:
        if self._error is not None:
            raise self._error
        if self._stop is None:
            now = self._now()
            if self._shutting_down():
                self._stop = Stop("shutdown", "the worker is shutting down")
            elif now >= self._may_go_on_until:
                self._stop = Stop("lost", "the lease could not be renewed in time")
            elif now >= self._limit_end:
                self._stop = Stop("time_limit", f"{self._limit:g} s")
        return self._stop

    @property
    def stopped(self) -> Stop | None:
        """What `check` would say, without raising; for others than the job's own thread."""
        if self._error is None and (self._now() >= self._alarm or self._shutting_down()):
            return self._why()
        return self._stop

    def stop(self, reason: StopReason, detail: str = "") -> None:
        """End the attempt at its next step.

        Args:
            reason: As in Stop; "lost" replaces any other, since nobody may count on it any more.
            detail: For people.
        """
        if self._stop is None or reason == "lost":
            self._stop = Stop(reason, detail)

    @property
    def seconds(self) -> float:
        """How long the job has trained, in all its attempts together."""
        return self._now() - self._started

    def go_on_after(self, seconds: float) -> None:
        """Count the time that earlier attempts have trained."""
        self._started -= seconds
        self._limit_end -= seconds
        self._alarm = min(self._limit_end, self._may_go_on_until)

    def holds_lease(self) -> bool:
        """Return whether no other attempt can have begun."""
        is_lost = self._stop is not None and self._stop.reason == "lost"
        return not is_lost and self._now() < self._lease_end

    def fail(self, error: Exception) -> None:
        """Make the next check raise."""
        self._error = error

    def extend(self, lease_end: float) -> None:
        """Move the lease's end, after a renewal.

        Args:
            lease_end: As at the start.
        """
        self._lease_end = lease_end
        self.go_on_until(lease_end)

    def go_on_until(self, end: float) -> None:
        """Let the attempt go on without a lease: nobody can be given one.

        Args:
            end: `time.monotonic()` at which it must stop unless this is moved again.
        """
        self._may_go_on_until = end
        self._alarm = min(self._limit_end, end)
