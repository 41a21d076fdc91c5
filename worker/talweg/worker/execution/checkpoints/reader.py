"""Reading one job's checkpoints, whatever has become of the files or of the store."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from talweg.blobs import Blobs, is_of_one_file
from talweg.spec import CheckpointName
from talweg.worker.errors import StoreAwayError, WorkerError
from talweg.worker.training.state import checkpoint_files
from talweg.worker.training.state.checkpoint_files import (
    DOCUMENT,
    TENSORS,
    DamagedError,
    Written,
)

T = TypeVar("T")

_TRIES = 4
_FIRST_PAUSE = 0.5

log = logging.getLogger(__name__)


class UnreadableError(WorkerError):
    """The store answers, but not for this checkpoint, and may do so later."""


class CheckpointReader:
    """Reads from an open store; what fails is tried again for a few seconds."""

    def __init__(self, blobs: Blobs, *, pause: Callable[[float], object]) -> None:
        """Read nothing yet.

        Args:
            blobs: The store.
            pause: Waits for so many seconds between tries.
        """
        self._blobs, self._pause = blobs, pause

    def checkpoints(self, folder: str) -> dict[CheckpointName, bool]:
        """Return the checkpoints of which a file lies in a folder, by step and attempt.

        Returns:
            Whether both their files are there.

        Raises:
            StoreAwayError: It cannot be listed.
        """
        files = set(self._listed(folder))
        stored = {}
        for stem in {file.partition(".")[0] for file in files}:
            there = [stem + ending in files for ending in (DOCUMENT, TENSORS)]
            with suppress(ValueError):
                if any(there):
                    stored[CheckpointName.parse(f"{folder}/{stem}")] = all(there)
        return dict(sorted(stored.items(), key=lambda each: (each[0].step, each[0].attempt)))

    def read(self, name: str) -> Written:
        """Read a checkpoint.

        Raises:
            DamagedError: It is not whole, or the system will not let its files be read.
            UnreadableError: It cannot be read now, though the store answers.
            StoreAwayError: The store does not answer.
        """
        return self._read(checkpoint_files.read, name)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Read what stands beside a checkpoint's tensors.

        Raises:
            DamagedError: As `read`.
            UnreadableError: As `read`.
            StoreAwayError: As `read`.
        """
        return self._read(checkpoint_files.read_facts, name)

    def _read(self, read: Callable[[Blobs, str], T], name: str) -> T:
        try:
            return self._trying(lambda: read(self._blobs, name), name)
        except OSError as exc:
            # One file may be lost while its store is well, and a job must not wait for it for
            # ever. Whether the store is well, its folder says.
            self._listed(name.rpartition("/")[0])
            if is_of_one_file(exc):
                raise DamagedError(f"it cannot be read: {exc}") from exc
            raise UnreadableError(f"it cannot be read: {exc}") from exc

    def _listed(self, folder: str) -> list[str]:
        try:
            return self._trying(lambda: self._blobs.names(folder), folder)
        except OSError as exc:
            raise StoreAwayError(f"the blob store is unreachable: {exc}") from exc

    def _trying(self, do: Callable[[], T], path: str) -> T:
        pause = _FIRST_PAUSE
        for _ in range(_TRIES - 1):
            try:
                return do()
            except OSError as exc:
                log.warning("%s: %s", path, exc)
                self._pause(pause)
                pause *= 2
        return do()
