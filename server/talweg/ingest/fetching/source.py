"""A file or a folder that is fetched, wherever it is."""

from abc import ABC, abstractmethod
from typing import IO

from talweg.ingest.problems import Problem


class CannotFetchError(Exception):
    """A file that cannot be read from where it is."""

    def __init__(self, found: str, allowed: str, hint: str) -> None:
        """Say what is wrong.

        Args:
            found: What is there.
            allowed: What may be there.
            hint: What to do.
        """
        super().__init__(found)
        self.problem = Problem("", found, allowed, hint)
        """The same for people."""


class Source(ABC):
    """A file that is fetched."""

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, which is copied as a .tar file."""
        return False

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Its size, when it was opened."""

    @property
    @abstractmethod
    def modified(self) -> float:
        """When it was written last, in seconds since 1970; 0 where the fingerprint tells all."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A text that is another one once the file has changed, when it was opened."""

    @abstractmethod
    def fingerprint_now(self) -> str:
        """Return the fingerprint as it is by now."""

    @abstractmethod
    def open(self) -> IO[bytes]:
        """Open it; to be closed by the caller."""
