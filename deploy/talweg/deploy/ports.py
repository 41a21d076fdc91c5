"""Loopback ports: which are free, and which of them a service keeps.

Seconds pass between the choice of a port and the moment when its service listens there. Meanwhile
the port is free for all to see, and two stacks that start at once would choose the same. So a
stack holds each port's namesake in UDP, which nobody else wants, for as long as it runs.
"""

import socket
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
# How far a taken port is stepped over before the system picks one.
STEPS = 100


def is_free(port: int) -> bool:
    """Say whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port that only remembers closed connections counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Ports:
    """The port of each service; no other service, of any stack, gets it. A context manager."""

    def __init__(self) -> None:
        """Choose nothing yet."""
        self.chosen: dict[str, int] = {}
        self._reserved: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of all ports."""
        for namesake in self._reserved.values():
            namesake.close()
        self._reserved.clear()

    def choose(self, service: str, preferred: int) -> int:
        """Pick a free port, the preferred one or else the next above it.

        Args:
            service: Who will listen; what it had before is let go.
            preferred: 1 to 65535, or 0 where any will do.

        Returns:
            The port, which is also kept in `chosen`.

        Raises:
            OSError: There is no free port at all.
        """
        if service in self._reserved:
            self._reserved.pop(service).close()
        steps = range(preferred, min(preferred + STEPS, 65536)) if preferred else ()
        while True:
            for port in steps:
                namesake = _hold(port) if is_free(port) else None
                if namesake is not None:
                    self._reserved[service], self.chosen[service] = namesake, port
                    return port
            steps = range(_any_free(), 65536)

    def address(self, service: str) -> str:
        """Return the service's host:port."""
        return f"{HOST}:{self.chosen[service]}"


def _hold(port: int) -> socket.socket | None:
    """Take a port's namesake in UDP; None where another stack has it."""
    namesake = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        namesake.bind((HOST, port))
    except OSError:
        namesake.close()
        return None
    return namesake


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
