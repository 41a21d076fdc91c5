"""What the C library does with memory that a process has freed."""

import ctypes
from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_MIB: Final = 1024 * 1024
_LARGEST_BLOCK: Final = 4 * _MIB
_MOST_KEPT: Final = 16 * _MIB


def keep_freed_blocks() -> None:
    """Have blocks of up to 4 MiB handed out again, of which up to 16 MiB are kept. glibc only.

    By default it gives blocks as large as a message of an upload back to the kernel, which then
    clears each page anew: that is half of the processor time of an upload. Whatever is larger
    goes back at once, as ever.

    Reference: https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK)
        libc.mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
