"""Which user of the machine a connection over loopback comes from, as Linux tells."""

import os
import socket
import sys
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
# What stands before an IPv4 address where an IPv6 socket reaches it (::ffff:127.0.0.1). Addresses
# are shown as words of four bytes in the machine's order.
_MAPPED = f"{0:016X}{int.from_bytes(bytes([0, 0, 255, 255]), sys.byteorder):08X}"
_ESTABLISHED = "01"


def is_of_this_user(client: tuple[str, int], server: tuple[str, int]) -> bool:
    """Return whether a connection was made by a process of the user that runs this one.

    A socket that its process has closed is shown as the superuser's: only those that are open
    on both sides count. False where nobody can tell, as on other systems than Linux.

    Args:
        client: Address and port that the connection comes from.
        server: Address and port that it has reached.
    """
    try:
        ends = [(_word(host), f"{port:04X}") for host, port in (client, server)]
    except OSError:
        # No IPv4 address.
        return False
    prefixed = [[f"{prefix}{word}:{port}" for word, port in ends] for prefix in ("", _MAPPED)]
    for table, expected in zip(_TABLES, prefixed, strict=True):
        for fields in _rows(table):
            if fields[1:3] == expected and fields[3] == _ESTABLISHED and fields[9] != "0":
                return int(fields[7]) == os.geteuid()
    return False


def _word(host: str) -> str:
    number = int.from_bytes(socket.inet_pton(socket.AF_INET, host), sys.byteorder)
    return f"{number:08X}"


def _rows(table: Path) -> list[list[str]]:
    try:
        return [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return []
