"""Files that nobody reads half of."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Write a file aside and rename it: it is there whole, or as it was before.

    Args:
        path: The file, in a folder that exists; one thread of this process writes it.
        content: What it holds; a text in UTF-8.
        mode: Who may read and write it, whatever the umask; its owner alone by default.

    Raises:
        OSError: It cannot be written; nothing is left aside.
    """
    data = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with os.fdopen(os.open(aside, flags, mode), "wb") as file:
            # What a killed process of this number has left may have another one.
            os.chmod(aside, mode)
            file.write(data)
        aside.replace(path)
    except OSError:
        with suppress(OSError):
            aside.unlink()
        raise


def place_of(path: Path) -> Path:
    """Return where a file is to be renamed to that a user has named: behind links.

    Raises:
        OSError: There is a folder, a pipe or a device, whose place no file may take.
    """
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "is a pipe or a device: name a file", str(path))
    return place
