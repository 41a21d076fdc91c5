"""The progress of a sweep in a notebook while something waits for it, updated in place."""

import time
import uuid
from typing import TYPE_CHECKING, Self

from talweg.client.notebooks import html
from talweg.client.notebooks.progress import find_front_end
from talweg.client.sweeps._progress import SweepProgress

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from talweg.client.sweeps._handle import SweepInfo
    from talweg.v1.sweeps_pb2 import SweepEvent

_SECONDS_APART = 1.0


def live_sweep(sweep: "SweepInfo") -> "SweepDisplay":
    """Return a display of a sweep, to be entered; it shows nothing outside notebooks."""
    return SweepDisplay(sweep, find_front_end())


class SweepDisplay:
    """A bar and the best trials; a context manager, on exit of which it stays as it is."""

    def __init__(self, sweep: "SweepInfo", front_end: "ModuleType | None") -> None:
        """Show nothing yet.

        Args:
            sweep: The sweep.
            front_end: The module IPython.display; None to show nothing.
        """
        self._front_end = front_end
        self._display_id = f"talweg-{uuid.uuid4().hex}"
        self._sweep_id = sweep.id
        self._progress = SweepProgress(sweep.message)
        self._shown = time.monotonic()
        if self._progress.state.is_final:
            self._front_end = None

    def __enter__(self) -> Self:
        """Show the sweep, unless it has ended."""
        if self._front_end is not None:
            self._front_end.display(self._bundle(), raw=True, display_id=self._display_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Leave the last state."""

    def is_due(self, event: "SweepEvent") -> bool:
        """Return whether it is time to ask for the sweep, and to show it."""
        is_old = time.monotonic() - self._shown >= _SECONDS_APART
        return self._front_end is not None and (is_old or event.HasField("finished"))

    def show(self, sweep: "SweepInfo") -> None:
        """Show a sweep as it is now."""
        self._shown = time.monotonic()
        self._progress.take(sweep.message)
        if self._front_end is not None:
            self._front_end.update_display(self._bundle(), raw=True, display_id=self._display_id)

    def _bundle(self) -> dict[str, str]:
        """Return the display in the formats that front ends choose from."""
        progress = self._progress
        plain = [f"{progress.state} {' · '.join(progress.counts)}", *progress.best_texts]
        return {
            "text/html": html.of_sweep(self._sweep_id, progress),
            "text/plain": "\n".join(plain),
        }
