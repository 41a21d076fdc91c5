"""stack.json, by which clients find a stack without any setting."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

FORMAT = 1


def versions() -> dict[str, str]:
    """Return the versions of Talweg, Python and the packages that affect results."""
    installed = {"talweg": metadata.version("talweg"), "python": sys.version.partition(" ")[0]}
    for package in ("torch", "mlflow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


class StackFile:
    """The stack.json and its copy in the state folder of the user."""

    def __init__(self, path: Path, pointer: Path | None) -> None:
        """Write nothing yet."""
        self._path = path
        self._pointer = pointer

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write both files atomically."""
        text = json.dumps({"format": FORMAT, "pid": os.getpid(), **facts}, indent=2) + "\n"
        if self._pointer is not None:
            # Without a writable home only the copy is missing.
            with contextlib.suppress(OSError):
                self._pointer.parent.mkdir(parents=True, exist_ok=True)
                _replace(self._pointer, text)
        # Last, so that whoever sees it finds the copy too.
        _replace(self._path, text)

    def remove(self) -> None:
        """Remove both; the copy only if no later stack has replaced it."""
        self._path.unlink(missing_ok=True)
        if self._pointer is not None:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                if json.loads(self._pointer.read_text())["pid"] == os.getpid():
                    self._pointer.unlink()


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        aside.write_text(text)
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
