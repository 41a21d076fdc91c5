"""Checks of a stack on this machine that need no server."""

import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

from talweg.client._address import LocalStack
from talweg.spec.local import data_folder
from talweg.spec.local.room import why_no_room

# Each may be on a disk of its own, or lead to one by a link.
_FOLDERS: Final = (
    data_folder.SPOOL,
    data_folder.BLOBS,
    data_folder.TRACKING,
    data_folder.LOGS,
    data_folder.UPLOADS,
)
_TIMEOUT_S: Final = 3.0

Trouble = tuple[str, str]
"""What is wrong, and what to do; both empty if nothing is."""


def check_tracking(stack: LocalStack) -> Trouble:
    """Ask MLflow whether it is well."""
    # A proxy may not be used on one machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"{stack.tracking.rstrip('/')}/health"
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as response:
            if response.status == HTTPStatus.OK:
                return "", ""
            why = f"status {response.status}"
    except (OSError, ValueError) as error:
        why = str(getattr(error, "reason", error))
    log = Path(stack.data) / "logs" / "tracking.log"
    return (
        f"{stack.tracking} does not answer: {why}",
        "Results wait in the spool and are not lost. It takes half a minute to start, and "
        f"`talweg up` restarts it; see {log}.",
    )


def check_disk(folder: Path) -> tuple[str, str, str]:
    """Return the free space of a data folder in words, what is wrong, and what to do."""
    try:
        free = shutil.disk_usage(folder).free
        full = [why for place in _of_own_disks(folder) if (why := why_no_room(place))]
    except OSError as error:
        return "", f"{folder} cannot be read: {error.strerror}", "Check its disk and its rights."
    text = f"{free / 2**30:.1f} GiB free" if free >= 2**30 else f"{free // 2**20} MiB free"
    if not full:
        return text, "", ""
    return (
        text,
        f"{'; '.join(full)}: workers take no jobs without room for their results",
        "Free space there; waiting jobs then start by themselves, and what could not be written "
        "is written.",
    )


def _of_own_disks(folder: Path) -> Iterator[Path]:
    """Yield a data folder, and those in it that are on other file systems."""
    devices: set[int] = set()
    for place in (folder, *(folder / name for name in _FOLDERS)):
        with suppress(FileNotFoundError):
            device = place.stat().st_dev
            if device not in devices:
                devices.add(device)
                yield place


def check_services(stack: LocalStack) -> Trouble:
    """Check that every service has a process."""
    gone = [name for name in stack.services if not stack.is_running(name)]
    if not gone:
        return "", ""
    logs = ", ".join(str(Path(stack.data) / "logs" / f"{name}.log") for name in gone)
    return (
        f"{', '.join(gone)} ended",
        f"`talweg up` restarts what has ended, after a pause; the reason is in {logs}.",
    )
