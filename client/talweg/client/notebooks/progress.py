"""The progress of jobs in a notebook while something waits for them, updated in place.

IPython is never imported here. Only where it already runs, behind a front end that shows HTML, is
anything displayed.
"""

import sys
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from talweg.client._lines import DISPLAY_ORDER, Line, duration
from talweg.client.notebooks import html
from talweg.v1.jobs_pb2 import Event, MetricPoint

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from talweg.client._handle import JobInfo

_SECONDS_APART = 0.25
_MOST_ROWS = 20
# Of table cells: notebooks have their own styles for tables, which align numbers to the right.
_CELL = ' style="text-align:left;white-space:nowrap"'


def live(jobs: Sequence["JobInfo"]) -> "Display":
    """Return a display of jobs, to be entered; it shows nothing outside notebooks."""
    return Display(jobs, find_front_end())


class Display:
    """A line with a bar for each job; a context manager, on exit of which it stays as it is."""

    def __init__(self, jobs: Sequence["JobInfo"], front_end: "ModuleType | None") -> None:
        """Show nothing yet.

        Args:
            jobs: The jobs.
            front_end: The module IPython.display; None to show nothing.
        """
        self._front_end = front_end
        self._id = f"talweg-{uuid.uuid4().hex}"
        self._started = self._drawn = time.monotonic()
        self._lines = {job.name: _line(job) for job in jobs} if front_end else {}

    def __enter__(self) -> Self:
        """Show the jobs, unless all have ended."""
        if self._lines and all(line.state.is_final for line in self._lines.values()):
            self._front_end = None
        if self._front_end is not None:
            self._front_end.display(self._bundle(), raw=True, display_id=self._id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        """Show the last state."""
        self._update()

    def take(self, job: "JobInfo", event: Event) -> None:
        """Follow an event of a job."""
        if self._front_end is None:
            return
        self._lines[job.name].take(event)
        if time.monotonic() - self._drawn >= _SECONDS_APART:
            self._update()

    def _update(self) -> None:
        if self._front_end is not None:
            self._front_end.update_display(self._bundle(), raw=True, display_id=self._id)
        self._drawn = time.monotonic()

    def _bundle(self) -> dict[str, str]:
        """Return the display in the formats that front ends choose from."""
        lines = list(self._lines.values())
        shown = sorted(lines, key=lambda line: DISPLAY_ORDER.index(line.state))
        # In their own order, as long as there is room for all.
        shown = lines if len(lines) <= _MOST_ROWS else shown[:_MOST_ROWS]
        parts = [self._overall(lines)] if len(lines) > 1 else []
        rows = "".join(f"<tr>{_cells(line)}</tr>" for line in shown)
        left_out = len(lines) - len(shown)
        below = f"<div><small>and {left_out} more</small></div>" if left_out else ""
        plain = [f"{line.title}: {line.state} {line.progress_text}".rstrip() for line in shown]
        return {
            "text/html": f"{''.join(f'<div>{part}</div>' for part in parts)}"
            f"<table><tbody>{rows}</tbody></table>{below}",
            "text/plain": "\n".join([*parts, *plain]),
        }

    def _overall(self, lines: Sequence[Line]) -> str:
        ended = sum(line.state.is_final for line in lines)
        counts = [
            f"{count} {state.lower()}"
            for state in DISPLAY_ORDER
            if (count := sum(line.state is state for line in lines))
        ]
        elapsed = duration(timedelta(seconds=time.monotonic() - self._started))
        return f"{ended}/{len(lines)} ended · {' · '.join(counts)} · {elapsed}"


def _line(job: "JobInfo") -> Line:
    """Return the line of a job as it is now: a wait is told only of what is new."""
    line = Line(job)
    message = job.message
    line.take(Event(progress=message.progress))
    if message.HasField("result"):
        values = {message.result.metric: message.result.value}
        line.take(Event(metrics=MetricPoint(values=values)))
    return line


def _cells(line: Line) -> str:
    """Return the cells of a job's row."""
    ending = line.ending if line.state.is_final else ""
    failure = ending.partition(": ")[2]
    texts = (
        line.progress_text,
        line.loss_text,
        line.metric_text,
        failure or line.left_text,
    )
    cells = [
        html.text(line.display_name),
        f"<code>{html.text(line.id)}</code>",
        f"<b>{html.text(line.state)}</b>",
        f'<progress max="1" value="{line.share:.3f}"></progress>',
        *map(html.text, texts),
    ]
    return "".join(f"<td{_CELL}>{cell}</td>" for cell in cells)


def find_front_end() -> "ModuleType | None":
    """Return IPython's module for displays where a kernel runs this process; None elsewhere.

    IPython in a terminal has no kernel: it would print each update below the last.
    """
    ipython, display = sys.modules.get("IPython"), sys.modules.get("IPython.display")
    if ipython is None or display is None:
        return None
    shell = ipython.get_ipython() if hasattr(ipython, "get_ipython") else None
    return display if getattr(shell, "kernel", None) is not None else None
