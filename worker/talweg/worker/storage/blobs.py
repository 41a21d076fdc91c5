"""The blob store: a folder, or whatever else fsspec has a name for, such as s3://bucket/folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class Blobs:
    """Files by their paths in the store, each there whole or not at all."""

    def __init__(self, url: str) -> None:
        """Touch nothing yet.

        Args:
            url: A folder, or a URL of a protocol that fsspec knows; further protocols come with
                packages of their own, such as s3fs.

        Raises:
            ValueError: Fsspec does not know the protocol.
            ImportError: The protocol's package is not installed.
        """
        files, root = fsspec.core.url_to_fs(url)
        self._files: Any = files
        self._root: str = root.rstrip("/")

    def write(self, path: str, content: bytes) -> None:
        """Write a file, or write it anew.

        Raises:
            OSError: It cannot be written.
        """
        whole = self._at(path)
        folder, _, name = whole.rpartition("/")
        with _failing_as_files_do():
            self._files.makedirs(folder, exist_ok=True)
            if not isinstance(self._files, LocalFileSystem):
                # Elsewhere a file is seen once it is complete.
                self._files.pipe_file(whole, content)
                return
        aside = f"{folder}/.{name}.part"
        try:
            self._files.pipe_file(aside, content)
            os.replace(aside, whole)
        except BaseException:
            self.remove_whole(aside)
            raise

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """
        with _failing_as_files_do():
            content: bytes = self._files.cat_file(self._at(path))
        return content

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, those under way left out.

        Raises:
            OSError: It cannot be read.
        """
        try:
            with _failing_as_files_do():
                found = self._files.ls(self._at(folder), detail=False)
        except FileNotFoundError:
            return []
        names = [str(path).rstrip("/").rpartition("/")[2] for path in found]
        return [name for name in names if name and not name.startswith(".")]

    def remove(self, path: str) -> None:
        """Remove a file where there is one; where that fails it stays."""
        self.remove_whole(self._at(path))

    def remove_whole(self, path: str) -> None:
        """Remove a file by its whole path."""
        with suppress(OSError), _failing_as_files_do():
            self._files.rm_file(path)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


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
