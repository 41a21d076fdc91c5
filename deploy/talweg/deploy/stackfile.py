"""stack.json, by which clients find a stack without any setting."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from talweg.spec.local.whole_files import write_whole

FORMAT = 1


def versions() -> dict[str, str]:
    """Return the versions of Talweg, Python and the packages that affect results."""
    installed = {"talweg": metadata.version("talweg"), "python": sys.version.partition(" ")[0]}
    for package in ("torch", "mlflow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


class StackFile:
    """The stack.json and its copies: of the stack started last, and of each that runs."""

    def __init__(self, path: Path, pointer: Path | None, registry: Path | None = None) -> None:
        """Write nothing yet.

        Args:
            path: In the data folder.
            pointer: In the state folder of the user; None without one.
            registry: The folder of the running stacks of this user; None without one.
        """
        self._path = path
        self._pointer = pointer
        self._registered = None if registry is None else registry / f"{os.getpid()}.json"
        if registry is not None:
            _forget_ended(registry)

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write all of them atomically."""
        text = json.dumps({"format": FORMAT, "pid": os.getpid(), **facts}, indent=2) + "\n"
        for copy in filter(None, (self._pointer, self._registered)):
            # Without a writable home only the copy is missing.
            with contextlib.suppress(OSError):
                copy.parent.mkdir(parents=True, exist_ok=True)
                write_whole(copy, text)
        # Last, so that whoever sees it finds the copy too.
        write_whole(self._path, text)

    def remove(self) -> None:
        """Remove all; the copy of the stack started last only if it is this one's."""
        self._path.unlink(missing_ok=True)
        if self._registered is not None:
            with contextlib.suppress(OSError):
                self._registered.unlink()
        if self._pointer is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if json.loads(self._pointer.read_text())["pid"] == os.getpid():
                    self._pointer.unlink()


def _forget_ended(registry: Path) -> None:
    """Remove what stacks have left there that were killed."""
    for path in registry.glob("*.json"):
        if not (path.stem.isdigit() and psutil.pid_exists(int(path.stem))):
            with contextlib.suppress(OSError):
                path.unlink()
