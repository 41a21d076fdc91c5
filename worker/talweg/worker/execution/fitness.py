"""Whether this machine can keep what a job gives. One without room would fail every job."""

import os
from pathlib import Path

from talweg.spec.local.room import why_no_room
from talweg.spec.private import make_private_folder


def why_unfit(spool_dir: Path) -> str:
    """Say why results cannot be written to the spool; empty where they can."""
    try:
        # First, since a full disk may be why the folder cannot be made.
        if full := why_no_room(spool_dir):
            return full
        make_private_folder(spool_dir)
    except OSError as exc:
        return str(exc)
    if not os.access(spool_dir, os.W_OK | os.X_OK):
        return f"{spool_dir} cannot be written to"
    return ""
