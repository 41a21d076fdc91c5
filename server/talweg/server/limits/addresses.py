"""How many connections an address may have; gRPC itself bounds them only all together.

gRPC tells of no connection before its first call. But the sockets are this process's: what an
address has beyond its share is shut down, as if its peer had gone. Linux only.
"""

import os
import socket
import stat
from collections import defaultdict
from contextlib import suppress
from ipaddress import ip_address

_DESCRIPTORS = "/proc/self/fd"


class ConnectionsByAddress:
    """The connections that a port of this process has taken."""

    def __init__(self, port: int, most: int, *, spares_loopback: bool = True) -> None:
        """Look at nothing yet.

        Args:
            port: The port.
            most: How many an address may have.
            spares_loopback: Whether those from this machine are not counted: all of its users and
                programs have one address.
        """
        self._port, self._most, self._spares_loopback = port, most, spares_loopback
        self._num_seen = 0
        # When each was first seen, by the number of its socket.
        self._since: dict[int, int] = {}

    def shed(self) -> dict[str, int]:
        """Shut down what is beyond, the newest first; return how many of which address.

        To be called from one thread at a time, now and then.
        """
        try:
            descriptors = os.listdir(_DESCRIPTORS)
        except OSError:
            return {}
        if len(descriptors) <= self._most:
            # None can have more.
            self._since = {}
            return {}
        connections = defaultdict[str, list[int]](list)
        numbers = dict[int, int]()
        for descriptor in sorted(map(int, descriptors)):
            with suppress(OSError), _copied(descriptor) as connection:
                if host := self._counted(connection):
                    number = os.fstat(connection.fileno()).st_ino
                    connections[host].append(number)
                    numbers[number] = descriptor
        self._note(numbers)
        shed = dict[str, int]()
        for host, found in connections.items():
            found.sort(key=self._since.__getitem__)
            for number in found[self._most :]:
                shed[host] = shed.get(host, 0) + _shut_down(numbers[number], number)
        return shed

    def _counted(self, connection: socket.socket) -> str:
        """Return the address that a socket is connected to; empty for those that do not count."""
        own = connection.getsockname()
        if not isinstance(own, tuple) or own[1] != self._port:
            return ""
        # That of the port itself has no peer, which is an error.
        host = ip_address(connection.getpeername()[0])
        host = getattr(host, "ipv4_mapped", None) or host
        return "" if host.is_loopback and self._spares_loopback else str(host)

    def _note(self, numbers: dict[int, int]) -> None:
        since = dict[int, int]()
        for number in numbers:
            self._num_seen += 1
            since[number] = self._since.get(number, self._num_seen)
        self._since = since


def _copied(descriptor: int) -> socket.socket:
    """Return a socket of this process by a descriptor of its own, which stays the same one.

    Raises:
        OSError: It is no socket, or closed by now.
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError("it is no socket")
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _shut_down(descriptor: int, number: int) -> bool:
    with suppress(OSError), _copied(descriptor) as connection:
        # gRPC may have closed it, and the descriptor be another's.
        if os.fstat(connection.fileno()).st_ino == number:
            connection.shutdown(socket.SHUT_RDWR)
            return True
    return False
