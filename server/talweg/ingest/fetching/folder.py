"""Folders, which are fetched as the .tar file that the client makes of one."""

import hashlib
import io
import tarfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from talweg.ingest.fetching.source import CannotFetchError, Source
from talweg.ingest.problems import quoted

_MOST_FILES = 1_000_000
_PIECE = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file of a folder."""

    name: str
    """Its path within the folder, with / between the parts."""
    num_bytes: int
    """Its size."""
    fingerprint: str
    """Another one once it has changed."""
    modified: float = 0.0
    """When it was written last; 0 where the fingerprint tells all."""


class FolderSource(Source):
    """The files of a folder and of the folders in it, packed while they are read.

    The same files give the same bytes as where the client uploads them, so that they are stored
    once.
    """

    def __init__(self, shown: str) -> None:
        """List it.

        Args:
            shown: What it is called.

        Raises:
            CannotFetchError: It holds no files, or too many, or something else than files.
        """
        self._shown = shown
        self._members = self._listed()
        self._headers = [_header(member) for member in self._members]
        if not self._members:
            raise CannotFetchError(
                f"{quoted(shown)}, a folder without files", "a folder of images, or of tables", ""
            )

    @abstractmethod
    def _list(self) -> Iterable[Member]:
        """Yield the files as they are now, in any order."""

    @abstractmethod
    def _open(self, member: Member) -> IO[bytes]:
        """Open one of them."""

    @property
    def is_folder(self) -> bool:
        """Always."""
        return True

    @property
    def num_bytes(self) -> int:
        """Of the .tar file."""
        total = sum(len(header) for header in self._headers)
        total += sum(_padded(member.num_bytes) for member in self._members)
        return _ended(total)

    @property
    def modified(self) -> float:
        """When the last of them was written."""
        return max(member.modified for member in self._members)

    @property
    def fingerprint(self) -> str:
        """A digest of names and fingerprints of all files."""
        return _fingerprint(self._members)

    def fingerprint_now(self) -> str:
        """Return the fingerprint as it is by now."""
        return _fingerprint(self._listed())

    def open(self) -> IO[bytes]:
        """Open the .tar file, which is made while it is read."""
        return io.BufferedReader(_Stream(self._pieces()), _PIECE)

    def _listed(self) -> Sequence[Member]:
        members = []
        for member in self._list():
            members.append(member)
            if len(members) > _MOST_FILES:
                raise CannotFetchError(
                    f"{quoted(self._shown)}, a folder with more than {_MOST_FILES:,} files",
                    f"at most {_MOST_FILES:,}",
                    "name a folder in it",
                )
        # As paths are sorted: by their parts.
        return sorted(members, key=lambda member: member.name.split("/"))

    def _pieces(self) -> Iterator[bytes]:
        total = 0
        for member, header in zip(self._members, self._headers, strict=True):
            yield header
            left = member.num_bytes
            with self._open(member) as file:
                while left and (piece := file.read(min(_PIECE, left))):
                    yield piece
                    left -= len(piece)
            if left:
                # Shorter than it was: its fingerprint tells, but what follows must not move.
                return
            yield bytes(_padded(member.num_bytes) - member.num_bytes)
            total += len(header) + _padded(member.num_bytes)
        yield bytes(_ended(total) - total)


class _Stream(io.RawIOBase):
    """Reads pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.name)
    info.size = member.num_bytes
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _ended(num_bytes: int) -> int:
    """Return the size of an archive with its end."""
    ended = num_bytes + 2 * tarfile.BLOCKSIZE
    return -(-ended // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _fingerprint(members: Sequence[Member]) -> str:
    digest = hashlib.sha256()
    for member in members:
        line = f"{member.name}\0{member.num_bytes}\0{member.fingerprint}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return f"{len(members)} files; {digest.hexdigest()}"
