"""The progress of jobs: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from talweg.client import Client, Job, JobState, TalwegError
from talweg.client._lines import Line
from talweg.client._watchers import Watched, Watchers
from talweg.client.cli._common import STATE_STYLES, WARNING_STYLE
from talweg.client.cli._common import console as standard_console
from talweg.client.cli.progress.board import Board
from talweg.spec import drop_control
from talweg.v1 import jobs_pb2

if TYPE_CHECKING:
    from rich.console import Console

_TICK_SECONDS: Final = 2.0
_PLAIN_SECONDS: Final = 5.0
_REFRESHES_A_SECOND: Final = 8


def follow(
    client: Client,
    jobs: Sequence[Job],
    *,
    console: "Console | None" = None,
    all_logs: bool = False,
) -> bool:
    """Show the progress of jobs until all have ended, and return whether all SUCCEEDED.

    Args:
        client: The client that the jobs came from.
        jobs: The jobs.
        console: Where to print; standard output if None.
        all_logs: Show all log lines, not only warnings and errors.

    Raises:
        TalwegError: A job can no longer be watched.
    """
    console = standard_console() if console is None else console
    board = Board(jobs)
    # Warnings that came as events; those of the submission are printed by `submit`.
    printed: set[str] = set()
    with Watchers(jobs) as watchers:
        # On a dumb terminal, which cannot move its cursor, rich would show nothing until the end.
        if console.is_terminal and not console.is_dumb_terminal:
            from rich.live import Live

            with Live(board, console=console, refresh_per_second=_REFRESHES_A_SECOND):
                _run(client, board, watchers, _LivePrinter(console, printed, all_logs))
            for line in board.lines:
                if line.state is not JobState.SUCCEEDED:
                    style = STATE_STYLES[line.state]
                    ending = drop_control(line.ending)
                    console.print(f"{line.title}: {ending}", style=style, markup=False)
        else:
            _run(client, board, watchers, _PlainPrinter(console, printed, all_logs))
    return all(line.state is JobState.SUCCEEDED for line in board.lines)


class _EventPrinter(Protocol):
    """Prints events that the board does not show."""

    def event(self, line: Line, event: jobs_pb2.Event) -> None: ...

    def waiting(self, line: Line, reason: str) -> None: ...

    def lost(self, why: str) -> None: ...


def _run(client: Client, board: Board, watchers: Watchers, printer: _EventPrinter) -> None:
    for came in watchers.events_or_ticks(_TICK_SECONDS):
        if came is None:
            _ask_why(client, board, printer)
        else:
            _take(board, came, printer)


def _take(board: Board, came: Watched, printer: _EventPrinter) -> None:
    if came.event is None:
        if not board.lost:
            printer.lost(came.lost)
        board.lost = came.lost
        return
    board.lost = ""
    line = board.line(came.job)
    line.take(came.event)
    if all(other.state is not JobState.QUEUED for other in board.lines):
        board.waiting_reason = ""
    printer.event(line, came.event)


def _ask_why(client: Client, board: Board, printer: _EventPrinter) -> None:
    """Ask why the first waiting job waits, while nothing happens."""
    waiting = [line for line in board.lines if line.state is JobState.QUEUED]
    if board.lost or any(line.state is JobState.RUNNING for line in board.lines) or not waiting:
        board.waiting_reason = ""
        return
    try:
        reason = client.job(waiting[0].name).message.waiting_reason
    except TalwegError:
        # The watches see the same error and handle it.
        return
    if reason and reason != board.waiting_reason:
        printer.waiting(waiting[0], reason)
    board.waiting_reason = reason


class _Printer:
    """Prints warnings once, and log lines, on terminals and elsewhere."""

    def __init__(self, console: "Console", printed: set[str], all_logs: bool) -> None:
        self._console = console
        self._printed = printed
        self._all_logs = all_logs

    def event(self, line: Line, event: jobs_pb2.Event) -> None:
        if event.HasField("warning") and event.warning.message not in self._printed:
            self._printed.add(event.warning.message)
            self._say(line, f"warning: {event.warning.message}", WARNING_STYLE)
        elif event.HasField("log"):
            is_info = event.log.level == jobs_pb2.LogLine.INFO
            if self._all_logs or not is_info:
                self._say(line, event.log.text, "" if is_info else WARNING_STYLE)

    def _say(self, line: Line, text: str, style: str = "") -> None:
        self._console.print(
            # The console may be the caller's.
            f"{line.title}: {drop_control(text)}",
            style=style,
            markup=False,
            # Outside a terminal a line is not wrapped.
            soft_wrap=not self._console.is_terminal,
        )


class _LivePrinter(_Printer):
    """Prints above the board, which shows the rest."""

    def waiting(self, line: Line, reason: str) -> None:
        """Print nothing: the board shows it."""

    def lost(self, why: str) -> None:
        """Print nothing: the board shows it."""


class _PlainPrinter(_Printer):
    """Prints everything as lines."""

    def __init__(self, console: "Console", printed: set[str], all_logs: bool) -> None:
        super().__init__(console, printed, all_logs)
        self._last: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def event(self, line: Line, event: jobs_pb2.Event) -> None:
        super().event(line, event)
        if event.HasField("state"):
            reason = f" ({event.state.reason})" if event.state.reason else ""
            is_first = line.state is JobState.QUEUED and not event.attempt
            if not is_first and not line.state.is_final:
                self._say(line, f"{line.state}{reason}")
        elif event.HasField("finished"):
            self._say(line, line.ending)
        elif event.HasField("progress"):
            now = time.monotonic()
            text = ", ".join(
                part
                for part in (line.progress_text, line.loss_text, line.metric_text, line.left_text)
                if part
            )
            # Before the first epoch has ended, a slow job may report the same again and again.
            is_new = text != self._said.get(line.name)
            if is_new and now - self._last.setdefault(line.name, now) >= _PLAIN_SECONDS:
                self._last[line.name], self._said[line.name] = now, text
                self._say(line, text)

    def waiting(self, line: Line, reason: str) -> None:
        self._say(line, f"{line.state} ({reason})")

    def lost(self, why: str) -> None:
        self._console.print(f"{drop_control(why)}; retrying", markup=False, soft_wrap=True)
