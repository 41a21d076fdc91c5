"""People: one that submits, cancels and pauses, and others that watch."""

from asyncio import CancelledError
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from tests.simulation.invariants import BrokenError, Invariants
from tests.simulation.kernel import Kernel, Process, VirtualClock, VirtualSignal
from tests.simulation.network import Network, Stub
from tests.simulation.server import RpcFailure, Server

from talweg.server.errors import InvalidRequest, ServerError
from talweg.spec import job_id
from talweg.v1.jobs_pb2 import Event
from talweg.worker.channels import ServerAwayError, call

_PATIENCE_S = 600.0


class Person:
    """Makes calls one after another, each until it is answered."""

    def __init__(self, kernel: Kernel, network: Network) -> None:
        self._process = Process(kernel)
        self._clock = VirtualClock(self._process)
        self._stub = Stub(network, self._process, "person")
        self._wishes: deque[tuple[str, Callable[[], Any], Callable[[Any], None]]] = deque()
        self._has_wishes = VirtualSignal(self._process)
        self._is_busy = False
        self._process.spawn(self._main)

    def wish(
        self, method: str, request: Callable[[], Any], then: Callable[[Any], None] = lambda _: None
    ) -> None:
        """Have something called when the calls before it are answered.

        Args:
            method: Which.
            request: Gives what is sent; None where there is nothing to be sent.
            then: Told the answer, unless the call is refused.
        """
        self._wishes.append((method, request, then))
        self._has_wishes.set()

    @property
    def is_content(self) -> bool:
        """Whether all calls are answered."""
        return not self._wishes and not self._is_busy

    def _main(self) -> None:
        while True:
            self._has_wishes.wait()
            self._has_wishes.clear()
            while self._wishes:
                self._is_busy = True
                method, request, then = self._wishes.popleft()
                self._call(method, request(), then)
                self._is_busy = False

    def _call(self, method: str, request: Any, then: Callable[[Any], None]) -> None:
        if request is None:
            return
        until = self._clock.monotonic() + _PATIENCE_S
        try:
            then(call(getattr(self._stub, method), request, until=until, clock=self._clock))
        except ServerAwayError as exc:
            raise BrokenError(f"{method} was not answered for {_PATIENCE_S:g} s") from exc
        except RpcFailure:
            pass  # The job has ended, mostly.

    def leave(self) -> None:
        """Call nobody any more."""
        self._process.kill()


class Watcher:
    """Follows one job by WatchJob, and comes back where a server ends."""

    def __init__(self, name: str, invariants: Invariants) -> None:
        self.name = name
        self.is_over = False
        self.cursor = 0
        """Of the last event that came."""
        self._invariants = invariants
        self._events: AsyncGenerator[Event] | None = None
        self._next: Any = None
        self._future: Any = None

    def begin(self, server: Server) -> None:
        """Watch on from the last event."""
        self.end()
        if not self.is_over:
            self._events = server.watching.watch(self.name, self.cursor)
            self.go_on()

    def end(self) -> None:
        """Lose the connection."""
        if self._next is not None:
            # As a server cancels a call.
            with suppress(CancelledError):
                self._next.throw(CancelledError())
        elif self._events is not None:
            with suppress(StopIteration, StopAsyncIteration):
                self._events.aclose().send(None)
        self._events = self._next = self._future = None

    def go_on(self) -> None:
        """Take what there is."""
        while self._events is not None and (self._future is None or self._future.done()):
            if self._next is None:
                self._next = self._events.__anext__()
            try:
                self._future = self._next.send(None)
            except StopIteration as done:
                self._next = self._future = None
                self._take(done.value)
            except StopAsyncIteration:
                self._over()
            except InvalidRequest as exc:
                self._events = self._next = self._future = None
                raise BrokenError(f"{self.name}: the watch from {self.cursor} is refused") from exc
            except ServerError:
                self._events = self._next = self._future = None
            except BaseException:
                # It has ended the generator too.
                self._events = self._next = self._future = None
                raise

    @property
    def is_watching(self) -> bool:
        """Whether its connection stands."""
        return self._events is not None

    def _take(self, event: Event) -> None:
        if event.cursor != self.cursor + 1:
            raise BrokenError(
                f"{self.name}: a watcher gets event {event.cursor} after {self.cursor}"
            )
        self.cursor = event.cursor
        job = self._invariants.job(job_id(self.name))
        if event.cursor > 1 and event != job.events[event.cursor - 2]:
            raise BrokenError(f"{self.name}: a watcher's event {event.cursor} is another")

    def _over(self) -> None:
        self._events = self._next = self._future = None
        job = self._invariants.job(job_id(self.name))
        if not job.ended or self.cursor != job.last_cursor:
            raise BrokenError(
                f"{self.name}: a watch ends at event {self.cursor}, and the job's last is "
                f"{job.last_cursor}"
            )
        self.is_over = True
