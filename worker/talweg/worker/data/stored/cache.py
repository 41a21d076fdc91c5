"""Stored data on this machine: where the blob store is elsewhere, one copy for all its workers."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from talweg.blobs import Blobs
from talweg.spec.identity.projects import DEFAULT_PROJECT
from talweg.spec.private import make_private_folder
from talweg.worker.errors import WorkerError

INFO = "info.json"
"""The data set's description; the data stand beside it."""
DATA = ("data.arrow", "data.safetensors")
"""The file of a table, and that of arrays."""
_CHECKED = ".checked"
_CHUNK = 2**20


class DamagedDataError(WorkerError):
    """The blob store has a data set, but not what was stored."""


def folder_of(digest: str) -> str:
    """Return where a data set lies in the blob store."""
    return f"datasets/{digest}"


def check_data(folder: Path, sha256: str) -> None:
    """Check that a data set's data are what was stored, once as long as the file stays as it is.

    Args:
        folder: With the data set's files.
        sha256: What the data file must have; empty where nobody knows.

    Raises:
        DamagedDataError: They are not.
        OSError: They cannot be read.
    """
    file = _data_file(folder)
    if sha256 and _known_sha256(file, _stamp(file)) != sha256:
        raise DamagedDataError(f"{file.name} has changed since it was stored")


@dataclass(frozen=True)
class DataCache:
    """A folder with copies of data sets, within a limit on their size.

    Each is a folder by the data set's digest, and its project: what one has fetched is not for
    another, which may have no such data any more. It appears whole, by renaming. A lock file
    beside it is held by whoever fetches, opens or removes it; what is mapped already stays
    readable after it was removed.
    """

    folder: Path
    """Where copies lie; on a local disk."""
    most_bytes: int
    """What all of them may take. The one that is in use stays, however large it is."""

    @contextmanager
    def opened(
        self, blobs: Blobs, digest: str, sha256: Callable[[Path], str], *, project: str
    ) -> Iterator[Path]:
        """Give the folder with a data set's files, fetched if it is not there or not whole.

        Args:
            blobs: The store, as the project sees it.
            digest: The data set's.
            project: The data set's.
            sha256: Gives what the data file of a folder must have; empty where nobody knows.

        Raises:
            FileNotFoundError: The store has no such data set.
            DamagedDataError: Fetched twice, it was not what had been stored.
            OSError: The store does not answer, or this machine's disk is full.
        """
        make_private_folder(self.folder)
        target = self.folder / _name_of(digest, project)
        with self._lock(target.name):
            if not self._is_whole(target, sha256):
                self._remove(target)
                self._fetch(blobs, digest, target, sha256)
            # The least recently used goes first.
            os.utime(target)
            yield target
        self._shrink(besides=target.name)

    def _is_whole(self, target: Path, sha256: Callable[[Path], str]) -> bool:
        """Return whether a copy is there as it was checked; checked anew where it has changed."""
        try:
            file = _data_file(target)
            if (target / _CHECKED).read_text() == _stamp(file):
                return True
            return self._passes(target, sha256)
        except (OSError, ValueError):
            return False

    def _passes(self, target: Path, sha256: Callable[[Path], str]) -> bool:
        file, wanted = _data_file(target), sha256(target)
        if wanted and _sha256_of(file) != wanted:
            return False
        (target / _CHECKED).write_text(_stamp(file))
        return True

    def _fetch(
        self, blobs: Blobs, digest: str, target: Path, sha256: Callable[[Path], str]
    ) -> None:
        names = [name for name in blobs.names(folder_of(digest)) if name in (INFO, *DATA)]
        if INFO not in names or len(names) < 2:
            raise FileNotFoundError(f"{folder_of(digest)} has no {INFO} and data")
        aside = self.folder / f".{target.name}.part"
        for _ in range(2):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            try:
                for name in names:
                    blobs.get(f"{folder_of(digest)}/{name}", aside / name)
                with suppress(ValueError):  # A description that is none is not whole either.
                    if self._passes(aside, sha256):
                        aside.rename(target)
                        return
            finally:
                shutil.rmtree(aside, ignore_errors=True)
        raise DamagedDataError(f"{folder_of(digest)} is not what was stored")

    def _shrink(self, *, besides: str) -> None:
        """Remove the copies that were used the longest time ago until the rest fits."""
        copies = []
        for copy in self.folder.iterdir():
            with suppress(OSError):
                if copy.is_dir() and not copy.name.startswith("."):
                    size = sum(file.stat().st_size for file in copy.iterdir())
                    copies.append((copy.stat().st_mtime_ns, size, copy))
        total = sum(size for _, size, _ in copies)
        for _, size, copy in sorted(copies):
            if total <= self.most_bytes:
                return
            if copy.name == besides:
                continue
            with suppress(BlockingIOError), self._lock(copy.name, wait=False):
                self._remove(copy)
                total -= size

    def _remove(self, target: Path) -> None:
        """Remove a copy: at once for those who look for it, and then from the disk."""
        gone = self.folder / f".{target.name}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        with suppress(FileNotFoundError):
            target.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        # The file stays: one that is removed could be locked twice.
        with (self.folder / f".{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield


def _name_of(digest: str, project: str) -> str:
    return digest if project == DEFAULT_PROJECT else f"{project}-{digest}"


def _data_file(folder: Path) -> Path:
    for name in DATA:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has neither {' nor '.join(DATA)}")


def _stamp(file: Path) -> str:
    """Return what changes when a file is written to."""
    stat = file.stat()
    return json.dumps([file.name, stat.st_size, stat.st_mtime_ns])


@lru_cache(maxsize=1000)
def _known_sha256(file: Path, stamp: str) -> str:
    return _sha256_of(file)


def _sha256_of(file: Path) -> str:
    sha = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            sha.update(chunk)
    return sha.hexdigest()
