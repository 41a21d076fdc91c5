"""Files of object stores, by fsspec."""

from collections.abc import Iterator
from typing import IO, Any

import fsspec

from talweg.ingest.fetching.folder import FolderSource, Member
from talweg.ingest.fetching.source import CannotFetchError, Source
from talweg.ingest.problems import quoted
from talweg.spec.stored.files import is_junk
from talweg.spec.stored.uris import DataUri

_PACKAGES = {"s3": "s3fs"}
# What tells versions of an object apart, by whatever name its file system has for it.
_VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created")


class RemoteSource(Source):
    """An object, which is written as a whole or not at all."""

    def __init__(self, files: Any, path: str) -> None:
        """Look at it.

        Args:
            files: A file system of fsspec that remembers no listings.
            path: The object.

        Raises:
            OSError: It is not there, or cannot be read.
        """
        self._files, self._path = files, path
        self._info = files.info(path)

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return int(self._info["size"])

    @property
    def modified(self) -> float:
        """0, as an object's tag is of its content."""
        return 0.0

    @property
    def fingerprint(self) -> str:
        """Size, tag and time."""
        return _fingerprint(self._info)

    def fingerprint_now(self) -> str:
        """Return the fingerprint as it is by now."""
        self._files.invalidate_cache()
        return _fingerprint(self._files.info(self._path))

    def open(self) -> IO[bytes]:
        """Open it."""
        file: IO[bytes] = self._files.open(self._path, "rb", cache_type="readahead")
        return file


class RemoteFolder(FolderSource):
    """The objects whose keys begin alike, up to a slash."""

    def __init__(self, files: Any, path: str) -> None:
        """List them.

        Args:
            files: A file system of fsspec that remembers no listings.
            path: What their keys begin with, without the slash.

        Raises:
            OSError: They cannot be listed.
            CannotFetchError: There are none, or one has a key that is no path.
        """
        self._files, self._path = files, path
        super().__init__(path)

    def _list(self) -> Iterator[Member]:
        self._files.invalidate_cache()
        before = self._path.strip("/") + "/"
        for path, info in self._files.find(self._path, detail=True).items():
            name = path.lstrip("/").removeprefix(before)
            parts = name.split("/")
            if name.endswith("/") or not name or is_junk(parts):
                # Consoles of stores make empty objects for folders.
                continue
            if not all(parts) or not {".", ".."}.isdisjoint(parts):
                found = f"{quoted(self._path)} with the key {quoted(path)}"
                raise CannotFetchError(found, "keys that are paths, without //, . and ..", "")
            yield Member(name, int(info["size"]), _fingerprint(info))

    def _open(self, member: Member) -> IO[bytes]:
        path = f"{self._path}/{member.name}"
        file: IO[bytes] = self._files.open(path, "rb", cache_type="readahead")
        return file


def open_remote(uri: DataUri) -> Source:
    """Look at an object, or at those below a key.

    Raises:
        CannotFetchError: It is not there, or cannot be read.
    """
    try:
        # Never by url_to_fs: it reads "::" as a chain of file systems.
        files = fsspec.filesystem(uri.scheme, use_listings_cache=False, skip_instance_cache=True)
        if files.info(uri.path)["type"] == "directory":
            return RemoteFolder(files, uri.path)
        return RemoteSource(files, uri.path)
    except ImportError as exc:
        package = _PACKAGES[uri.scheme]
        raise CannotFetchError(
            f"{quoted(str(uri))}, for which the server lacks the package {package}",
            "a URI of a store that the server reads",
            f"have the server's operator install it: pip install '{package}'",
        ) from exc
    except FileNotFoundError as exc:
        raise CannotFetchError(
            f"{quoted(str(uri))}, which is not there",
            "an object",
            "look for its key in the bucket",
        ) from exc


def _fingerprint(info: dict[str, Any]) -> str:
    versions = [f"{name} {info[name]}" for name in _VERSIONS if info.get(name)]
    return "; ".join([str(info["size"]), *versions])
