"""Files that are being uploaded, on this machine's disk.

A file arrives in `{sha256}.part`, where an upload that broke off goes on. While somebody sends to
it, another upload of the same bytes gets a file of its own, so that neither disturbs the other.
"""

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from talweg.server.concurrency.threads import started_threads
from talweg.server.errors import DiskFull, UploadOutOfPlace
from talweg.spec.local.room import is_full
from talweg.spec.private import make_private_folder

log = logging.getLogger(__name__)

_NUM_THREADS = 4
_PIECE = 1 << 20
_PART = ".part"
_WORK = "work-"
# The client of an upload that is silent for so long may have vanished: another may take over.
_SILENT_S = 10.0
_ABANDONED_S = 86_400.0
_PERIOD_S = 600.0

P = ParamSpec("P")
R = TypeVar("R")


class Staging:
    """A folder of files that are being uploaded."""

    def __init__(self, folder: Path) -> None:
        """Touch nothing yet.

        Args:
            folder: On a local disk, of this server alone.
        """
        self._folder = folder
        # Of its own, so that slow disks keep nobody from reading the record.
        self._threads = started_threads(_NUM_THREADS, name="upload")
        self._active: dict[str, StagedFile] = {}

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that waits for files in a thread; it ends even where this is cancelled.

        Raises:
            DiskFull: There is no room left.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # What it works on must not be closed or removed under it.
            while not work.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            work.exception()
            raise
        except OSError as exc:
            if is_full(exc):
                raise _full() from exc
            raise

    def offset(self, sha256: str) -> int:
        """Return how much of a file has arrived that an upload could add to now.

        Args:
            sha256: Of the whole file.
        """
        active = self._active.get(sha256)
        if active is not None and not active.is_silent:
            return 0
        with suppress(FileNotFoundError):
            return self._part(sha256).stat().st_size
        return 0

    async def open(self, sha256: str, num_bytes: int, *, offset: int | None) -> "StagedFile":
        """Open a file to add to.

        Args:
            sha256: Of the whole file.
            num_bytes: Of the whole file.
            offset: Where the first chunk stands; None where there is no chunk.

        Raises:
            UploadOutOfPlace: The offset is not where the upload stands.
            DiskFull: There is no room for the rest.
        """
        await self.run(self.check_room, 0 if offset is None else num_bytes - offset)
        # From here on nothing is awaited until the file is this call's: another may begin as well.
        active = self._active.get(sha256)
        size = self.offset(sha256)
        if offset is None:
            offset = size
        if offset not in (0, size):
            raise _out_of_place(offset, size)
        if active is not None and (offset == 0 or not active.is_silent):
            path = self._folder / f"{sha256}.{secrets.token_hex(8)}{_PART}"
            file = StagedFile(self, path, offset=0)
        else:
            if active is not None:
                active.superseded = True
            file = StagedFile(self, self._part(sha256), offset=offset)
            self._active[sha256] = file
        try:
            await self.run(file.begin)
        except BaseException:
            file.close()
            raise
        return file

    def let_go(self, file: "StagedFile") -> None:
        """Let others add to a file; one beside the resumable one is removed."""
        for sha256, active in list(self._active.items()):
            if active is file:
                del self._active[sha256]
                return
        if not file.superseded:
            file.path.unlink(missing_ok=True)

    def check_room(self, num_bytes: int) -> None:
        """Make sure of the folder, and of room in it. For a thread.

        Args:
            num_bytes: That are about to be written.

        Raises:
            DiskFull: There is no room for them.
        """
        make_private_folder(self._folder)
        free = shutil.disk_usage(self._folder).free
        if free < num_bytes:
            raise DiskFull(
                f"the server's disk has room for {free:,} bytes, and the file needs "
                f"{num_bytes:,} more: make room in TALWEG_UPLOADS"
            )

    def work_folder(self) -> Path:
        """Make a folder for what is made of a file."""
        folder = self._folder / f"{_WORK}{secrets.token_hex(8)}"
        make_private_folder(self._folder)
        folder.mkdir(mode=0o700)
        return folder

    async def clean(self) -> None:
        """Remove now and then what nobody has gone on with for a day, until cancelled."""
        while True:
            await self.run(self.remove_abandoned)
            await asyncio.sleep(_PERIOD_S)

    def remove_abandoned(self, older_than: float = _ABANDONED_S) -> None:
        """Remove what nobody has gone on with.

        Args:
            older_than: For so many seconds.
        """
        active = {file.path for file in self._active.values()}
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    if path in active or path.stat().st_mtime > time.time() - older_than:
                        continue
                    if path.name.endswith(_PART):
                        path.unlink()
                    elif path.name.startswith(_WORK):
                        shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown()

    def _part(self, sha256: str) -> Path:
        return self._folder / f"{sha256}{_PART}"


class StagedFile:
    """A file that bytes are added to."""

    def __init__(self, staging: Staging, path: Path, *, offset: int) -> None:
        """Open nothing yet.

        Args:
            staging: Where it lies.
            path: The file.
            offset: How much of what is there counts.
        """
        self.path = path
        """Where it lies."""
        self.offset = offset
        """How many bytes it has."""
        self.superseded = False
        """Whether another upload has taken its place."""
        self.is_whole = False
        """Whether all has arrived: then it is being read, and nobody takes it over."""
        self._staging = staging
        self._hash = hashlib.sha256()
        self._descriptor = -1
        self._last = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come for long, though bytes are missing."""
        return not self.is_whole and time.monotonic() - self._last > _SILENT_S

    def begin(self) -> None:
        """Open it, and digest what is there. For a thread."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._descriptor, self.offset)
        position = 0
        while position < self.offset:
            piece = os.pread(self._descriptor, _PIECE, position)
            if not piece:
                raise _out_of_place(self.offset, position)
            self._hash.update(piece)
            position += len(piece)

    async def add(self, offset: int, data: bytes) -> None:
        """Add bytes.

        Args:
            offset: Where they stand.
            data: The bytes.

        Raises:
            UploadOutOfPlace: They are not the next ones, or another upload goes on with the file.
            DiskFull: There is no room for them.
        """
        self._last = time.monotonic()
        if self.superseded:
            raise UploadOutOfPlace(
                "another upload of the same file goes on in this one's place: ask GetUpload",
                offset=self._staging.offset(self.path.name.partition(".")[0]),
            )
        if offset != self.offset:
            raise _out_of_place(offset, self.offset)
        self.offset += len(data)
        await self._staging.run(self._write, offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset, view = offset + written, view[written:]
        self._hash.update(data)

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close it; what has arrived stays where the upload can go on with it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._staging.let_go(self)

    def remove(self) -> None:
        """Remove it: its bytes are not what they were to be, or are stored."""
        if not self.superseded:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


def _out_of_place(offset: int, due: int) -> UploadOutOfPlace:
    return UploadOutOfPlace(
        f"bytes came at offset {offset:,}, but the upload stands at {due:,}: go on there",
        offset=due,
    )


def _full() -> DiskFull:
    return DiskFull("the server's disk is full: make room in TALWEG_UPLOADS and upload again")
