"""Files that nobody reads half of."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST_LINKS = 40
"""As many as Linux follows."""


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


@contextmanager
def written_aside(path: Path, *, ending: str = "") -> Iterator[Path]:
    """Give a place aside for a file that a user has named; at the end what is there is renamed.

    The file is there whole, or as it was before. Behind a link the file that it names is replaced.
    Missing folders are made.

    Args:
        path: The file.
        ending: Of the name aside, for those that go by it.

    Raises:
        OSError: It cannot be written; or there is a folder, a pipe or a device, whose place no
            file may take, or a link that another user may have planted.
    """
    place = _behind_links(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "is a pipe or a device: name a file", str(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    # Nobody can guess the name and put a link there.
    aside = place.with_name(f".{place.name}.{secrets.token_hex(8)}.part{ending}")
    try:
        yield aside
        os.replace(aside, place)
    finally:
        aside.unlink(missing_ok=True)


def _behind_links(path: Path) -> Path:
    place = path.absolute()
    for _ in range(_MOST_LINKS):
        if not place.is_symlink():
            return place
        _check_planted(place)
        place = place.parent / place.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _check_planted(link: Path) -> None:
    """Refuse a link of somebody else where everybody may put one, as Linux does on opening.

    Who writes through it would write over what its owner could not, such as a file of root.
    """
    shared = stat.S_ISVTX | stat.S_IWOTH
    # Windows has neither such folders nor owners of links.
    if not hasattr(os, "geteuid") or link.parent.stat().st_mode & shared != shared:
        return
    if link.lstat().st_uid not in (0, os.geteuid()):
        raise PermissionError(
            errno.EACCES,
            "is a link of another user in a folder that all may write to: name another file, or "
            "the one behind it",
            str(link),
        )
