"""Landlock: rules that a process gives itself and all that it starts, without any privilege.

By the system calls themselves, as neither Python nor the C library has them. What a version of the
kernel does not know is left out; `abi` says which it is.

Reference: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# The same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ALL_OF_FIRST = (1 << 13) - 1
# Block devices and character devices are nobody's to make.
_MAKE_DEVICES = 1 << 6 | 1 << 11
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1

NETWORK_ABI, SCOPE_ABI = 4, 6
"""The versions from which TCP, and signals with abstract sockets, are ruled."""


@dataclass(frozen=True)
class Rules:
    """What a process may still do; all else that Landlock knows is refused."""

    readable: tuple[Path, ...] = ()
    """Files and folders that may be read and run."""
    writable: tuple[Path, ...] = ()
    """Those that may be changed too."""
    may_use_tcp: bool = True
    """Whether it may connect and listen by TCP."""


@cache
def abi() -> int:
    """Return the version of Landlock that this kernel has; 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    version = _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    return max(0, version)


def restrict(rules: Rules) -> None:
    """Hold this process, and all that it starts from now on, to rules.

    `no_new_privs` must be set. Paths that are not there are passed over.

    Raises:
        OSError: The kernel refuses.
    """
    version = abi()
    handled = _ALL_OF_FIRST
    if version >= 2:
        handled |= _REFER
    if version >= 3:
        handled |= _TRUNCATE
    tcp = _TCP if version >= NETWORK_ABI and not rules.may_use_tcp else 0
    fields = [handled, tcp, _SCOPES if version >= SCOPE_ABI else 0]
    known = 1 if version < NETWORK_ABI else 2 if version < SCOPE_ABI else 3
    attributes = struct.pack(f"={known}Q", *fields[:known])
    ruleset = _checked(
        _syscall(
            _CREATE_RULESET,
            ctypes.c_char_p(attributes),
            ctypes.c_size_t(len(attributes)),
            ctypes.c_uint32(0),
        )
    )
    try:
        _allow(ruleset, rules.readable, (_EXECUTE | _READ_FILE | _READ_DIR) & handled)
        _allow(ruleset, rules.writable, handled & ~_MAKE_DEVICES)
        _checked(_syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, paths: Iterable[Path], access: int) -> None:
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            file = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                is_folder = stat.S_ISDIR(os.fstat(file).st_mode)
                rule = struct.pack("=Qi", access if is_folder else access & _OF_FILES, file)
                _checked(
                    _syscall(
                        _ADD_RULE,
                        ctypes.c_int(ruleset),
                        ctypes.c_int(_PATH_BENEATH),
                        ctypes.c_char_p(rule),
                        ctypes.c_uint32(0),
                    )
                )
            finally:
                os.close(file)


def _syscall(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(ctypes.c_long(number), *arguments))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "landlock")
    return result
