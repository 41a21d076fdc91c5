"""Files that nobody reads half of."""

import errno
import os
import stat
from contextlib import suppress
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


def place_of(path: Path) -> Path:
    """Return where a file is to be renamed to that a user has named: behind links.

    Raises:
        OSError: There is a folder, a pipe or a device, whose place no file may take; or a link
            that another user may have planted.
    """
    place = _behind_links(path)
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if place.exists() and not place.is_file():
        raise FileExistsError(errno.EEXIST, "is a pipe or a device: name a file", str(path))
    return place


def _behind_links(path: Path) -> Path:
    """Follow the links of a path, one after the other, as `os.path.realpath` does unasked."""
    if not hasattr(os, "geteuid"):
        # Windows has neither such folders nor owners of links.
        return Path(os.path.realpath(path))
    whole = path.absolute()
    place, ahead, num_links = Path(whole.anchor), list(whole.parts[:0:-1]), 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            place = place.parent
            continue
        try:
            target = Path(os.readlink(place / name))
        except OSError:
            # No link, or not there yet.
            place = place / name
            continue
        num_links += 1
        if num_links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        _check_planted(place / name)
        if target.is_absolute():
            place, target = Path(target.anchor), target.relative_to(target.anchor)
        ahead += reversed(target.parts)
    return place


def _check_planted(link: Path) -> None:
    """Refuse a link of somebody else where everybody may put one, as Linux does on opening.

    Who writes through it would write over what its owner could not, such as a file of root.
    """
    shared = stat.S_ISVTX | stat.S_IWOTH
    if link.parent.stat().st_mode & shared != shared:
        return
    if link.lstat().st_uid not in (0, os.geteuid()):
        raise PermissionError(
            errno.EACCES,
            "is a link of another user in a folder that all may write to: name another file, or "
            "the one behind it",
            str(link),
        )
