"""Whether a file system has room for what is written there."""

import errno
import os
from pathlib import Path
from typing import Final

MIN_FREE_BYTES: Final = 64 * 2**20
"""With less a folder counts as full."""
MIN_FREE_FILES: Final = 100
"""With room for fewer files (inodes) too."""

# The disk's, the user's share of it, and what this process may write.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_full(error: OSError) -> bool:
    """Return whether something could not be written for want of room.

    Args:
        error: What was raised.
    """
    return error.errno in _FULL


def why_no_room(folder: Path) -> str:
    """Say why a folder counts as full; empty where it has room.

    Args:
        folder: One that may have to be made yet.

    Raises:
        OSError: Its file system does not answer.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    if free < MIN_FREE_BYTES:
        least = MIN_FREE_BYTES // 2**20
        return f"{folder} has {free // 2**20} MiB of free space, and must have >= {least} MiB"
    # A file system without a table of inodes says that it has none at all.
    if facts.f_files and facts.f_favail < MIN_FREE_FILES:
        return (
            f"{folder} has room for {facts.f_favail} more files (inodes), and must have "
            f">= {MIN_FREE_FILES}"
        )
    return ""
