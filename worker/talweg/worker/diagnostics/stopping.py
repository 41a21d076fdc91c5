"""A stop in the midst of computing that never asks whether to go on."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

from talweg.worker.errors import WorkerError
from talweg.worker.training import Control, Stop

_SECONDS = 0.2
"""Between two looks."""

Item = TypeVar("Item")


class StoppedError(WorkerError):
    """Computing was left, since the run must stop."""

    def __init__(self, stop: Stop) -> None:
        """Hold why the run must stop."""
        super().__init__(stop.reason)
        self.stop = stop


def until_stopped(items: Iterator[Item], control: Control) -> Iterator[Item]:
    """Yield items that each take long to compute, and leave them when the run must stop.

    A signal looks at `control` while an item is computed, again and again: where a library catches
    one exception and goes on, there comes another, and an error that it makes of one is none. Only
    a process's main thread hears signals: elsewhere `control` is asked between items alone. What
    is computed in C, such as a decomposition of a matrix, ends first.

    Raises:
        StoppedError: The run must stop.
    """
    while True:
        _look(control)
        with _looking(control):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item


@contextlib.contextmanager
def _looking(control: Control) -> Iterator[None]:
    """Raise StoppedError in what runs within as soon as the run must stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_within = True
    stopped: StoppedError | None = None

    def look(_: int, __: FrameType | None) -> None:
        nonlocal stopped
        if is_within:
            try:
                _look(control)
            except StoppedError as exc:
                stopped = exc
                raise

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)
    try:
        try:
            yield
        except Exception as exc:
            if stopped is not None and exc is not stopped:
                # A library takes what interrupts it for an error of its own.
                raise stopped from exc
            raise
        finally:
            # A signal that comes now finds nothing to leave.
            is_within = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _look(control: Control) -> None:
    stop = control.check()
    if stop is not None:
        raise StoppedError(stop)
