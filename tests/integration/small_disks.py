"""Stacks whose folders are file systems of their own, small enough to be filled."""

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from tests.integration.stack import Stack, start_stack

# A mount namespace of the stack's own, in a user namespace: nothing of it needs root.
_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")
_MOUNT = 'for folder in $FOLDERS; do mount -t tmpfs -o "$SIZE" tmpfs "$folder"; done; exec "$@"'
# No job's folder in a spool has such a name.
_BALLAST = ".ballast"


@cache
def why_no_small_disks() -> str:
    """Say why this machine cannot make them; empty where it can."""
    if shutil.which(_UNSHARE[0]) is None:
        return "unshare of util-linux is not installed"
    tried = subprocess.run(
        [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/tmp"], capture_output=True, text=True
    )
    return f"no mount in a user namespace: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class SmallDisk:
    """A file system that one folder of a stack is on."""

    folder: Path
    """As everybody outside the stack sees it, through its process."""

    def fill(self) -> None:
        """Leave not one byte."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as file:
            block = bytes(1 << 20)
            with contextlib.suppress(OSError):
                while True:
                    file.write(block)
            for size in (4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def fill_inodes(self) -> None:
        """Leave room for bytes, and for no further file."""
        folder = self.folder / f"{_BALLAST}s"
        with contextlib.suppress(OSError):
            folder.mkdir(exist_ok=True)
            while True:
                (folder / uuid.uuid4().hex).touch()

    def make_room(self) -> None:
        """Take away what filled it."""
        (self.folder / _BALLAST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / f"{_BALLAST}s", ignore_errors=True)


@contextmanager
def small_disks(
    folder: Path, *names: str, size: str, **settings: str
) -> Iterator[tuple[Stack, Mapping[str, SmallDisk]]]:
    """Start a stack some of whose folders are on file systems of their own.

    Args:
        folder: For its data.
        names: Folders below its data folder.
        size: Options of a tmpfs, such as `size=80M,nr_inodes=2000`.
        settings: Variables of the stack.

    Yields:
        The stack, and its file systems by name.
    """
    if why_not := why_no_small_disks():
        pytest.skip(why_not)
    places = {name: folder / "data" / name for name in names}
    for place in places.values():
        place.mkdir(parents=True)
    stack = start_stack(
        folder,
        before=[*_UNSHARE, "sh", "-c", _MOUNT, "sh"],
        FOLDERS=" ".join(map(str, places.values())),
        SIZE=size,
        **settings,
    )
    try:
        root = Path(f"/proc/{stack.process.pid}/root")
        yield (
            stack,
            {name: SmallDisk(root / place.relative_to("/")) for name, place in places.items()},
        )
    finally:
        stack.stop()
