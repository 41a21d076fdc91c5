"""How many calls the callers of one address have under way, and how long each may take."""

import asyncio
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta

from talweg.server.errors import TooManyCalls
from talweg.server.limits.shares import Shares

_OF_WORKERS = "/talweg.v1.WorkerService/"


@dataclass(frozen=True)
class CallLimits:
    """What callers may take of a server by calls."""

    calls: int = 2_000
    """Calls of one address that are under way at once."""

    unary: timedelta = timedelta(minutes=15)
    """How long a call without a stream may take, whatever deadline its caller has set or not."""

    silent: timedelta = timedelta(minutes=2)
    """How long a caller may take to send the next message of a stream."""

    slow: timedelta = timedelta(minutes=1)
    """How long a caller may take to make room for the next response of a stream."""


class CallsUnderWay:
    """Counts calls by the address of their callers. For the event loop's thread alone.

    It bounds connections with calls too, since each has one at least; those without are closed
    soon (see `connections.options`).
    """

    def __init__(self, limits: CallLimits) -> None:
        """Begin without calls.

        Args:
            limits: What callers may take.
        """
        self.limits = limits
        """What callers may take."""
        self._shares = Shares[tuple[str, bool]](limits.calls)

    def counted(self, peer: str, method: str) -> AbstractContextManager[None]:
        """Count a call as long as it lasts.

        Args:
            peer: The caller's address as gRPC gives it.
            method: What is called. Workers on a machine with impatient people keep their leases:
                their service is counted apart.

        Raises:
            TooManyCalls: There are as many of this address as there may be.
        """
        host = host_of(peer)
        return self._shares.one(
            (host, method.startswith(_OF_WORKERS)),
            lambda: TooManyCalls(
                f"callers of one address may have {self.limits.calls:,} calls under way at once, "
                f"and {host} has: wait until some end"
            ),
        )


class Patience:
    """Cancels the task that it was made in where one of its waits takes too long.

    One timer for all waits of a stream: `asyncio.timeout` around each of thousands of writes a
    second would take more time than what it guards.
    """

    def __init__(self, most: timedelta) -> None:
        """Wait for nothing yet.

        Args:
            most: How long one wait may take.
        """
        self.seconds = most.total_seconds()
        """How long one wait may take."""
        self.is_at_end = False
        """Whether the task was cancelled for this reason."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._since: float | None = None
        self._timer = self._loop.call_later(self.seconds, self._look)

    def begin(self) -> None:
        """Begin a wait."""
        self._since = self._loop.time()

    def end(self) -> None:
        """End it."""
        self._since = None

    def close(self) -> None:
        """Cancel nothing any more."""
        self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._since is None else self._since
        if now - since >= self.seconds and self._task is not None:
            self.is_at_end = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_at(since + self.seconds, self._look)


def host_of(peer: str) -> str:
    """Return a peer without its port, which is another for each connection: ipv4:127.0.0.1."""
    host, colon, port = peer.rpartition(":")
    return host if colon and port.isdigit() else peer
