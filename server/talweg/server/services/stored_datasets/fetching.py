"""Files are fetched by a process of its own, which alone talks to their stores."""

import asyncio
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from talweg.server.errors import DiskFull, InternalError
from talweg.server.services.stored_datasets.processes import TIME_IS_UP, Ended, run_module
from talweg.server.services.stored_datasets.reading import ReadLimits
from talweg.spec.errors import shown
from talweg.spec.local.environment import without_secrets
from talweg.spec.stored.uris import BadUriError, DataUri

log = logging.getLogger(__name__)

# Looking takes no time beside copying, and must not wait for it.
_NUM_LOOKS, _NUM_COPIES = 4, 2
_LOOK_SECONDS = 60.0
_MOST_LOGGED = 4000
# What the libraries of stores read: credentials, addresses, proxies. Not given to local reading.
_FOR_STORES = (
    "AWS_",
    "FSSPEC_",
    "SSL_CERT_",
    "REQUESTS_CA_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)


@dataclass(frozen=True)
class FoundFile:
    """A file as it is."""

    num_bytes: int
    """Its size."""
    fingerprint: str
    """Another one once the file has changed."""
    modified: float
    """When it was written last, in seconds since 1970; 0 where the fingerprint tells all."""
    is_folder: bool = False
    """Whether it is a folder, copied as a .tar file, whose size this is."""
    sha256: str = ""
    """Of the copy; empty where it was only looked at."""


class Fetcher:
    """Starts the processes that look at files and copy them."""

    def __init__(self, limits: ReadLimits, *, max_bytes: int) -> None:
        """Start nothing yet.

        Args:
            limits: Of each process.
            max_bytes: The largest file that is taken.
        """
        self._limits = limits
        self._max_bytes = max_bytes
        self._looks = asyncio.Semaphore(_NUM_LOOKS)
        self._copies = asyncio.Semaphore(_NUM_COPIES)

    async def look(self, uri: DataUri, root: DataUri) -> FoundFile:
        """Look at a file.

        Args:
            uri: The file.
            root: What it must lie below.

        Raises:
            BadUriError: It cannot be read.
        """
        async with self._looks:
            return await self._fetch(uri, root, None, _LOOK_SECONDS)

    async def copy(self, uri: DataUri, root: DataUri, target: Path) -> FoundFile:
        """Copy a file.

        Args:
            uri: The file.
            root: What it must lie below.
            target: Where to; nothing is there.

        Raises:
            BadUriError: It cannot be read, or has changed meanwhile.
            DiskFull: There is no room for it.
        """
        async with self._copies:
            return await self._fetch(uri, root, target, self._limits.time.total_seconds())

    async def _fetch(
        self, uri: DataUri, root: DataUri, target: Path | None, seconds: float
    ) -> FoundFile:
        request = {
            "uri": str(uri),
            "root": str(root),
            "target": "" if target is None else str(target.absolute()),
            "max_bytes": self._max_bytes,
            "memory_bytes": self._limits.memory_bytes,
            "seconds": seconds,
        }
        ended = await run_module(
            "talweg.ingest.fetching",
            json.dumps(request).encode(),
            environment=_environment(uri),
            seconds=seconds,
        )
        return _found(uri, ended, seconds)


def _environment(uri: DataUri) -> dict[str, str]:
    if uri.scheme == "file":
        return without_secrets()
    return without_secrets(*(name for name in os.environ if name.upper().startswith(_FOR_STORES)))


def _found(uri: DataUri, ended: Ended, seconds: float) -> FoundFile:
    if ended.status in TIME_IS_UP:
        raise BadUriError(
            f"{shown(str(uri))}, which could not be read within {seconds:g} s",
            "a file that is read in that time",
            "try again, divide the file, or have TALWEG_INGEST_SECONDS raised",
        )
    if ended.status != 0:
        log.error("fetching %s failed with status %s: %s", uri, ended.status, _last(ended.errors))
        raise InternalError
    answer: dict[str, Any] = json.loads(ended.output.splitlines()[-1])
    if "disk_full" in answer:
        raise DiskFull("the server's disk is full: make room in TALWEG_UPLOADS and submit again")
    if "problem" in answer:
        if ended.errors:
            log.warning("fetching %s: %s", uri, _last(ended.errors))
        problem = answer["problem"]
        raise BadUriError(problem["found"], problem["allowed"], problem["hint"])
    return FoundFile(**answer)


def _last(errors: bytes) -> str:
    return errors[-_MOST_LOGGED:].decode(errors="replace")
