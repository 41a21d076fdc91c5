"""The time as a worker's process has it, and all that waits for it.

What keeps leases, reports and retries takes the time from here and from nowhere else. So a clock
that is handed in decides when they act: `tests/simulation` runs them in virtual time.
"""

import faulthandler
import threading
import time
from collections.abc import Callable
from typing import Protocol

_STDERR = 2


class Signal(Protocol):
    """An event that one thread sets and another waits for."""

    def set(self) -> None:
        """Set it, for good."""

    def is_set(self) -> bool:
        """Return whether it is set."""

    def wait(self, timeout: float | None = None, /) -> bool:
        """Wait for it, at most so many seconds; return whether it is set."""


class Task(Protocol):
    """What goes on beside its caller."""

    def start(self) -> None:
        """Begin."""

    def join(self) -> None:
        """Wait for its end."""


class Clock:
    """This process's time, by its operating system."""

    def monotonic(self) -> float:
        """Return seconds since some time in the past; they never go back."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Return the time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def signal(self) -> Signal:
        """Return a new signal."""
        return threading.Event()

    def task(self, work: Callable[[], None], *, name: str) -> Task:
        """Return a task that does some work once it is started, and ends with the process.

        Args:
            work: What it does.
            name: For people.
        """
        return threading.Thread(target=work, name=name, daemon=True)

    def arm(self, seconds: float) -> None:
        """End the process after so many seconds, whatever holds the interpreter's lock then.

        Args:
            seconds: From now; an earlier call counts no more.
        """
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)

    def disarm(self) -> None:
        """Do not end the process."""
        faulthandler.cancel_dump_traceback_later()


SYSTEM = Clock()
"""For all but simulations."""
