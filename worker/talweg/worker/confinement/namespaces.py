"""Namespaces: processes, networks and shared memory of a process's own.

Users may have them where the system lets them have a user namespace, within which they own the
others. Many containers and some distributions do not: `available` tries it out, in a process that
ends right after.

Reference: https://man7.org/linux/man-pages/man7/user_namespaces.7.html
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from contextlib import suppress
from enum import IntFlag
from functools import cache
from pathlib import Path


class Namespaces(IntFlag):
    """Which a process has of its own, by the numbers of `unshare`."""

    NONE = 0
    USER = 0x10000000
    MOUNT = 0x00020000
    IPC = 0x08000000
    PID = 0x20000000
    NETWORK = 0x40000000


_TRIED = (Namespaces.MOUNT, Namespaces.IPC, Namespaces.PID, Namespaces.NETWORK)
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the system's own


@cache
def available() -> Namespaces:
    """Return which namespaces a process of this user may have; to be asked before threads."""
    if not sys.platform.startswith("linux"):
        return Namespaces.NONE
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        found = Namespaces.NONE
        with suppress(OSError):
            found = _try()
        os.write(writing, struct.pack("=Q", found))
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, "rb") as answer:
        content = answer.read()
    return Namespaces(struct.unpack("=Q", content)[0]) if content else Namespaces.NONE


def _try() -> Namespaces:
    own_user()
    found = Namespaces.USER
    for namespace in _TRIED:
        with suppress(OSError):
            _unshare(namespace)
            if namespace == Namespaces.NETWORK:
                raise_loopback()
            found |= namespace
    return found


def own_user() -> None:
    """Give this process a user namespace of its own, in which it is who it was.

    Raises:
        OSError: The system does not let it.
    """
    user, group = os.geteuid(), os.getegid()
    _unshare(Namespaces.USER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path("/proc/self", name).write_text(text)


def enter(namespaces: Namespaces) -> None:
    """Give this process namespaces of its own; that of processes holds for its children.

    Args:
        namespaces: Some of those that are available.

    Raises:
        OSError: The system does not let it.
    """
    if not namespaces & Namespaces.USER:
        return
    own_user()
    _unshare(namespaces & ~Namespaces.USER)
    if namespaces & Namespaces.NETWORK:
        raise_loopback()
    if namespaces & Namespaces.MOUNT:
        # What is mounted in here is seen by nobody else.
        _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)


def own_shared_memory(num_bytes: int) -> bool:
    """Put an empty /dev/shm in place of everybody's; whether that was possible.

    Args:
        num_bytes: What it may hold.
    """
    with suppress(OSError):
        flags = _MS_NOSUID | _MS_NODEV
        _mount("tmpfs", _SHARED_MEMORY, "tmpfs", flags, f"size={num_bytes},mode=1777")
        return True
    return False


def own_processes() -> bool:
    """Have /proc show the processes of this namespace alone; whether that was possible."""
    with suppress(OSError):
        _mount("proc", Path("/proc"), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        return True
    return False


def raise_loopback() -> None:
    """Switch on the loopback interface of a new network, by which processes of a job meet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _unshare(namespaces: Namespaces) -> None:
    _checked(ctypes.CDLL(None, use_errno=True).unshare(ctypes.c_int(namespaces)))


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(
        libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        )
    )


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "namespaces")
