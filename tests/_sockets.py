"""Where processes listen."""

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from socket import SOCK_STREAM, AddressFamily

import psutil


def listeners(processes: Iterable[psutil.Process]) -> dict[str, list[str]]:
    """Return the addresses on which somebody may reach a process, TCP and UDP, by process.

    A process that ends meanwhile, or has no such address, is left out.
    """
    found: dict[str, list[str]] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            addresses = [
                f"{'tcp' if c.type == SOCK_STREAM else 'udp'} {c.laddr.ip} {c.laddr.port}"
                for c in process.net_connections(kind="inet")
                if c.family in (AddressFamily.AF_INET, AddressFamily.AF_INET6) and c.laddr
                # A socket of UDP that is connected, as for a look-up of a name, hears its peer
                # alone.
                if (c.status == psutil.CONN_LISTEN if c.type == SOCK_STREAM else not c.raddr)
            ]
            if addresses:
                found[f"{process.pid} {' '.join(process.cmdline())}"] = addresses
    return found


def beyond_loopback(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return those of `listeners` that other machines may reach."""
    open_to_all = {
        process: [address for address in addresses if not _is_loopback(address.split()[1])]
        for process, addresses in found.items()
    }
    return {process: addresses for process, addresses in open_to_all.items() if addresses}


def _is_loopback(address: str) -> bool:
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return ip.is_loopback
