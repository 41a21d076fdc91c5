"""Virtual time: programs that wait run as greenlets of one thread, always in the same order.

Code that blocks (a call, a sleep, an event) gives way to the kernel, which goes on with whatever
comes next in virtual time. Nothing else decides when something happens, so a schedule runs alike
each time.
"""

import heapq
from collections.abc import Callable
from functools import partial
from typing import Any

from greenlet import getcurrent, greenlet

from talweg.worker.clock import Clock, Signal, Task

EPOCH_MS = 1_700_000_000_000
"""When simulations begin, in milliseconds since 1970."""


class Killed(BaseException):
    """The process is no more: nothing that it does from here on has an effect."""


class StuckError(Exception):
    """Events follow each other without end and without time passing."""


class Kernel:
    """What comes next."""

    _MOST_EVENTS = 50_000

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the beginning."""
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._num_events = 0

    def at(self, time: float, do: Callable[[], object]) -> None:
        """Do something at a time; what is due at the same time keeps its order."""
        self._num_events += 1
        heapq.heappush(self._queue, (max(time, self.now), self._num_events, do))

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        """Do something later."""
        self.at(self.now + seconds, do)

    def run(self, until: float, is_done: Callable[[], bool] = lambda: False) -> None:
        """Go on until a time, or until it is done.

        Raises:
            StuckError: It does not come to an end.
        """
        queue = self._queue
        while queue and queue[0][0] <= until and not is_done():
            self.now, _, do = heapq.heappop(queue)
            do()
            if self._num_events > self._MOST_EVENTS:
                raise StuckError(f"more than {self._MOST_EVENTS} events in {self.now:.1f} s")
        if not is_done():
            self.now = max(self.now, until)


class _Waiter:
    def __init__(self, sleeper: greenlet) -> None:
        self.sleeper = sleeper
        self.is_woken = False


class Process:
    """Greenlets that live and die together, such as a worker's threads."""

    def __init__(self, kernel: Kernel, on_end: Callable[[], None] = lambda: None) -> None:
        self.kernel, self._on_end = kernel, on_end
        self.is_dead = False
        self.frozen_until = 0.0
        self.lost = 0.0
        """Seconds in which its machine slept: its monotonic clock stood still."""
        self._greenlets: list[greenlet] = []
        self._hub = getcurrent()
        while self._hub.parent is not None:
            self._hub = self._hub.parent

    def spawn(self, work: Callable[[], None]) -> None:
        """Begin to do something beside the rest."""

        def run() -> None:
            try:
                work()
            except Killed:
                pass

        thread = greenlet(run, parent=self._hub)
        self._greenlets = [each for each in self._greenlets if not each.dead]
        self._greenlets.append(thread)
        waiter = _Waiter(thread)
        self.kernel.at(self.kernel.now, lambda: self.wake(waiter))

    def pause(self, begin: Callable[[_Waiter], None], seconds: float | None) -> Any:
        """Give way until somebody wakes this greenlet, at most so many seconds.

        Returns:
            What it was woken with; None where the time was over.
        """
        self.check()
        waiter = _Waiter(getcurrent())
        begin(waiter)
        if seconds is not None:
            self.kernel.after(seconds, lambda: self.wake(waiter))
        value = self._hub.switch()
        self.check()
        # Without a value a greenlet is given an empty tuple.
        return value or None

    def wake(self, waiter: _Waiter, value: Any = None) -> None:
        """Let a greenlet go on, unless it has or its process is dead; by the kernel alone."""
        if waiter.is_woken or self.is_dead:
            return
        if self.kernel.now < self.frozen_until:
            self.kernel.at(self.frozen_until, lambda: self.wake(waiter, value))
            return
        waiter.is_woken = True
        waiter.sleeper.switch(*([] if value is None else [value]))

    def check(self) -> None:
        """Raise Killed where this process is no more."""
        if self.is_dead:
            raise Killed

    def kill(self) -> None:
        """End it at once, by the kernel."""
        self.is_dead = True
        threads, self._greenlets = self._greenlets, []
        for thread in threads:
            if not thread.dead:
                thread.throw(Killed)
        self._on_end()

    def exit(self) -> None:
        """End it from within."""
        self.is_dead = True
        self.kernel.at(self.kernel.now, self.kill)
        raise Killed


class VirtualSignal:
    """An event that greenlets of a process wait for."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._is_set = False
        self._waiters: list[_Waiter] = []

    def set(self) -> None:
        self._is_set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._process.kernel.after(0.0, partial(self._process.wake, waiter))

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None, /) -> bool:
        if not self._is_set:
            self._process.pause(self._waiters.append, timeout)
        return self._is_set


class VirtualTask:
    """A greenlet of a process that may be waited for."""

    def __init__(self, process: Process, work: Callable[[], None]) -> None:
        self._process, self._work = process, work
        self._over = VirtualSignal(process)

    def start(self) -> None:
        self._process.spawn(self._run)

    def join(self) -> None:
        self._over.wait()

    def _run(self) -> None:
        self._work()
        self._over.set()


class VirtualClock(Clock):
    """The clock of one process."""

    def __init__(self, process: Process) -> None:
        self._process, self._kernel = process, process.kernel
        self.jumped_ms = 0
        self._armed = 0

    def monotonic(self) -> float:
        return 1000.0 + self._kernel.now - self._process.lost

    def now_ms(self) -> int:
        return EPOCH_MS + self.jumped_ms + int(self._kernel.now * 1000)

    def sleep(self, seconds: float) -> None:
        self._process.pause(lambda _: None, max(0.0, seconds))

    def signal(self) -> Signal:
        return VirtualSignal(self._process)

    def task(self, work: Callable[[], None], *, name: str) -> Task:
        return VirtualTask(self._process, work)

    def arm(self, seconds: float) -> None:
        self._armed += 1
        armed = self._armed
        self._kernel.after(seconds, lambda: self._fire(armed))

    def disarm(self) -> None:
        self._armed += 1

    def _fire(self, armed: int) -> None:
        if armed != self._armed or self._process.is_dead:
            return
        if self._kernel.now < self._process.frozen_until:
            self._kernel.at(self._process.frozen_until, lambda: self._fire(armed))
            return
        self._process.kill()
