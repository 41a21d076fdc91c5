"""Loopback ports: find free ones and reserve them for services.

Seconds pass between the choice of a port and the moment when its service listens there. In between
the port looks free, and two stacks that start at the same time would choose the same one. So a
stack reserves each port by binding the UDP port with the same number while it runs.
"""

import socket
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
# How many ports are tried before the system picks one.
STEPS = 100


def is_free(port: int) -> bool:
    """Return whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # Like servers do: a port with only closed connections counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Ports:
    """The reserved port of each service; a context manager."""

    def __init__(self) -> None:
        """Reserve no port yet."""
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
        """Release all ports."""
        for udp_socket in self._reserved.values():
            udp_socket.close()
        self._reserved.clear()

    def choose(self, service: str, preferred: int) -> int:
        """Reserve a free port: the preferred one or the next above it.

        Args:
            service: The service that will listen; its previous port is released.
            preferred: 1 to 65535, or 0 for any port.

        Returns:
            The port, which is also kept in `chosen`.

        Raises:
            OSError: There is no free port.
        """
        if service in self._reserved:
            self._reserved.pop(service).close()
        steps = range(preferred, min(preferred + STEPS, 65536)) if preferred else ()
        while True:
            for port in steps:
                udp_socket = _hold(port) if is_free(port) else None
                if udp_socket is not None:
                    self._reserved[service], self.chosen[service] = udp_socket, port
                    return port
            steps = range(_any_free(), 65536)

    def address(self, service: str) -> str:
        """Return the host:port of a service."""
        return f"{HOST}:{self.chosen[service]}"


def _hold(port: int) -> socket.socket | None:
    """Bind the UDP port with the same number; None if another stack has it."""
    udp_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        udp_socket.bind((HOST, port))
    except OSError:
        udp_socket.close()
        return None
    return udp_socket


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
