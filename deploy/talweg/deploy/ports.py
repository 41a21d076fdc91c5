"""Loopback ports: which are free, and which of them a part keeps."""

import socket
from dataclasses import dataclass, field

HOST = "127.0.0.1"
# How far a taken port is stepped over before the system picks one.
STEPS = 100


def is_free(port: int) -> bool:
    """Says whether a server could listen on a loopback port now."""
    with socket.socket() as probe:
        # As servers do: a port that only remembers closed connections counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@dataclass
class Ports:
    """The port of each part; two parts never get the same one."""

    chosen: dict[str, int] = field(default_factory=dict)
    """By the part's name."""

    def choose(self, part: str, preferred: int) -> int:
        """Picks a free port, the preferred one or else the next above it.

        Args:
            part: Who will listen.
            preferred: 1 to 65535, or 0 where any will do.

        Returns:
            The port, which is also kept in `chosen`.
        """
        others = {port for name, port in self.chosen.items() if name != part}
        steps = range(preferred, min(preferred + STEPS, 65536)) if preferred else ()
        for port in steps:
            if port not in others and is_free(port):
                break
        else:
            port = _any_free()
        self.chosen[part] = port
        return port

    def address(self, part: str) -> str:
        """The part's host:port."""
        return f"{HOST}:{self.chosen[part]}"


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
