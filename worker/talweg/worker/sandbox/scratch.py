"""A job's folder, which goes with the job, and the files that it hands over there."""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from talweg.spec.private import make_private_folder
from talweg.worker.sandbox.messages import ProtocolError

ORDER, SPEC = "order.json", "spec.binpb"
"""What the job's process begins with, in the folder itself."""
HOME, TEMPORARY, EXCHANGE, CACHE, BLOBS, STOP = "home", "tmp", "exchange", "data", "blobs", "stop"
"""Where it works, where it hands over, and what it may read of a store that is elsewhere."""
_LOCK = ".lock"


class Exchange:
    """Files between the worker and a process that it does not trust.

    Each by its name alone, in a folder that is held open: no link leads elsewhere, and no pipe or
    device keeps the reader waiting.
    """

    def __init__(self, folder: Path, *, most_bytes: int = 2**40) -> None:
        """Open the folder, before anybody else knows it.

        Args:
            folder: Which.
            most_bytes: How large a file may be that is read.
        """
        self._most_bytes = most_bytes
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)

    def read(self, name: str) -> bytes | None:
        """Return a file's content, which stays what it is; None where there is no file.

        Raises:
            ProtocolError: It is no plain file, or cannot be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(name, flags, dir_fd=self._folder), "rb") as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode):
                    raise ProtocolError(f"{name} is no plain file")
                content = file.read(self._most_bytes + 1)
                if len(content) > self._most_bytes:
                    raise ProtocolError(f"{name} has more than {self._most_bytes:,} bytes")
                return content
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise ProtocolError(f"{name} cannot be read: {exc}") from exc

    def write(self, name: str, content: bytes) -> None:
        """Write a file anew.

        Raises:
            OSError: It cannot be written.
        """
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=self._folder), "wb") as file:
            file.write(content)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Give a folder of this user alone, with the folders of a job in it, and remove it.

    Those that killed workers have left are removed first.

    Args:
        parent: Where it is made.

    Raises:
        OSError: It cannot be made.
    """
    make_private_folder(parent)
    with _alone_in(parent):
        _remove_left(parent)
        folder = Path(tempfile.mkdtemp(dir=parent)).resolve()
        held = _lock_of(folder).open("w")
        fcntl.flock(held, fcntl.LOCK_EX)
    with held:
        try:
            for name in (HOME, TEMPORARY, EXCHANGE, CACHE, BLOBS):
                (folder / name).mkdir(mode=0o700)
            (folder / STOP).write_bytes(b"\0")
            yield folder
        finally:
            _remove(folder)
            _lock_of(folder).unlink(missing_ok=True)


@contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Keep other workers from making and removing folders: none sees one before it is locked."""
    held = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _remove_left(parent: Path) -> None:
    for folder in {each.with_suffix("") for each in parent.iterdir()}:
        lock = _lock_of(folder)
        with suppress(OSError), lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
            lock.unlink(missing_ok=True)


def _lock_of(folder: Path) -> Path:
    """Return the file that is locked while the folder's job runs."""
    return folder.with_name(folder.name + _LOCK)


def _remove(folder: Path) -> None:
    # What a job has closed to itself is opened again: it is this user's.
    for path, names, _ in os.walk(folder):
        for name in names:
            with suppress(OSError):
                if not os.path.islink(closed := os.path.join(path, name)):
                    os.chmod(closed, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
