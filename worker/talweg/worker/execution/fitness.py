"""Whether this machine can keep what a job gives. One without room would fail every job."""

import os
import shutil
from pathlib import Path

from talweg.spec.private import make_private_folder

# With less space for results than this a worker takes no jobs.
MIN_FREE_BYTES = 64 * 2**20


def why_unfit(spool_dir: Path) -> str:
    """Say why results cannot be written to the spool; empty where they can."""
    try:
        make_private_folder(spool_dir)
        free = shutil.disk_usage(spool_dir).free
    except OSError as exc:
        return str(exc)
    if not os.access(spool_dir, os.W_OK | os.X_OK):
        return f"{spool_dir} cannot be written to"
    if free < MIN_FREE_BYTES:
        free_mib, least = free // 2**20, MIN_FREE_BYTES // 2**20
        return f"{spool_dir} has {free_mib} MiB of free space, and must have >= {least} MiB"
    return ""
