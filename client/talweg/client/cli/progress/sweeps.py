"""The progress of a sweep: a live board on a terminal, a line per trial elsewhere."""

import queue
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from talweg.client import Client, JobState, Sweep, SweepState, TalwegError, Trial
from talweg.client.cli._common import WARNING_STYLE, style_of
from talweg.client.cli.tables import Column, fitted
from talweg.client.sweeps._progress import SweepProgress
from talweg.client.sweeps._tables import value_text
from talweg.spec import drop_control
from talweg.v1.sweeps_pb2 import SweepEvent

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

_TICK_SECONDS: Final = 1.0
_REFRESHES_A_SECOND: Final = 4
_BAR_WIDTH: Final = 24


def follow_sweep(client: Client, sweep: Sweep, console: "Console") -> bool:
    """Show the progress of a sweep until it has ended, and return whether it SUCCEEDED.

    Args:
        client: The client that the sweep came from.
        sweep: The sweep.
        console: Where to print.

    Raises:
        TalwegError: The sweep can no longer be watched.
    """
    board = SweepBoard(sweep)
    # On a dumb terminal, which cannot move its cursor, rich would show nothing until the end.
    if console.is_terminal and not console.is_dumb_terminal:
        from rich.live import Live

        with Live(board, console=console, refresh_per_second=_REFRESHES_A_SECOND):
            for _ in _events(client, sweep, board, after=sweep.message.last_cursor):
                pass
    else:
        lines = _Lines(board, console)
        for event in _events(client, sweep, board, after=0):
            lines.take(event)
    return SweepState.of(sweep.refresh().message.state) is SweepState.SUCCEEDED


class SweepBoard:
    """A bar, the counts and the best trials so far, rendered by rich."""

    def __init__(self, sweep: Sweep) -> None:
        """Begin with a sweep as it is."""
        self.id = sweep.id
        self.progress = SweepProgress(sweep.message)
        self.lost = ""
        self.waiting_reason = ""

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> Iterator["RenderableType"]:
        """Render as many of the best trials as fit the terminal."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = self.progress
        yield Text.assemble(
            (f"{self.id} ", "dim"),
            (f"{progress.state} ", style_of(progress.state)),
            progress.title,
            overflow="ellipsis",
            no_wrap=True,
        )
        parts = [*progress.counts, progress.left_text]
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=1.0, completed=progress.share, width=_BAR_WIDTH),
            Text(" · ".join(part for part in parts if part), style="bold"),
        )
        yield grid
        best = [trial for trial in progress.best if trial.value is not None]
        shown = best[: max(1, console.height - 6)]
        if shown:
            columns = (
                Column(f"BEST {progress.message.spec.objective.metric}"),
                Column("SETTING", min_width=20),
                Column("TRIAL", optional=True, right=True),
            )
            yield fitted(columns, [_cells(trial) for trial in shown], console.width)
        if len(shown) < len(best):
            yield f"[dim]and {len(best) - len(shown)} more[/]"
        if remark := self._remark:
            yield Text(drop_control(remark), style=WARNING_STYLE)

    @property
    def _remark(self) -> str:
        """Why nothing happens, or why the sweep stands."""
        if self.lost:
            return f"{self.lost}; retrying"
        is_usual = self.progress.state in (SweepState.RUNNING, SweepState.SUCCEEDED)
        return self.waiting_reason if is_usual else self.progress.message.message


def _cells(trial: Trial) -> tuple["Text", ...]:
    from rich.text import Text

    return Text(value_text(trial)), Text(trial.label), Text(str(trial.number))


class _Lines:
    """Prints a line per trial that has ended, and per change of the state."""

    def __init__(self, board: SweepBoard, console: "Console") -> None:
        self._board = board
        self._console = console
        self._ended: set[int] = set()

    def take(self, event: SweepEvent) -> None:
        match event.WhichOneof("kind"):
            case "state":
                reason = f" ({event.state.reason})" if event.state.reason else ""
                self._say(f"{SweepState.of(event.state.state)}{reason}")
            case "begun":
                # Again, where it is tried again.
                self._ended.discard(event.begun.number)
            case "ended":
                self._ended.add(event.ended.number)
                self._say(self._trial_text(Trial.of(event.ended)))
            case "finished":
                reason = f": {event.finished.reason}" if event.finished.reason else ""
                self._say(f"{SweepState.of(event.finished.state)}{reason}")

    def _trial_text(self, trial: Trial) -> str:
        progress = self._board.progress
        share = f"{len(self._ended)}/{max(len(self._ended), progress.num_trials)}"
        value = value_text(trial)
        if trial.value is not None:
            value = f"{progress.message.spec.objective.metric} {value}"
        parts = ", ".join(part for part in (value, trial.label) if part)
        final = "final trial" if trial.is_final else "trial"
        return f"{share} {final} {trial.number} {trial.state}: {parts}"

    def _say(self, text: str) -> None:
        # Outside a terminal a line is not wrapped.
        self._console.print(
            f"{self._board.id}: {drop_control(text)}",
            markup=False,
            soft_wrap=not self._console.is_terminal,
        )


def _events(
    client: Client, sweep: Sweep, board: SweepBoard, *, after: int
) -> Iterator[SweepEvent]:
    """Yield the events of a sweep, and keep the board up to date in between."""
    came: queue.SimpleQueue[SweepEvent | str | Exception | None] = queue.SimpleQueue()
    # The thread changes its handle.
    followed = client.get_sweep(sweep.name)

    def follow() -> None:
        try:
            for event in followed.follow(after=after, on_lost=came.put):
                came.put(event)
            came.put(None)
        except Exception as error:
            came.put(error)

    # A daemon, since a stream that waits for an event cannot be stopped.
    threading.Thread(target=follow, name="talweg-watch-sweep", daemon=True).start()
    refreshed = time.monotonic()
    while True:
        try:
            item = came.get(timeout=_TICK_SECONDS)
        except queue.Empty:
            _refresh(client, sweep, board)
            continue
        if item is None:
            break
        if isinstance(item, Exception):
            raise item
        if isinstance(item, str):
            board.lost = item
            continue
        yield item
        if time.monotonic() - refreshed >= _TICK_SECONDS:
            _refresh(client, sweep, board)
            refreshed = time.monotonic()
    _refresh(client, sweep, board)


def _refresh(client: Client, sweep: Sweep, board: SweepBoard) -> None:
    """Ask for the sweep as it is now, and why nothing of it runs."""
    try:
        board.progress.take(sweep.refresh().message)
        board.waiting_reason = _waiting_reason(client, sweep, board.progress)
    except TalwegError:
        # The watch sees the same error and handles it.
        return
    board.lost = ""


def _waiting_reason(client: Client, sweep: Sweep, progress: SweepProgress) -> str:
    jobs = progress.jobs
    is_idle = jobs.get(JobState.QUEUED) and not jobs.get(JobState.RUNNING)
    if progress.state is not SweepState.RUNNING or not is_idle:
        return ""
    condition = f'tags.sweep = "{sweep.id}" AND state = QUEUED'
    waiting = list(client.jobs(filter=condition, order_by="create_time", limit=1))
    return waiting[0].message.waiting_reason if waiting else ""
