"""The ready file: by it a process says that it serves, to whoever started it.

TALWEG_READY_FILE names it. It holds a JSON object: "pid", the process; and "address", HOST:PORT of
the server that the process is or works for.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from talweg.spec.local.whole_files import write_whole

READY_FILE: Final = "TALWEG_READY_FILE"
"""The variable that names the file."""


@dataclass(frozen=True)
class Ready:
    """What a ready file holds."""

    pid: int
    """The process that serves."""

    address: str
    """HOST:PORT of the server that the process is or works for."""


def write_ready_file(path: Path | None, *, address: str) -> None:
    """Say that this process serves.

    Args:
        path: The file; None where nobody asks.
        address: HOST:PORT of the server that the process is or works for.
    """
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(asdict(Ready(os.getpid(), address))) + "\n")


def read_ready_file(path: Path) -> Ready:
    """Read what a process wrote.

    Args:
        path: The file.

    Raises:
        OSError: There is none, or it cannot be read.
        ValueError: It is no ready file.
    """
    text = path.read_text()
    try:
        content = json.loads(text)
        return Ready(pid=int(content["pid"]), address=str(content["address"]))
    except (ValueError, KeyError, TypeError) as exc:
        raise ValueError(
            f"{path} must hold a pid and an address, but holds {text[:80]!r}"
        ) from exc
