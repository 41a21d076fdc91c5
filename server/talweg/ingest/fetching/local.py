"""Files of this machine, none of which leads out of its root."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from talweg.ingest.fetching.folder import FolderSource, Member
from talweg.ingest.fetching.source import CannotFetchError, Source
from talweg.ingest.problems import quoted
from talweg.spec.stored.files import is_junk
from talweg.spec.stored.uris import ROOTS, DataUri

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
# A pipe that nobody writes to must not be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class LocalSource(Source):
    """A file that is open: whatever its path comes to mean, it stays the same one."""

    def __init__(self, descriptor: int) -> None:
        """Keep an open file.

        Args:
            descriptor: Of the file; it stays open until this process ends.
        """
        self._descriptor = descriptor
        self._stat = os.fstat(descriptor)

    @property
    def num_bytes(self) -> int:
        """Its size, when it was opened."""
        return self._stat.st_size

    @property
    def modified(self) -> float:
        """When it was written last."""
        return self._stat.st_mtime

    @property
    def fingerprint(self) -> str:
        """Size, times and number of the file."""
        return _fingerprint(self._stat)

    def fingerprint_now(self) -> str:
        """Return the fingerprint as it is by now."""
        return _fingerprint(os.fstat(self._descriptor))

    def open(self) -> IO[bytes]:
        """Open it to be read once."""
        return os.fdopen(self._descriptor, "rb", closefd=False)


class LocalFolder(FolderSource):
    """A folder that is open: whatever its path comes to mean, it stays the same one."""

    def __init__(self, uri: DataUri, descriptor: int) -> None:
        """List an open folder.

        Args:
            uri: What it is called.
            descriptor: Of the folder; it stays open until this process ends.

        Raises:
            CannotFetchError: It holds no files, or links, pipes and the like, or cannot be read.
        """
        self._uri = uri
        self._descriptor = descriptor
        super().__init__(str(uri))

    def _list(self) -> Iterator[Member]:
        for folder, inner, names, descriptor in os.fwalk(
            ".", dir_fd=self._descriptor, onerror=self._unlisted
        ):
            above = folder.split("/")[1:]
            inner[:] = [name for name in inner if not is_junk([name])]
            for name in (each for each in (*names, *inner) if not is_junk([each])):
                state = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    continue
                path = "/".join((*above, name))
                if not stat.S_ISREG(state.st_mode):
                    what = "a link" if stat.S_ISLNK(state.st_mode) else "a device or a pipe"
                    raise CannotFetchError(
                        f"{quoted(str(self._uri))} with {quoted(path)}, {what}",
                        "a folder of files and of folders of files",
                        "links in a folder are not followed: copy the files",
                    )
                yield Member(path, state.st_size, _fingerprint(state), state.st_mtime)

    def _open(self, member: Member) -> IO[bytes]:
        try:
            return os.fdopen(_opened_below(self._descriptor, member.name.split("/")), "rb")
        except OSError as exc:
            raise _unreadable_in(self._uri, member.name, exc) from exc

    def _unlisted(self, error: OSError) -> None:
        raise _unreadable_in(self._uri, str(error.filename), error) from error


def open_local(uri: DataUri, root: DataUri) -> Source:
    """Open a file or a folder below a root.

    Links inside the root may be followed; each part of what they lead to is then opened without
    following any, so that nobody exchanges a folder for a link in between.

    Raises:
        CannotFetchError: It is not there, is neither, or leads out of the root.
    """
    base = Path(os.path.realpath(root.path))
    whole = Path(os.path.realpath(uri.path))
    if not base.is_dir():
        raise CannotFetchError(
            f"the data root {root}, which is not there",
            "a folder of the server's machine",
            f"have the server's operator mount it, or correct {ROOTS}",
        )
    if not whole.is_relative_to(base):
        raise CannotFetchError(
            f"{quoted(str(uri))}, whose path has a link that leads out of {root}",
            "files below the root, and links within it",
            f"put the file itself there, or have the server's operator add a root to {ROOTS}",
        )
    try:
        descriptor = _opened(base, whole.relative_to(base).parts)
    except OSError as exc:
        raise _unreadable(uri, exc) from exc
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        return LocalFolder(uri, descriptor)
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        found = f"{quoted(str(uri))}, a device, a pipe or a socket"
        raise CannotFetchError(found, "a file or a folder", "")
    return LocalSource(descriptor)


def _opened(base: Path, parts: Sequence[str]) -> int:
    folder = os.open(base, _FOLDER)
    try:
        return _opened_below(folder, parts)
    finally:
        os.close(folder)


def _opened_below(base: int, parts: Sequence[str]) -> int:
    """Open what lies below an open folder, without following a link on the way."""
    folder = os.dup(base)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _unreadable(uri: DataUri, error: OSError) -> CannotFetchError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CannotFetchError(
            f"{quoted(str(uri))}, which is not there",
            "a file or a folder",
            "look for the path on the server",
        )
    return CannotFetchError(
        f"{quoted(str(uri))}, which cannot be read ({error.strerror})",
        "a file that the server may read",
        "have its permissions changed" if isinstance(error, PermissionError) else "try again",
    )


def _unreadable_in(uri: DataUri, name: str, error: OSError) -> CannotFetchError:
    return CannotFetchError(
        f"{quoted(str(uri))} with {quoted(name)}, which cannot be read ({error.strerror})",
        "files that the server may read, and that stay as they are",
        "have its permissions changed" if isinstance(error, PermissionError) else "try again",
    )


def _fingerprint(state: os.stat_result) -> str:
    # The time of its last change is beyond the reach of programs that set the other one back.
    numbers = (
        state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns,
    )  # fmt: skip
    return "-".join(map(str, numbers))
