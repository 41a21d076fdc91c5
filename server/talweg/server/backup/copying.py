"""Copies of files that others write meanwhile."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_SQLITE = b"SQLite format 3\0"
_WITH_IT = ("-wal", "-shm", "-journal")


def copy_folder(source: Path, target: Path) -> tuple[int, int]:
    """Copy a folder with all that is in it, as far as it is still there.

    SQLite's databases are copied by SQLite, and so are whole. Links, pipes and sockets are passed
    over, and what is half written, whose name ends in `.part`.

    Args:
        source: The folder.
        target: Where; it is made.

    Returns:
        The number of files, and of bytes.

    Raises:
        OSError: A file cannot be read or written.
    """
    num_files = num_bytes = 0
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder, names in _files(source):
        at = target / folder.relative_to(source)
        at.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            try:
                _copy(folder / name, at / name)
            except FileNotFoundError:
                # Removed since: a checkpoint that a later one has replaced, mostly.
                continue
            num_files += 1
            num_bytes += (at / name).stat().st_size
    return num_files, num_bytes


def count_files(source: Path) -> int:
    """Count what `copy_folder` would copy."""
    return sum(len(list(names)) for _, names in _files(source))


def _files(source: Path) -> Iterator[tuple[Path, Iterator[str]]]:
    """Give each folder, and the names of the files in it that are to be copied."""
    for folder, _, names in os.walk(source):
        place = Path(folder)
        yield place, (name for name in sorted(names) if _is_to_be_copied(place / name))


def _is_to_be_copied(path: Path) -> bool:
    if path.name.endswith((".part", *_WITH_IT)):
        return False
    try:
        # A pipe would be waited for.
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _copy(path: Path, target: Path) -> None:
    with path.open("rb") as file:
        is_database = file.read(len(_SQLITE)) == _SQLITE
    if not is_database:
        shutil.copy2(path, target)
        return
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
    target.chmod(0o600)
