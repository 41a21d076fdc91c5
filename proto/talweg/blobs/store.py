"""The blob store: a folder, or whatever else fsspec has a name for, such as s3://bucket/folder.

Names of files come from the record too, which others can write to. So no path leads out of the
store, whoever gives it: see `UnsafePathError`.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from talweg.spec import is_blob_path
from talweg.spec.private import make_private_folder

# What a system says of one file, while the others may be well. ESTALE, ETIMEDOUT and the like are
# not among them: a store behind a network says so while it is away.
_OF_ONE_FILE = frozenset(
    getattr(errno, name)
    for name in ("EISDIR", "ENOTDIR", "EACCES", "EPERM", "EIO", "ELOOP", "EUCLEAN", "EBADMSG")
    if hasattr(errno, name)
)
_UNDER_WAY = ".part"


class UnsafePathError(OSError, ValueError):
    """A path that is no blob's, or that leads out of the store by a link. Nothing was touched."""


def is_of_one_file(error: OSError) -> bool:
    """Return whether an error speaks of one file, and not of the store: no waiting mends it.

    So it does only where the store answers otherwise, as it does where its folder can be listed.
    """
    return isinstance(error, UnsafePathError) or error.errno in _OF_ONE_FILE


class Blobs:
    """Files by their paths in the store, each there whole or not at all.

    A path is relative; its parts are letters, digits, dots, dashes and underscores, and none
    begins with a dot.
    """

    def __init__(self, url: str, *, below: str = "") -> None:
        """Touch nothing yet.

        Args:
            url: A folder, or a URL of a protocol that fsspec knows; further protocols come with
                packages of their own, such as s3fs.
            below: A folder of the store: paths begin in it, and none leads out of it.

        Raises:
            ValueError: Fsspec does not know the protocol.
            ImportError: The protocol's package is not installed.
        """
        files, root = fsspec.core.url_to_fs(url)
        self._files: Any = files
        self._root: str = root.rstrip("/")
        self._below = below

    def write(self, path: str, content: bytes) -> None:
        """Write a file, or write it anew.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            OSError: It cannot be written.
        """
        whole = self._at(path)
        folder, _, name = whole.rpartition("/")
        with _failing_as_files_do():
            self._make_folder(folder)
            if not isinstance(self._files, LocalFileSystem):
                # Elsewhere a file is seen once it is complete.
                self._files.pipe_file(whole, content)
                return
        aside = f"{folder}/.{name}{_UNDER_WAY}"
        try:
            self._files.pipe_file(aside, content)
            os.replace(aside, whole)
        except BaseException:
            self._remove_whole(aside)
            raise

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        whole = self._at(path)
        with _failing_as_files_do():
            content: bytes = self._files.cat_file(whole)
        return content

    def put(self, path: str, source: Path) -> None:
        """Write a file from one on this machine, without holding it in memory; it stays there.

        Args:
            path: Where to.
            source: The file.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            OSError: It cannot be read or written.
        """
        whole = self._at(path)
        folder, _, name = whole.rpartition("/")
        with _failing_as_files_do():
            self._make_folder(folder)
            if not isinstance(self._files, LocalFileSystem):
                self._files.put_file(str(source), whole)
                return
        # Of its own: the same content may be written by several at once.
        aside = f"{folder}/.{name}.{secrets.token_hex(4)}{_UNDER_WAY}"
        try:
            shutil.copyfile(source, aside)
            os.replace(aside, whole)
        except BaseException:
            self._remove_whole(aside)
            raise

    def get(self, path: str, target: Path) -> None:
        """Write a file of the store to this machine, without holding it in memory.

        Args:
            path: Which.
            target: Where to; what is there is replaced once all has arrived.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            FileNotFoundError: There is none.
            OSError: It cannot be read or written.
        """
        whole = self._at(path)
        aside = target.with_name(f".{target.name}{_UNDER_WAY}")
        try:
            with _failing_as_files_do():
                self._files.get_file(whole, str(aside))
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise

    def read_part(self, path: str, start: int, length: int) -> bytes:
        """Read some bytes of a file; fewer, or none, where it ends before.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        whole = self._at(path)
        with _failing_as_files_do(), self._files.open(whole, "rb") as file:
            file.seek(start)
            content: bytes = file.read(length)
        return content

    @contextmanager
    def reading(self, path: str) -> Iterator[Callable[[int, int], bytes]]:
        """Hold a file open, and give what reads from it: `read(start, length)`.

        It stays readable where it is removed meanwhile, on a disk at least.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        whole = self._at(path)
        with _failing_as_files_do():
            file = self._files.open(whole, "rb")

        def read(start: int, length: int) -> bytes:
            with _failing_as_files_do():
                file.seek(start)
                content: bytes = file.read(length)
            return content

        with file:
            yield read

    def size(self, path: str) -> int:
        """Return a file's size in bytes.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        whole = self._at(path)
        with _failing_as_files_do():
            self._files.invalidate_cache(whole)
            return int(self._files.size(whole))

    @property
    def folder(self) -> Path | None:
        """The folder of the whole store on this machine; None where it is elsewhere."""
        return Path(self._root) if isinstance(self._files, LocalFileSystem) else None

    def local(self, path: str) -> Path | None:
        """Return where a file lies on this machine; None where the store is elsewhere.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
        """
        if not isinstance(self._files, LocalFileSystem):
            _check(path)
            return None
        return Path(self._at(path))

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, those under way left out.

        Raises:
            UnsafePathError: The folder's path is none, or leads out of the store.
            OSError: It cannot be read.
        """
        return [name for name in self._entries(self._at(folder)) if not name.startswith(".")]

    def last_write(self, folder: str) -> tuple[datetime, int] | None:
        """Return when a file in a folder, however deep, was last written, and the size of all.

        Returns:
            None where there is no such folder.

        Raises:
            UnsafePathError: The folder's path is none, or leads out of the store.
            OSError: It cannot be read, or its protocol tells no times.
        """
        whole = self._at(folder)
        try:
            with _failing_as_files_do():
                self._files.invalidate_cache(whole)
                sizes = {
                    path: info["size"]
                    for path, info in self._files.find(whole, detail=True).items()
                }
                # Of a folder without files it is its own.
                times = [self._files.modified(path) for path in sizes or [whole]]
        except FileNotFoundError:
            return None
        latest = max(time if time.tzinfo else time.replace(tzinfo=UTC) for time in times)
        return latest, sum(size or 0 for size in sizes.values())

    def remove_unfinished(self, folder: str, *, is_ours: Callable[[str], bool]) -> None:
        """Remove what writers have left that were killed in mid-write.

        Args:
            folder: Where they wrote.
            is_ours: Whether a name was to be that of a file whose writer is gone.

        Raises:
            UnsafePathError: The folder's path is none, or leads out of the store.
            OSError: It cannot be read.
        """
        whole = self._at(folder)
        for entry in self._entries(whole):
            name = entry.removeprefix(".").removesuffix(_UNDER_WAY)
            if entry == f".{name}{_UNDER_WAY}" and is_ours(name):
                self._remove_whole(f"{whole}/{entry}")

    def remove(self, path: str) -> None:
        """Remove a file where there is one; where that fails it stays.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
        """
        try:
            whole = self._at(path)
        except UnsafePathError:
            raise
        except OSError:
            return
        self._remove_whole(whole)

    def remove_folder(self, path: str) -> None:
        """Remove a folder with all that it holds, where there is one.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
            OSError: Something in it cannot be removed.
        """
        whole = self._at(path)
        with suppress(FileNotFoundError), _failing_as_files_do():
            self._files.invalidate_cache(whole)
            self._files.rm(whole, recursive=True)

    def _make_folder(self, whole: str) -> None:
        if isinstance(self._files, LocalFileSystem):
            make_private_folder(Path(self._root or "/"))
        self._files.makedirs(whole, exist_ok=True)

    def _entries(self, whole: str) -> list[str]:
        """Return the names of all that lies in a folder, what is under way among it."""
        try:
            with _failing_as_files_do():
                self._files.invalidate_cache(whole)
                paths = self._files.ls(whole, detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in paths]
        return [name for name in names if name]

    def _is_there(self, whole: str) -> bool:
        """Return whether there is a file or a folder; `exists` of fsspec hides other errors."""
        try:
            with _failing_as_files_do():
                self._files.invalidate_cache(whole)
                self._files.info(whole)
        except FileNotFoundError:
            return False
        return True

    def _remove_whole(self, whole: str) -> None:
        with suppress(OSError), _failing_as_files_do():
            self._files.rm_file(whole)

    def _at(self, path: str) -> str:
        """Return the whole path of a file or folder in the store.

        Raises:
            UnsafePathError: The path is none, or leads out of the store.
        """
        _check(path)
        whole = "/".join((self._root, *filter(None, [self._below]), path))
        if isinstance(self._files, LocalFileSystem):
            root = os.path.join(os.path.realpath(self._root or "/"), self._below)
            root, target = os.path.normpath(root), os.path.realpath(whole)
            if os.path.commonpath([root, target]) != root:
                raise UnsafePathError(
                    f"{path} leads out of the blob store {root} to {target}, by a symbolic link: "
                    "make the store's folder itself a link, or mount what it leads to"
                )
        return whole


def _check(path: str) -> None:
    if not is_blob_path(path):
        raise UnsafePathError(
            "a blob's path must be names of letters, digits, '.', '-' and '_', joined by '/', "
            f"none beginning with '.', but got {path[:200]!a}"
        )


@contextmanager
def _failing_as_files_do() -> Iterator[None]:
    """Make one kind of what protocols raise: each has errors of its own for a store that is away.

    Raises:
        OSError: For any of them.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as exc:
        raise OSError(f"{type(exc).__name__}: {exc}") from exc
