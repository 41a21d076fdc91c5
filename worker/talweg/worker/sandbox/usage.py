"""What the processes of a job and its folder take, read from the system."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_BLOCK = 512
_COUNTED = ("RssAnon:", "RssShmem:", "VmSwap:")
_SHARES = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


def can_see() -> bool:
    """Return whether this system tells which processes a process has started."""
    return sys.platform.startswith("linux")


def memory_of(pids: Sequence[int], limit: int) -> int:
    """Return the bytes of memory that processes take together, without those of files.

    What a forked process shares with others is counted once where the system tells; asking costs
    it some milliseconds, and so is done beyond a limit alone.

    Args:
        pids: Of the processes; those that have ended take nothing.
        limit: What may be counted twice.
    """
    total = sum(_sum(Path(f"/proc/{pid}/status"), _COUNTED) or 0 for pid in pids)
    if total <= limit:
        return total
    return sum(_share(pid) for pid in pids)


def _share(pid: int) -> int:
    share = _sum(Path(f"/proc/{pid}/smaps_rollup"), _SHARES)
    return share if share is not None else _sum(Path(f"/proc/{pid}/status"), _COUNTED) or 0


def _sum(file: Path, names: tuple[str, ...]) -> int | None:
    """Return the sum of some lines, in bytes; None where the file cannot be read."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def disk_of(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk, its folders included; follows no link."""
    total, waiting = 0, [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    return total
