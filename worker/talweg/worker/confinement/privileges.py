"""What a process gives up for good: privileges, the view of its memory, and resources."""

import ctypes
import os
import resource
import struct
import sys
from contextlib import suppress

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP = 4, 38, 24
_MOST_CAPABILITIES = 64
_CAPABILITY_VERSION = 0x20080522


def hide_memory() -> None:
    """Keep other processes of this user from this one's memory and environment. Linux only.

    /proc/PID/environ, /proc/PID/mem and the like are root's from now on, and no debugger of the
    same user attaches. It ends with the next program that the process becomes.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def allow_no_more() -> None:
    """Have no program that this process starts take privileges, as by its set-user-id bit."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up what root may do beyond its files; others have nothing to give up."""
    if not sys.platform.startswith("linux"):
        return
    for number in range(_MOST_CAPABILITIES):
        _prctl(_PR_CAPBSET_DROP, number)
    header = struct.pack("=Ii", _CAPABILITY_VERSION, 0)
    with suppress(AttributeError):
        ctypes.CDLL(None, use_errno=True).capset(header, bytes(24))


def limit(kind: int, most: int) -> None:
    """Lower one of this process's limits, for good; one that is lower already stays.

    Args:
        kind: Of `resource`, such as RLIMIT_NOFILE.
        most: The limit.
    """
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (most, most))


def is_root() -> bool:
    """Return whether this is the user whom limits on processes do not bind."""
    return os.geteuid() == 0


def _prctl(option: int, argument: int) -> None:
    with suppress(AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(
            option, *(ctypes.c_ulong(each) for each in (argument, 0, 0, 0))
        )
