"""The ready file: by it others know that a process serves."""

import os
from pathlib import Path

from talweg.worker.tracking.spool import write_json


def write_ready_file(path: Path | None, *, address: str) -> None:
    """Say that this process is ready.

    Args:
        path: Of the file; None where nobody asks.
        address: Of the server that the process works for.
    """
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"pid": os.getpid(), "address": address})
